#include "server/completion_request.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "server/chat_request.h"

namespace quire {

namespace {

constexpr std::string_view kPromptTypes =
    "a string, an array of strings, an array of token ids, or an array of such arrays";

bool ReadTokens(FieldReader& reader, const Json& array, std::vector<int32_t>& tokens) {
  for (const Json& item : array) {
    if (!item.is_number_integer() || item < 0 || item > std::numeric_limits<int32_t>::max()) {
      reader.Fail("prompt",
                  StrCat("field \"prompt\" has the entry ", JsonText(item),
                         " among token ids; token ids are integers from 0"),
                  "invalid_type");
      return false;
    }
    tokens.push_back(item.get<int32_t>());
  }
  return true;
}

void ReadPrompts(FieldReader& reader, std::vector<CompletionPrompt>& prompts) {
  const Json* prompt = reader.Find("prompt");
  if (!reader.ok()) return;
  if (prompt == nullptr) {
    return reader.Fail("prompt", StrCat("field \"prompt\" is missing; it must be ", kPromptTypes),
                       "missing_required_parameter");
  }
  if (prompt->is_string()) {
    prompts.emplace_back(prompt->get<std::string>());
    return;
  }
  if (!prompt->is_array()) return reader.FailType("prompt", *prompt, kPromptTypes);
  if (prompt->empty()) return reader.Fail("prompt", "field \"prompt\" is empty", "invalid_value");
  if (prompt->front().is_number()) {
    std::vector<int32_t> tokens;
    if (ReadTokens(reader, *prompt, tokens)) prompts.emplace_back(std::move(tokens));
    return;
  }
  for (const Json& item : *prompt) {
    if (item.is_string()) {
      prompts.emplace_back(item.get<std::string>());
    } else if (item.is_array()) {
      std::vector<int32_t> tokens;
      if (!ReadTokens(reader, item, tokens)) return;
      prompts.emplace_back(std::move(tokens));
    } else {
      return reader.FailType("prompt", item, kPromptTypes);
    }
  }
}

}  // namespace

std::optional<ApiError> ParseCompletionRequest(std::string_view body, CompletionRequest& request) {
  Json object;
  if (auto failed = ParseRequestObject(body, object)) return failed;
  FieldReader reader(object);
  request.fields = ReadGenerationFields(reader);
  int64_t logprobs = -1;
  reader.Integer("logprobs", 0, kMaxTopLogprobs, &logprobs);
  request.fields.sampling.top_logprobs = static_cast<int32_t>(logprobs);
  reader.Boolean("echo", &request.echo);
  if (request.echo && logprobs >= 0) {
    reader.Fail("echo",
                "field \"echo\" together with \"logprobs\" is not supported: this server keeps no "
                "log-probabilities of the prompt; remove one of them",
                "unsupported_parameter");
  }
  ReadPrompts(reader, request.prompts);
  if (reader.ok() &&
      static_cast<int64_t>(request.prompts.size()) * request.fields.n > kMaxChoices) {
    reader.Fail("prompt",
                StrCat("field \"prompt\" holds ", request.prompts.size(), " prompts with n = ",
                       request.fields.n, "; prompts x n may be at most ", kMaxChoices),
                "invalid_value");
  }
  if (reader.ok() && request.prompts.size() > 1 && !request.fields.session.empty()) {
    reader.Fail("prompt", "field \"prompt\" holds several prompts; with a \"session\" send one",
                "invalid_value");
  }
  if (!reader.ok()) return reader.error();
  return std::nullopt;
}

}  // namespace quire
