#include "apps/terminal_answer.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "engine/text_stream.h"

namespace quire {

namespace {

// Waits until events wait, but not long, so that Ctrl-C is looked at.
void WaitForEvents(EngineClient& engine) {
  constexpr int kTimeoutMs = 100;
  pollfd waiting{engine.event_fd(), POLLIN, 0};
  if (poll(&waiting, 1, kTimeoutMs) < 0) QUIRE_CHECK_EQ(errno, EINTR);
}

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

Status WaitUntilReady(EngineClient& engine, Interrupt& interrupt) {
  std::vector<EngineEvent> events;
  while (engine.state() == EngineState::kLoading) {
    WaitForEvents(engine);
    engine.TakeEvents(events);
    if (interrupt.Take()) return {StatusCode::kCancelled, "interrupted while loading"};
  }
  if (engine.state() == EngineState::kFailed) return engine.load_error();
  if (engine.state() != EngineState::kReady) return Unavailable("the engine is stopping");
  return OkStatus();
}

Result<std::string> PrintAnswer(EngineClient& engine, AnswerRequest request, Interrupt& interrupt) {
  const ModelInfo& model = engine.model();
  const auto prompt_size = static_cast<int64_t>(request.prompt.size());
  if (prompt_size >= model.max_context) {
    return InvalidArgument("the prompt has ", prompt_size,
                           " tokens, which leaves no room for an answer in the ",
                           "model's context of ", model.max_context, " tokens; make it shorter");
  }
  const int32_t room = model.max_context - static_cast<int32_t>(prompt_size);
  RequestSpec spec;
  spec.id = request.id;
  spec.prompt = std::move(request.prompt);
  spec.sampling = request.sampling;
  spec.max_new_tokens = std::min(room, request.max_tokens);
  spec.stop_token_ids = model.stop_token_ids;
  spec.ignore_eos = request.ignore_eos;
  QUIRE_RETURN_IF_ERROR(engine.Submit(std::move(spec)));

  TextStream stream(*model.tokenizer, {}, model.stop_token_ids);
  std::string answer;
  const auto show = [&](const std::string& text) {
    Print(text);
    answer += text;
  };
  std::vector<EngineEvent> events;
  for (;;) {
    if (interrupt.Take()) engine.Cancel(request.id);
    events.clear();
    engine.TakeEvents(events);
    for (const EngineEvent& event : events) {
      if (event.request_id != request.id) continue;
      if (event.has_token) show(stream.Append(event.sampled.token));
      if (!event.finished) continue;
      show(stream.Flush());
      if (!event.error.ok()) return event.error;
      return answer;
    }
    if (engine.state() == EngineState::kFailed) return engine.load_error();
    if (events.empty()) WaitForEvents(engine);
  }
}

Result<std::vector<int32_t>> EncodeMessages(const ModelInfo& model,
                                            const nlohmann::ordered_json& messages) {
  if (model.chat_template == nullptr)
    return InvalidArgument("the model ", model.id, " has no chat template");
  QUIRE_ASSIGN_OR_RETURN(const std::string text, model.chat_template->Render(messages, true));
  EncodeOptions options;  // the template's text names all special tokens that it needs
  options.add_bos = false;
  options.parse_special = true;
  return model.tokenizer->Encode(text, options);
}

}  // namespace quire
