#include "server/chat_request.h"

#include <array>

namespace quire {

namespace {

constexpr std::array<std::string_view, 3> kRoles = {"system", "user", "assistant"};

// The text of a message's content: a string, or an array of text parts, joined by newlines.
std::optional<ApiError> ReadContent(const Json& content, const std::string& where,
                                    std::string& text) {
  ApiError error;
  error.param = where;
  error.code = "invalid_type";
  if (content.is_string()) {
    text = content.get<std::string>();
    return std::nullopt;
  }
  if (!content.is_array()) {
    error.message = StrCat("field \"", where, "\" is ", JsonTypeName(content),
                           "; it must be a string or an array of text parts");
    return error;
  }
  bool first = true;
  for (size_t i = 0; i < content.size(); ++i) {
    const Json& part = content[i];
    error.param = StrCat(where, "[", i, "]");
    if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
      error.message = StrCat("field \"", error.param,
                             "\" is no content part; send {\"type\": \"text\", "
                             "\"text\": \"...\"}");
      return error;
    }
    if (part["type"] != "text") {
      error.message = StrCat("field \"", error.param, "\" has type ", JsonText(part["type"]),
                             ", which is not supported; this model reads text parts only");
      error.code = "unsupported_parameter";
      return error;
    }
    if (!part.contains("text") || !part["text"].is_string()) {
      error.message = StrCat("field \"", error.param, ".text\" must be a string");
      return error;
    }
    text += first ? "" : "\n";
    text += part["text"].get<std::string>();
    first = false;
  }
  return std::nullopt;
}

std::optional<ApiError> ReadRole(const Json& message, const std::string& where, std::string& role) {
  ApiError error;
  error.param = StrCat(where, ".role");
  if (!message.contains("role") || !message["role"].is_string()) {
    error.message =
        StrCat("field \"", error.param, "\" must be a string: system, user or assistant");
    error.code = "invalid_type";
    return error;
  }
  role = message["role"].get<std::string>();
  if (role == "developer") role = "system";  // OpenAI's newer name of the same thing
  for (const std::string_view known : kRoles) {
    if (role == known) return std::nullopt;
  }
  if (role == "tool" || role == "function") {
    error.message = StrCat("field \"", error.param, "\" is \"", role,
                           "\", but tool calls are not supported by this server");
    error.code = "unsupported_parameter";
    return error;
  }
  error.message = StrCat("field \"", error.param, "\" is ", JsonText(message["role"]),
                         "; it must be system, developer, user or assistant");
  error.code = "invalid_value";
  return error;
}

std::optional<ApiError> ReadMessage(const Json& message, const std::string& where, Json& out) {
  ApiError error;
  error.param = where;
  error.code = "invalid_type";
  if (!message.is_object()) {
    error.message = StrCat("field \"", where, "\" is ", JsonTypeName(message),
                           "; it must be an object with role and content");
    return error;
  }
  std::string role;
  if (auto failed = ReadRole(message, where, role)) return failed;
  if (const auto calls = message.find("tool_calls");
      calls != message.end() && !calls->is_null() && !calls->empty()) {
    error.param = StrCat(where, ".tool_calls");
    error.message =
        StrCat("field \"", error.param, "\" is not supported by this server; remove it");
    error.code = "unsupported_parameter";
    return error;
  }
  const auto content = message.find("content");
  if (content == message.end() || (content->is_null() && role != "assistant")) {
    error.param = StrCat(where, ".content");
    error.message = StrCat("field \"", error.param,
                           "\" is missing; it must be a string or an array of "
                           "text parts");
    error.code = "missing_required_parameter";
    return error;
  }
  std::string text;
  if (!content->is_null()) {
    if (auto failed = ReadContent(*content, StrCat(where, ".content"), text)) return failed;
  }
  out = Json{{"role", role}, {"content", text}};
  return std::nullopt;
}

void ReadLogprobs(FieldReader& reader, SamplingParams& sampling) {
  bool logprobs = false;
  int64_t top = 0;
  reader.Boolean("logprobs", &logprobs);
  reader.Integer("top_logprobs", 0, kMaxTopLogprobs, &top);
  if (top > 0 && !logprobs) {
    reader.Fail("top_logprobs", "field \"top_logprobs\" needs \"logprobs\": true", "invalid_value");
  }
  if (logprobs) sampling.top_logprobs = static_cast<int32_t>(top);
}

}  // namespace

std::optional<ApiError> ParseRequestObject(std::string_view body, Json& object) {
  auto parsed = ParseJsonText(body);
  if (!parsed.ok()) {
    ApiError error = ApiErrorFromStatus(parsed.status());
    error.code = "invalid_json";
    return error;
  }
  object = *std::move(parsed);
  if (object.is_object()) return std::nullopt;
  ApiError error;
  error.message =
      StrCat("the request body is ", JsonTypeName(object), "; it must be a JSON object");
  error.code = "invalid_type";
  return error;
}

std::optional<ApiError> ParseChatRequest(std::string_view body, ChatRequest& request) {
  Json object;
  if (auto failed = ParseRequestObject(body, object)) return failed;
  FieldReader reader(object);
  request.fields = ReadGenerationFields(reader);
  ReadLogprobs(reader, request.fields.sampling);
  const Json* messages = reader.Find("messages");
  if (reader.ok() && messages == nullptr) {
    reader.Fail("messages", "field \"messages\" is missing; it must be an array of messages",
                "missing_required_parameter");
  } else if (reader.ok() && !messages->is_array()) {
    reader.FailType("messages", *messages, "an array of messages");
  } else if (reader.ok() && messages->empty()) {
    reader.Fail("messages", "field \"messages\" is empty; it must hold at least one message",
                "invalid_value");
  }
  if (!reader.ok()) return reader.error();
  request.messages = Json::array();
  for (size_t i = 0; i < messages->size(); ++i) {
    Json message;
    if (auto failed = ReadMessage((*messages)[i], StrCat("messages[", i, "]"), message))
      return failed;
    request.messages.push_back(std::move(message));
  }
  return std::nullopt;
}

}  // namespace quire
