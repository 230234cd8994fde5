// quire generate: one answer to standard output.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine_client.h"

namespace quire {

struct GenerateOptions {
  std::string prompt;
  bool chat = false;  // the prompt is a user's message; else plain text to continue
  SamplingParams sampling;
  int32_t max_tokens = 256;  // cut to the end of the context
  bool ignore_eos = false;
};

// Prints the answer as it comes. Returns the exit code: 0, 130 after Ctrl-C while loading, else 1
// with the error on standard error. Ctrl-C during the answer ends it with what is there.
int RunGenerate(EngineClient& engine, const GenerateOptions& options);

}  // namespace quire
