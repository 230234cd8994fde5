// quire bench: rates of the engine's own step loop, without a server.
#pragma once

#include <cstdint>

#include "engine/engine_options.h"

namespace quire {

struct BenchOptions {
  int32_t prompt_tokens = 512;  // per stream, computed
  int32_t output_tokens = 64;   // per stream
  int32_t batch = 1;            // streams
  int32_t context = 0;  // tokens in the cache before the prompt; rounded down to whole pages
  int32_t rounds = 5;   // after one that is not counted; medians are printed
  bool json = false;    // one JSON object instead of a table
};

// Prefill and decode rates of `batch` streams that start together. Returns the process's exit code.
int RunBench(EngineOptions engine_options, const BenchOptions& options);

}  // namespace quire
