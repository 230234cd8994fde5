// POST /v1/completions
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text_stream.h"
#include "server/completion_request.h"
#include "server/generation.h"

namespace quire {

namespace {

constexpr int32_t kDefaultMaxTokens = 16;  // as OpenAI's API has it

Json LogprobsJson(const ChoicePart& part) {
  if (!part.with_logprobs) return nullptr;
  Json tokens = Json::array();
  Json chances = Json::array();
  Json tops = Json::array();
  Json offsets = Json::array();
  for (const TokenDetail& detail : part.tokens) {
    tokens.push_back(detail.chosen.bytes);
    chances.push_back(detail.chosen.logprob);
    Json top = Json::object();
    for (const TokenChance& other : detail.top) top[other.bytes] = other.logprob;
    top[detail.chosen.bytes] = detail.chosen.logprob;
    tops.push_back(std::move(top));
    offsets.push_back(detail.begin);
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(chances)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

class TextFormat final : public AnswerFormat {
 public:
  std::string Opening(const AnswerHead&, int32_t) const override { return ""; }

  std::string Chunk(const AnswerHead& head, const ChoicePart& part) const override {
    Json chunk = Head(head);
    chunk["choices"] = Json::array({ChoiceJson(part)});
    if (head.usage_field) chunk["usage"] = nullptr;
    return JsonText(chunk);
  }

  std::string UsageChunk(const AnswerHead& head, const Usage& usage) const override {
    Json chunk = Head(head);
    chunk["choices"] = Json::array();
    chunk["usage"] = UsageJson(usage);
    return JsonText(chunk);
  }

  std::string Whole(const AnswerHead& head, std::span<const ChoicePart> choices,
                    const Usage& usage) const override {
    Json answer = Head(head);
    Json list = Json::array();
    for (const ChoicePart& part : choices) list.push_back(ChoiceJson(part));
    answer["choices"] = std::move(list);
    answer["usage"] = UsageJson(usage);
    return JsonText(answer);
  }

 private:
  static Json Head(const AnswerHead& head) {
    return {{"id", head.id},
            {"object", "text_completion"},
            {"created", head.created_unix_s},
            {"model", head.model},
            {"system_fingerprint", kSystemFingerprint}};
  }

  static Json ChoiceJson(const ChoicePart& part) {
    return {
        {"index", part.index},
        {"text", part.text},
        {"logprobs", LogprobsJson(part)},
        {"finish_reason", part.finish_reason.empty() ? Json(nullptr) : Json(part.finish_reason)}};
  }
};

// The text of prompt tokens, for echo.
std::string DecodePrompt(const Tokenizer& tokenizer, const std::vector<int32_t>& tokens) {
  TextStream stream(tokenizer, {}, {});
  std::string text;
  for (const int32_t token : tokens) {
    // Ids out of range are refused later, with a message.
    if (token >= 0 && token < tokenizer.vocab_size()) text += stream.Append(token);
  }
  return text += stream.Flush();
}

GenerationPrompt EncodePrompt(const Tokenizer& tokenizer, CompletionPrompt prompt, bool echo) {
  GenerationPrompt encoded;
  if (auto* text = std::get_if<std::string>(&prompt)) {
    EncodeOptions options;
    options.parse_special = true;  // a raw prompt is written with the model's own markup
    encoded.tokens = tokenizer.Encode(*text, options);
    if (echo) encoded.echo = std::move(*text);
  } else {
    encoded.tokens = std::get<std::vector<int32_t>>(std::move(prompt));
    if (echo) encoded.echo = DecodePrompt(tokenizer, encoded.tokens);
  }
  return encoded;
}

}  // namespace

void HandleCompletions(ServerContext& context, const HttpRequest& request,
                       std::shared_ptr<Responder> responder) {
  if (auto error = CheckReady(context)) return responder->Send(ApiErrorResponse(*error));
  CompletionRequest completion;
  if (auto error = ParseCompletionRequest(request.body, completion)) {
    return responder->Send(ApiErrorResponse(*error));
  }
  if (auto error = CheckModel(context, completion.fields.model)) {
    return responder->Send(ApiErrorResponse(*error));
  }
  const Tokenizer& tokenizer = *context.engine.model().tokenizer;
  GenerationPlan plan;
  plan.tenant = TenantOf(request, completion.fields);
  if (!completion.fields.session.empty()) {
    plan.session = EngineSessionName(context, request, completion.fields.session);
  }
  plan.fields = std::move(completion.fields);
  for (CompletionPrompt& prompt : completion.prompts) {
    plan.prompts.push_back(EncodePrompt(tokenizer, std::move(prompt), completion.echo));
  }
  plan.prompt_field = "prompt";
  plan.default_max_tokens = kDefaultMaxTokens;
  plan.id_prefix = "cmpl-";
  plan.format = std::make_unique<TextFormat>();
  StartGeneration(context, std::move(plan), std::move(responder));
}

}  // namespace quire
