#include "apps/generate.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/terminal_answer.h"

namespace quire {

namespace {

Result<std::vector<int32_t>> EncodePrompt(const ModelInfo& model, const GenerateOptions& options) {
  if (!options.chat) {
    EncodeOptions encode;
    encode.parse_special = true;  // a raw prompt is written with the model's own markup
    return model.tokenizer->Encode(options.prompt, encode);
  }
  auto messages = nlohmann::ordered_json::array();
  messages.push_back({{"role", "user"}, {"content", options.prompt}});
  return EncodeMessages(model, messages);
}

Status Generate(EngineClient& engine, const GenerateOptions& options) {
  Interrupt interrupt;
  QUIRE_RETURN_IF_ERROR(WaitUntilReady(engine, interrupt));
  AnswerRequest request;
  request.id = 1;
  QUIRE_ASSIGN_OR_RETURN(request.prompt, EncodePrompt(engine.model(), options));
  request.sampling = options.sampling;
  request.max_tokens = options.max_tokens;
  request.ignore_eos = options.ignore_eos;
  const auto answer = PrintAnswer(engine, std::move(request), interrupt);
  std::printf("\n");
  std::fflush(stdout);
  return answer.status();
}

}  // namespace

int RunGenerate(EngineClient& engine, const GenerateOptions& options) {
  const Status status = Generate(engine, options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "quire generate: %s\n", status.message().c_str());
  return status.code() == StatusCode::kCancelled ? 130 : 1;
}

}  // namespace quire
