// The request fields that /v1/chat/completions and /v1/completions share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "server/field_reader.h"

namespace quire {

inline constexpr int64_t kMaxChoices = 128;  // n x prompts of one request
inline constexpr size_t kMaxStopStrings = 16;
inline constexpr size_t kMaxStopBytes = 1024;  // of one; every token is compared with all of them
inline constexpr int64_t kMaxTopLogprobs = 20;
inline constexpr size_t kMaxSessionBytes = 256;
inline constexpr int32_t kDefaultSessionTtlS = 300;

struct GenerationFields {
  std::string model;        // empty = absent
  SamplingParams sampling;  // seed: only if has_seed
  bool has_seed = false;
  int32_t n = 1;
  bool stream = false;
  bool include_usage = false;     // one more chunk with the usage
  std::vector<std::string> stop;  // not empty strings
  std::vector<int32_t> stop_token_ids;
  std::optional<int32_t> max_tokens;
  bool ignore_eos = false;
  int32_t priority = 0;
  int32_t deadline_ms = 0;
  std::string user;
  std::string cache_salt;  // empty = absent
  std::string session;     // empty = absent; else n is 1
  int32_t session_ttl_s = kDefaultSessionTtlS;
};

// Reads and checks them; errors are left in `reader`. What a well-known field asks for and this
// server cannot do is an error naming the field, never silently dropped; unknown fields are
// ignored, as peers do.
GenerationFields ReadGenerationFields(FieldReader& reader);

}  // namespace quire
