// Generation: one completion request on its way through the engine: its choices (n per prompt) run
// as one engine request each, and their text becomes one JSON answer or one event stream.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/generation_fields.h"
#include "server/http_message.h"
#include "server/server_context.h"

namespace quire {

inline constexpr std::string_view kSystemFingerprint = "quire";

struct TokenChance {
  std::string bytes;  // of the token; maybe a part of a code point
  float logprob = 0;  // natural log
};

// A generated token, where log-probabilities were asked for.
struct TokenDetail {
  TokenChance chosen;
  std::vector<TokenChance> top;  // descending
  int64_t begin = 0;             // code points of the answer's text before it
};

// All of a choice, or its next part in a stream.
struct ChoicePart {
  int32_t index = 0;
  std::string_view text;
  bool with_logprobs = false;
  std::span<const TokenDetail> tokens;  // if with_logprobs: those that `text` is made of
  std::string_view finish_reason;       // empty = goes on
};

struct Usage {
  int64_t prompt_tokens = 0;  // of each prompt once, whatever n is
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt tokens, taken from the prefix cache
};

// What every JSON object of an answer repeats.
struct AnswerHead {
  std::string id;
  int64_t created_unix_s = 0;
  std::string model;
  bool usage_field = false;  // of a stream: chunks carry "usage": null, the last one the numbers
};

// The JSON of an endpoint. Every function returns one object on one line.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;
  // The chunk that opens a choice of a stream; empty for none.
  virtual std::string Opening(const AnswerHead& head, int32_t index) const = 0;
  // A chunk of a stream. Either text or a finish reason.
  virtual std::string Chunk(const AnswerHead& head, const ChoicePart& part) const = 0;
  virtual std::string UsageChunk(const AnswerHead& head, const Usage& usage) const = 0;
  virtual std::string Whole(const AnswerHead& head, std::span<const ChoicePart> choices,
                            const Usage& usage) const = 0;
};

struct GenerationPrompt {
  std::vector<int32_t> tokens;
  std::string echo;  // goes before the generated text
};

struct GenerationPlan {
  GenerationFields fields;
  std::vector<GenerationPrompt> prompts;
  std::string_view prompt_field;              // what errors about a prompt name
  std::optional<int32_t> default_max_tokens;  // absent: the rest of the context
  std::string id_prefix;                      // "chatcmpl-"
  std::string tenant;                         // whose share the answer counts to
  uint64_t cache_salt = 0;                    // of the cached prefixes that it may share
  std::string session;                        // EngineSessionName, or empty
  std::unique_ptr<AnswerFormat> format;
};

// 503 with Retry-After while the engine loads, drains or has failed.
std::optional<ApiError> CheckReady(const ServerContext& context);

// 404 unless `model` is empty, "default" or the loaded model's id.
std::optional<ApiError> CheckModel(const ServerContext& context, const std::string& model);

// Whom a request counts to where tenants share the engine: its API key, or without one its field
// "user".
std::string TenantOf(const HttpRequest& request, const GenerationFields& fields);

// The engine's name for a client's session. Those of other API keys are others; no key is in it.
std::string EngineSessionName(const ServerContext& context, const HttpRequest& request,
                              std::string_view session);

// Runs `plan` and answers. A prompt that is empty, has a token outside of the vocabulary or leaves
// no room in the context is a 400; max_tokens beyond the context's end is cut to it. The choice i
// of a prompt draws with seed + i. REQUIRES: CheckReady() found nothing.
void StartGeneration(ServerContext& context, GenerationPlan plan,
                     std::shared_ptr<Responder> responder);

// {"prompt_tokens": ..., ...}
Json UsageJson(const Usage& usage);

}  // namespace quire
