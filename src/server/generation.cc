#include "server/generation.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "engine/text_stream.h"

namespace quire {

namespace {

class Generation final : public EngineListener, public std::enable_shared_from_this<Generation> {
 public:
  Generation(ServerContext& context, GenerationPlan plan, std::shared_ptr<Responder> responder);

  void Start();
  void OnEngineEvent(int slot, const EngineEvent& event) override;

 private:
  struct Choice {
    Choice(const Tokenizer& tokenizer, const GenerationFields& fields, std::vector<int32_t> silent)
        : stream(tokenizer, fields.stop, std::move(silent)) {}

    uint64_t request_id = 0;
    int32_t prompt = 0;  // index of plan_.prompts
    TextStream stream;
    std::string text;                 // not streaming: all of it
    std::vector<TokenDetail> tokens;  // not sent yet
    int64_t num_tokens = 0;
    int64_t cached_tokens = 0;
    int64_t last_token_ns = 0;
    bool live = false;        // the engine works on it
    bool opened = false;      // streaming: the opening chunk is sent
    std::string_view finish;  // "stop" or "length" once it is complete
  };

  RequestSpec MakeSpec(size_t prompt, int32_t index_in_prompt) const;
  std::vector<int32_t> StopTokens() const;
  void CountToken(Choice& choice);
  TokenDetail Detail(const SampledToken& sampled, int64_t begin) const;
  void Emit(int32_t index, std::string text, bool all_tokens);
  void FinishChoice(int32_t index, std::string_view reason);
  void FinishIfComplete();
  void SendWhole();
  void SendChunk(const std::string& json);
  void OpenStream();
  void Open(int32_t index);
  void CancelAll();
  void Fail(const ApiError& error);
  Usage CountUsage() const;
  bool with_logprobs() const { return plan_.fields.sampling.top_logprobs >= 0; }

