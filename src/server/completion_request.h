// The body of POST /v1/completions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/generation_fields.h"

namespace quire {

// Text to encode, or token ids (not yet checked against the vocabulary).
using CompletionPrompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  GenerationFields fields;
  std::vector<CompletionPrompt> prompts;  // at least one; prompts x n <= kMaxChoices
  bool echo = false;                      // the answer's text starts with the prompt
};

// Fills `request`, or returns what to tell the client.
std::optional<ApiError> ParseCompletionRequest(std::string_view body, CompletionRequest& request);

}  // namespace quire
