// POST /v1/chat/completions
#include <nlohmann/json.hpp>
#include <utility>

#include "server/chat_request.h"
#include "server/generation.h"

namespace quire {

namespace {

Json TokenJson(const TokenChance& token) {
  Json bytes = Json::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", token.bytes}, {"logprob", token.logprob}, {"bytes", std::move(bytes)}};
}

Json LogprobsJson(const ChoicePart& part) {
  if (!part.with_logprobs) return nullptr;
  Json content = Json::array();
  for (const TokenDetail& detail : part.tokens) {
    Json token = TokenJson(detail.chosen);
    Json top = Json::array();
    for (const TokenChance& other : detail.top) top.push_back(TokenJson(other));
    token["top_logprobs"] = std::move(top);
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

class ChatFormat final : public AnswerFormat {
 public:
  std::string Opening(const AnswerHead& head, int32_t index) const override {
    Json choice = {{"index", index},
                   {"delta", {{"role", "assistant"}, {"content", ""}}},
                   {"logprobs", nullptr},
                   {"finish_reason", nullptr}};
    return Object(head, std::move(choice));
  }

  std::string Chunk(const AnswerHead& head, const ChoicePart& part) const override {
    const bool last = !part.finish_reason.empty();
    Json choice = {{"index", part.index},
                   {"delta", last ? Json::object() : Json{{"content", part.text}}},
                   {"logprobs", LogprobsJson(part)},
                   {"finish_reason", last ? Json(part.finish_reason) : Json(nullptr)}};
    return Object(head, std::move(choice));
  }

  std::string UsageChunk(const AnswerHead& head, const Usage& usage) const override {
    Json chunk = Head(head, "chat.completion.chunk");
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageJson(usage);
    return JsonText(chunk);
  }

  std::string Whole(const AnswerHead& head, std::span<const ChoicePart> choices,
                    const Usage& usage) const override {
    Json answer = Head(head, "chat.completion");
    Json list = Json::array();
    for (const ChoicePart& part : choices) {
      list.push_back(
          {{"index", part.index},
           {"message", {{"role", "assistant"}, {"content", part.text}, {"refusal", nullptr}}},
           {"logprobs", LogprobsJson(part)},
           {"finish_reason", part.finish_reason}});
    }
    answer["choices"] = std::move(list);
    answer["usage"] = UsageJson(usage);
    return JsonText(answer);
  }

 private:
  static Json Head(const AnswerHead& head, const char* object) {
    return {{"id", head.id},
            {"object", object},
            {"created", head.created_unix_s},
            {"model", head.model},
            {"system_fingerprint", kSystemFingerprint}};
  }

  static std::string Object(const AnswerHead& head, Json choice) {
    Json chunk = Head(head, "chat.completion.chunk");
    chunk["choices"] = Json::array({std::move(choice)});
    if (head.usage_field) chunk["usage"] = nullptr;
    return JsonText(chunk);
  }
};

// The conversation as the model's tokens, up to the beginning of its answer.
Result<std::vector<int32_t>> EncodeConversation(const ModelInfo& model, const Json& messages) {
  if (model.chat_template == nullptr) {
    return InvalidArgument("the model ", model.id, " has no chat template; use /v1/completions");
  }
  QUIRE_ASSIGN_OR_RETURN(const std::string text, model.chat_template->Render(messages, true));
  EncodeOptions options;  // the template's text names all special tokens that it needs
  options.add_bos = false;
  options.parse_special = true;
  return model.tokenizer->Encode(text, options);
}

}  // namespace

void HandleChatCompletions(ServerContext& context, const HttpRequest& request,
                           std::shared_ptr<Responder> responder) {
  if (auto error = CheckReady(context)) return responder->Send(ApiErrorResponse(*error));
  ChatRequest chat;
  if (auto error = ParseChatRequest(request.body, chat))
    return responder->Send(ApiErrorResponse(*error));
  if (auto error = CheckModel(context, chat.fields.model)) {
    return responder->Send(ApiErrorResponse(*error));
  }
  auto tokens = EncodeConversation(context.engine.model(), chat.messages);
  if (!tokens.ok()) {
    ApiError error = ApiErrorFromStatus(tokens.status());
    error.param = "messages";
    return responder->Send(ApiErrorResponse(error));
  }
  GenerationPlan plan;
  plan.tenant = TenantOf(request, chat.fields);
  if (!chat.fields.session.empty()) {
    plan.session = EngineSessionName(context, request, chat.fields.session);
  }
  plan.fields = std::move(chat.fields);
  plan.prompts.push_back({*std::move(tokens), ""});
  plan.prompt_field = "messages";
  plan.id_prefix = "chatcmpl-";
  plan.format = std::make_unique<ChatFormat>();
  StartGeneration(context, std::move(plan), std::move(responder));
}

}  // namespace quire
