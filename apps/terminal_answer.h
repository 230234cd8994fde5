// One answer of an engine, streamed to standard output. What `quire chat` and `quire generate`
// share.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "apps/interrupt.h"
#include "engine/engine_client.h"

namespace quire {

// Blocks until the engine is ready. Errors: its load error; cancelled (Ctrl-C).
Status WaitUntilReady(EngineClient& engine, Interrupt& interrupt);

struct AnswerRequest {
  uint64_t id = 0;  // new for this engine
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int32_t max_tokens = 1;  // cut to the end of the context
  bool ignore_eos = false;
};

// Runs the request and prints its text as it comes; Ctrl-C cancels it and keeps what was printed.
// Returns the whole text. Errors: invalid_argument (the prompt does not fit the context, naming
// both numbers), what the engine says. REQUIRES: the engine is ready.
Result<std::string> PrintAnswer(EngineClient& engine, AnswerRequest request, Interrupt& interrupt);

// The tokens of a conversation, up to the beginning of the answer. `messages` is an array of
// {"role", "content"} objects. Errors: what the chat template refuses.
Result<std::vector<int32_t>> EncodeMessages(const ModelInfo& model,
                                            const nlohmann::ordered_json& messages);

}  // namespace quire