  ServerContext& context_;
  const ModelInfo& model_;
  GenerationPlan plan_;
  std::shared_ptr<Responder> responder_;
  AnswerHead head_;
  std::vector<Choice> choices_;
  int64_t start_ns_;
  bool stream_open_ = false;
  bool over_ = false;  // answered, failed or abandoned
};

constexpr float kLowestLogprob = -9999.0f;  // JSON knows no infinity

std::string RandomId(std::mt19937_64& random, std::string_view prefix) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string id(prefix);
  for (int word = 0; word < 2; ++word) {
    uint64_t bits = random();
    for (int i = 0; i < 16; ++i, bits >>= 4) id.push_back(kDigits[bits & 15]);
  }
  return id;
}

Generation::Generation(ServerContext& context, GenerationPlan plan,
                       std::shared_ptr<Responder> responder)
    : context_(context),
      model_(context.engine.model()),
      plan_(std::move(plan)),
      responder_(std::move(responder)),
      start_ns_(context.clock.NowNs()) {
  head_.id = RandomId(context.random, plan_.id_prefix);
  head_.created_unix_s = std::time(nullptr);
  head_.model = model_.id;
  head_.usage_field = plan_.fields.stream && plan_.fields.include_usage;
  if (!plan_.fields.has_seed) plan_.fields.sampling.seed = context.random();
}

std::vector<int32_t> Generation::StopTokens() const {
  std::vector<int32_t> tokens = model_.stop_token_ids;
  tokens.insert(tokens.end(), plan_.fields.stop_token_ids.begin(),
                plan_.fields.stop_token_ids.end());
  return tokens;
}

RequestSpec Generation::MakeSpec(size_t prompt, int32_t index_in_prompt) const {
  const GenerationFields& fields = plan_.fields;
  RequestSpec spec;
  spec.prompt = plan_.prompts[prompt].tokens;
  spec.sampling = fields.sampling;
  spec.sampling.seed += static_cast<uint64_t>(index_in_prompt);
  const int32_t room = model_.max_context - static_cast<int32_t>(spec.prompt.size());
  const int32_t wanted = fields.max_tokens.value_or(plan_.default_max_tokens.value_or(room));
  spec.max_new_tokens = std::min(room, wanted);
  // ignore_eos is about the model's own end tokens; the client's still end the answer.
  spec.stop_token_ids = fields.ignore_eos ? fields.stop_token_ids : StopTokens();
  spec.priority = fields.priority;
  spec.deadline_ms = fields.deadline_ms;
  spec.tenant = plan_.tenant;
  spec.cache_salt = plan_.cache_salt;
  spec.session = plan_.session;
  spec.session_ttl_ms = int64_t{fields.session_ttl_s} * 1000;
  spec.ignore_eos = fields.ignore_eos && fields.stop_token_ids.empty();
  return spec;
}

void Generation::Start() {
  const GenerationFields& fields = plan_.fields;
  choices_.reserve(plan_.prompts.size() * static_cast<size_t>(fields.n));
  responder_->OnHangUp([self = shared_from_this()] {
    self->over_ = true;
    self->CancelAll();
  });
  for (size_t prompt = 0; prompt < plan_.prompts.size(); ++prompt) {
    for (int32_t i = 0; i < fields.n; ++i) {
      Choice& choice = choices_.emplace_back(*model_.tokenizer, fields, StopTokens());
      choice.prompt = static_cast<int32_t>(prompt);
      auto id = context_.feed.Submit(MakeSpec(prompt, i), shared_from_this(),
                                     static_cast<int>(choices_.size()) - 1);
      if (!id.ok()) return Fail(ApiErrorFromStatus(id.status()));
      choice.request_id = *id;
      choice.live = true;
    }
  }
}

void Generation::OnEngineEvent(int slot, const EngineEvent& event) {
  if (over_) return;
  Choice& choice = choices_[static_cast<size_t>(slot)];
  if (event.finished) choice.live = false;
  if (!event.error.ok()) return Fail(ApiErrorFromStatus(event.error));
  if (event.finished && event.reason == FinishReason::kCancelled) {
    return Fail(ApiErrorFromStatus(Unavailable("the server is shutting down; try again later")));
  }
  if (event.finished && event.reason == FinishReason::kError) {
    return Fail(
        ApiErrorFromStatus(InternalError("the engine failed to run this request; see its log")));
  }
  if (choice.num_tokens == 0 && event.cached_tokens > 0) choice.cached_tokens = event.cached_tokens;
  if (plan_.fields.stream && !stream_open_) OpenStream();
  if (event.has_token) {
    CountToken(choice);
    std::string text = choice.stream.Append(event.sampled.token);
    if (with_logprobs() && !choice.stream.IsSilent(event.sampled.token)) {
      choice.tokens.push_back(Detail(event.sampled, choice.stream.token_begin()));
    }
    Emit(slot, std::move(text), false);
  }
  if (choice.stream.stopped()) {
    if (choice.live) context_.feed.Cancel(choice.request_id);
    choice.live = false;
    FinishChoice(slot, "stop");
  } else if (event.finished) {
    std::string text = choice.stream.Flush();
    const bool stopped = choice.stream.stopped();  // by what was unfinished
    Emit(slot, std::move(text), !stopped);
    FinishChoice(slot, stopped || event.reason == FinishReason::kStop ? "stop" : "length");
  }
}

void Generation::CountToken(Choice& choice) {
  const int64_t now = context_.clock.NowNs();
  if (choice.num_tokens == 0) {
    context_.metrics.time_to_first_token.Observe(static_cast<double>(now - start_ns_) * 1e-9);
  } else {
    context_.metrics.inter_token.Observe(static_cast<double>(now - choice.last_token_ns) * 1e-9);
  }
  choice.last_token_ns = now;
  ++choice.num_tokens;
}

TokenDetail Generation::Detail(const SampledToken& sampled, int64_t begin) const {
  TokenDetail detail;
  const auto chance = [this](int32_t token, float logprob) {
    return TokenChance{std::string(model_.tokenizer->TokenPiece(token)),
                       std::max(logprob, kLowestLogprob)};
  };
  detail.chosen = chance(sampled.token, sampled.logprob);
  detail.begin = begin;
  for (const TokenLogprob& other : sampled.top)
    detail.top.push_back(chance(other.token, other.logprob));
  return detail;
}

// Hands out `text` of a choice, with the details of the tokens that it is made of.
void Generation::Emit(int32_t index, std::string text, bool all_tokens) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (!plan_.fields.stream) {
    choice.text += text;
    return;
  }
  if (text.empty() && !(all_tokens && !choice.tokens.empty())) return;
  Open(index);
  const auto sent =
      std::find_if(choice.tokens.begin(), choice.tokens.end(), [&](const TokenDetail& token) {
        return !all_tokens && token.begin >= choice.stream.length();
      });
  ChoicePart part;
  part.index = index;
  part.text = text;
  part.with_logprobs = with_logprobs();
  part.tokens = {choice.tokens.begin(), sent};
  SendChunk(plan_.format->Chunk(head_, part));
  choice.tokens.erase(choice.tokens.begin(), sent);
}

