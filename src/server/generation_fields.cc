#include "server/generation_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/engine_client.h"

namespace quire {

namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

// {"token id": bias, ...}
void ReadLogitBias(FieldReader& reader, SamplingParams& sampling) {
  const Json* biases = reader.Find("logit_bias");
  if (biases == nullptr) return;
  if (!biases->is_object()) return reader.FailType("logit_bias", *biases, "an object");
  FieldReader inner(*biases, "logit_bias.");
  for (const auto& [key, value] : biases->items()) {
    TokenBias entry;
    const char* end = key.data() + key.size();
    const auto parsed = std::from_chars(key.data(), end, entry.token);
    if (parsed.ec != std::errc() || parsed.ptr != end || entry.token < 0) {
      return reader.Fail("logit_bias",
                         StrCat("field \"logit_bias\" has the key \"", key,
                                "\"; keys are token ids, integers from 0"),
                         "invalid_value");
    }
    inner.Number(key, -100.0, 100.0, false, &entry.bias);
    if (!inner.ok()) return reader.Fail("logit_bias", inner.error().message, inner.error().code);
    sampling.logit_bias.push_back(entry);
  }
}

void ReadSampling(FieldReader& reader, GenerationFields& fields) {
  SamplingParams& sampling = fields.sampling;
  reader.Number("temperature", 0.0, 2.0, false, &sampling.temperature);
  reader.Number("top_p", 0.0, 1.0, true, &sampling.top_p);
  reader.Number("min_p", 0.0, 1.0, false, &sampling.min_p);
  int64_t top_k = 0;
  reader.Integer("top_k", -1, kInt32Max, &top_k);  // -1 and 0 = off
  sampling.top_k = static_cast<int32_t>(top_k);
  reader.Number("presence_penalty", -2.0, 2.0, false, &sampling.presence_penalty);
  reader.Number("frequency_penalty", -2.0, 2.0, false, &sampling.frequency_penalty);
  reader.Number("repetition_penalty", 0.0, 10.0, true, &sampling.repetition_penalty);
  ReadLogitBias(reader, sampling);
  if (reader.Find("seed") != nullptr) {
    int64_t seed = 0;
    reader.Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                   &seed);
    sampling.seed = static_cast<uint64_t>(seed);
    fields.has_seed = true;
  }
}

void ReadLength(FieldReader& reader, GenerationFields& fields) {
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {  // the newer name wins
    if (reader.Find(name) == nullptr) continue;
    int64_t count = 0;
    reader.Integer(name, 1, kInt32Max, &count);
    fields.max_tokens = static_cast<int32_t>(count);
  }
}

void ReadStop(FieldReader& reader, GenerationFields& fields) {
  reader.TextList("stop", kMaxStopStrings, &fields.stop);
  for (const std::string& stop : fields.stop) {
    if (stop.size() <= kMaxStopBytes) continue;
    reader.Fail("stop",
                StrCat("field \"stop\" has a string of ", stop.size(),
                       " bytes; it may have at most ", kMaxStopBytes),
                "invalid_value");
  }
  reader.IntegerList("stop_token_ids", 0, kInt32Max, 64, &fields.stop_token_ids);
}

void ReadStream(FieldReader& reader, GenerationFields& fields) {
  reader.Boolean("stream", &fields.stream);
  const Json* options = reader.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return reader.FailType("stream_options", *options, "an object");
  if (!fields.stream) {
    return reader.Fail(
        "stream_options",
        "field \"stream_options\" is only allowed when \"stream\" is true; remove it",
        "invalid_value");
  }
  FieldReader inner(*options, "stream_options.");
  inner.Boolean("include_usage", &fields.include_usage);
  if (!inner.ok()) reader.Fail("stream_options", inner.error().message, inner.error().code);
}

