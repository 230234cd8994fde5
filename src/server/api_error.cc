#include "server/api_error.h"

#include <nlohmann/json.hpp>

#include "server/json_text.h"

namespace quire {

namespace {

const char* TypeOf(int status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

nlohmann::ordered_json TextOrNull(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

}  // namespace

std::string ApiErrorJson(const ApiError& error) {
  const nlohmann::ordered_json body = {{"error",
                                        {{"message", error.message},
                                         {"type", TypeOf(error.status)},
                                         {"param", TextOrNull(error.param)},
                                         {"code", TextOrNull(error.code)}}}};
  return JsonText(body);
}

HttpResponse ApiErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.body = ApiErrorJson(error);
  if (error.retry_after_s > 0) {
    response.headers.emplace_back("Retry-After", StrCat(error.retry_after_s));
  }
  return response;
}

ApiError ApiErrorFromStatus(const Status& status) {
  ApiError error;
  error.message = status.message();
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported: error.status = 400; break;
    case StatusCode::kNotFound: error.status = 404; break;
    case StatusCode::kResourceExhausted:
      error.status = 429;
      error.code = "rate_limit_exceeded";
      error.retry_after_s = 1;
      break;
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      error.status = 503;
      error.code = "unavailable";
      error.retry_after_s = 1;
      break;
    default: error.status = 500; error.code = "internal_error";
  }
  return error;
}

}  // namespace quire