void Generation::FinishChoice(int32_t index, std::string_view reason) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  choice.finish = reason;
  if (plan_.fields.stream) {
    Open(index);
    ChoicePart part;
    part.index = index;
    part.finish_reason = reason;
    SendChunk(plan_.format->Chunk(head_, part));
  } else if (choice.stream.stopped()) {
    std::erase_if(choice.tokens,
                  [&](const TokenDetail& token) { return token.begin >= choice.stream.length(); });
  }
  FinishIfComplete();
}

void Generation::FinishIfComplete() {
  for (const Choice& choice : choices_) {
    if (choice.finish.empty()) return;
  }
  over_ = true;
  if (!plan_.fields.stream) return SendWhole();
  if (plan_.fields.include_usage) SendChunk(plan_.format->UsageChunk(head_, CountUsage()));
  responder_->Write("data: [DONE]\n\n");
  responder_->EndStream();
}

void Generation::SendWhole() {
  std::vector<ChoicePart> parts;
  for (size_t i = 0; i < choices_.size(); ++i) {
    Choice& choice = choices_[i];
    choice.text.insert(0, plan_.prompts[static_cast<size_t>(choice.prompt)].echo);
    ChoicePart& part = parts.emplace_back();
    part.index = static_cast<int32_t>(i);
    part.text = choice.text;
    part.with_logprobs = with_logprobs();
    part.tokens = choice.tokens;
    part.finish_reason = choice.finish;
  }
  HttpResponse response;
  response.body = plan_.format->Whole(head_, parts, CountUsage());
  responder_->Send(std::move(response));
}

void Generation::OpenStream() {
  stream_open_ = true;
  responder_->BeginStream("text/event-stream; charset=utf-8");
  for (size_t i = 0; i < choices_.size(); ++i) Open(static_cast<int32_t>(i));
}

void Generation::Open(int32_t index) {
  Choice& choice = choices_[static_cast<size_t>(index)];
  if (std::exchange(choice.opened, true)) return;
  const std::string opening = plan_.format->Opening(head_, index);
  if (!opening.empty()) SendChunk(opening);
  const std::string& echo = plan_.prompts[static_cast<size_t>(choice.prompt)].echo;
  if (echo.empty()) return;
  ChoicePart part;
  part.index = index;
  part.text = echo;
  SendChunk(plan_.format->Chunk(head_, part));
}

void Generation::SendChunk(const std::string& json) {
  responder_->Write(StrCat("data: ", json, "\n\n"));
}

void Generation::CancelAll() {
  for (Choice& choice : choices_) {
    if (std::exchange(choice.live, false)) context_.feed.Cancel(choice.request_id);
  }
}

void Generation::Fail(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  CancelAll();
  LogWarning(StrCat("request ", head_.id, " failed: ", error.message));
  if (!stream_open_) return responder_->Send(ApiErrorResponse(error));
  SendChunk(
      ApiErrorJson(error));  // the status line is gone; clients look for "error" in the events
  responder_->EndStream();
}

Usage Generation::CountUsage() const {
  Usage usage;
  for (const GenerationPrompt& prompt : plan_.prompts) {
    usage.prompt_tokens += static_cast<int64_t>(prompt.tokens.size());
  }
  int32_t last_prompt = -1;
  for (const Choice& choice : choices_) {
    usage.completion_tokens += choice.num_tokens;
    if (choice.prompt != last_prompt) usage.cached_tokens += choice.cached_tokens;
    last_prompt = choice.prompt;
  }
  return usage;
}