void ReadScheduling(FieldReader& reader, GenerationFields& fields) {
  int64_t priority = 0;
  reader.Integer("priority", kHighestPriority, kLowestPriority, &priority);
  fields.priority = static_cast<int32_t>(priority);
  int64_t deadline_ms = 0;
  reader.Integer("deadline_ms", 0, kInt32Max, &deadline_ms);
  fields.deadline_ms = static_cast<int32_t>(deadline_ms);
  reader.Text("user", &fields.user);
  reader.Text("cache_salt", &fields.cache_salt);
  if (reader.Find("cache_salt") != nullptr && fields.cache_salt.empty()) {
    reader.Fail("cache_salt",
                "field \"cache_salt\" is empty; leave it out to share cached prefixes",
                "invalid_value");
  }
}

void ReadSession(FieldReader& reader, GenerationFields& fields) {
  reader.Text("session", &fields.session);
  int64_t ttl_s = kDefaultSessionTtlS;
  reader.Integer("session_ttl_s", 1, kMaxSessionTtlMs / 1000, &ttl_s);
  fields.session_ttl_s = static_cast<int32_t>(ttl_s);
  if (fields.session.size() > kMaxSessionBytes) {
    reader.Fail("session",
                StrCat("field \"session\" has ", fields.session.size(),
                       " bytes; it may have at most ", kMaxSessionBytes),
                "invalid_value");
  }
  if (std::ranges::any_of(fields.session, [](unsigned char c) { return c < ' '; })) {
    reader.Fail("session", "field \"session\" has a control character; names go to the log",
                "invalid_value");
  }
  if (!fields.session.empty() && fields.n > 1) {
    reader.Fail("n", StrCat("field \"n\" is ", fields.n, "; with a \"session\" it must be 1"),
                "invalid_value");
  }
}

void RefuseUnsupported(FieldReader& reader) {
  const Json none = Json::array();
  const Json empty = Json::object();
  reader.Refuse("min_tokens", {Json(0)});
  reader.Refuse("length_penalty", {Json(1)});
  for (const char* name : {"tools", "functions", "bad_words", "allowed_token_ids"}) {
    reader.Refuse(name, {none});
  }
  for (const char* name : {"tool_choice", "function_call"}) {
    reader.Refuse(name, {Json("none"), Json("auto")});  // without tools both mean: no call
  }
  for (const char* name :
       {"use_beam_search", "include_stop_str_in_output", "continue_final_message"}) {
    reader.Refuse(name, {Json(false)});
  }
  for (const char* name :
       {"skip_special_tokens", "spaces_between_special_tokens", "add_generation_prompt"}) {
    reader.Refuse(name, {Json(true)});
  }
  for (const char* name :
       {"chat_template", "prompt_logprobs", "truncate_prompt_tokens", "audio", "prediction",
        "reasoning_effort", "web_search_options", "suffix", "guided_json", "guided_regex",
        "guided_choice", "guided_grammar", "structured_outputs", "grammar", "json_schema"}) {
    reader.Refuse(name, {});
  }
  reader.Refuse("chat_template_kwargs", {empty});
  reader.Refuse("modalities", {Json::array({"text"})});
  reader.Refuse("response_format", {Json::object({{"type", "text"}})});
}

}  // namespace

GenerationFields ReadGenerationFields(FieldReader& reader) {
  GenerationFields fields;
  reader.Text("model", &fields.model);
  ReadSampling(reader, fields);
  int64_t n = 1;
  reader.Integer("n", 1, kMaxChoices, &n);
  fields.n = static_cast<int32_t>(n);
  ReadStream(reader, fields);
  ReadStop(reader, fields);
  ReadLength(reader, fields);
  reader.Boolean("ignore_eos", &fields.ignore_eos);
  ReadScheduling(reader, fields);
  ReadSession(reader, fields);
  RefuseUnsupported(reader);
  // Picking the best of several is left out, but asking for as many as are returned changes
  // nothing.
  reader.Refuse("best_of", {Json(n)});
  return fields;
}

}  // namespace quire
