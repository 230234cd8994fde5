// Errors as OpenAI clients expect them: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <string>

#include "base/status.h"
#include "server/http_message.h"

namespace quire {

struct ApiError {
  int status = 400;       // HTTP
  std::string message;    // names the thing, the value and what to do
  std::string param;      // the request field at fault; empty = null
  std::string code;       // machine-readable, e.g. "model_not_found"; empty = null
  int retry_after_s = 0;  // > 0: sent as Retry-After
};

// The JSON object alone, on one line.
std::string ApiErrorJson(const ApiError& error);

HttpResponse ApiErrorResponse(const ApiError& error);

// What a refusal or failure inside the server means to a client: invalid_argument 400, not_found
// 404, resource_exhausted 429, unavailable 503, anything unexpected 500.
ApiError ApiErrorFromStatus(const Status& status);

}  // namespace quire