std::optional<ApiError> CheckPrompt(const ModelInfo& model, const GenerationPrompt& prompt,
                                    std::string_view field) {
  ApiError error;
  error.param = field;
  if (prompt.tokens.empty()) {
    error.message = "the prompt has no tokens; send at least one";
    error.code = "invalid_value";
    return error;
  }
  if (prompt.tokens.size() >= static_cast<size_t>(model.max_context)) {
    error.message = StrCat(
        "the prompt has ", prompt.tokens.size(), " tokens, which leaves no room for an ",
        "answer in the model's context of ", model.max_context, " tokens; shorten the prompt");
    error.code = "context_length_exceeded";
    return error;
  }
  for (const int32_t token : prompt.tokens) {
    if (token >= 0 && token < model.tokenizer->vocab_size()) continue;
    error.message = StrCat("the prompt has the token id ", token, "; this model's ids are 0 to ",
                           model.tokenizer->vocab_size() - 1);
    error.code = "invalid_value";
    return error;
  }
  return std::nullopt;
}

std::optional<ApiError> CheckBias(const ModelInfo& model, const SamplingParams& sampling) {
  for (const TokenBias& entry : sampling.logit_bias) {
    if (entry.token < model.tokenizer->vocab_size()) continue;
    ApiError error;
    error.param = "logit_bias";
    error.message = StrCat("field \"logit_bias\" names the token id ", entry.token,
                           "; this model's ids are 0 to ", model.tokenizer->vocab_size() - 1);
    error.code = "invalid_value";
    return error;
  }
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> CheckReady(const ServerContext& context) {
  const EngineState state = context.engine.state();
  if (state == EngineState::kReady && !context.draining) return std::nullopt;
  ApiError error;
  error.status = 503;
  error.code = "unavailable";
  error.retry_after_s = 1;
  if (state == EngineState::kLoading) {
    error.message = "the model is loading; try again soon";
    error.code = "loading";
  } else if (state == EngineState::kFailed) {
    error.message = StrCat("the engine has failed: ", context.engine.load_error().message());
    error.code = "failed";
    error.retry_after_s = 0;
  } else {
    error.message = "the server is shutting down; try again later";
    error.code = "draining";
    error.retry_after_s = 5;
  }
  return error;
}

std::optional<ApiError> CheckModel(const ServerContext& context, const std::string& model) {
  const std::string& id = context.engine.model().id;
  if (model.empty() || model == "default" || model == id) return std::nullopt;
  ApiError error;
  error.status = 404;
  error.message =
      StrCat("the model \"", model, "\" does not exist here; use \"", id, "\" or \"default\"");
  error.param = "model";
  error.code = "model_not_found";
  return error;
}

std::string TenantOf(const HttpRequest& request, const GenerationFields& fields) {
  std::string tenant =
      request.api_key.empty() ? StrCat("user ", fields.user) : StrCat("key ", request.api_key);
  tenant.resize(std::min(tenant.size(), kMaxTenantBytes));
  return tenant;
}

std::string EngineSessionName(const ServerContext& context, const HttpRequest& request,
                              std::string_view session) {
  return StrCat(SipHash(context.salt_key, request.api_key), " ", session);
}

void StartGeneration(ServerContext& context, GenerationPlan plan,
                     std::shared_ptr<Responder> responder) {
  if (!plan.fields.cache_salt.empty()) {
    plan.cache_salt = SipHash(context.salt_key, plan.fields.cache_salt);
  }
  if (auto error = CheckBias(context.engine.model(), plan.fields.sampling)) {
    return responder->Send(ApiErrorResponse(*error));
  }
  for (const GenerationPrompt& prompt : plan.prompts) {
    if (auto error = CheckPrompt(context.engine.model(), prompt, plan.prompt_field)) {
      return responder->Send(ApiErrorResponse(*error));
    }
  }
  std::make_shared<Generation>(context, std::move(plan), std::move(responder))->Start();
}

Json UsageJson(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

}  // namespace quire
