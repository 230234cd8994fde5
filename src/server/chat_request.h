// The body of POST /v1/chat/completions.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "server/generation_fields.h"

namespace quire {

struct ChatRequest {
  GenerationFields fields;
  Json messages;  // array of {"role", "content"}, content a string, in the order sent
};

// Fills `request`, or returns what to tell the client.
std::optional<ApiError> ParseChatRequest(std::string_view body, ChatRequest& request);

// The object in `body`, or a 400: malformed JSON (with its place), or not an object.
std::optional<ApiError> ParseRequestObject(std::string_view body, Json& object);

}  // namespace quire
