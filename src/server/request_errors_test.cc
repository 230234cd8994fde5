// What is wrong with a request is a 400 that names it, whatever was sent.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/test_seed.h"
#include "server/chat_request.h"
#include "server/completion_request.h"

namespace quire {
namespace {

constexpr char kGoodChat[] =
    R"({"model":"m","messages":[{"role":"system","content":"s"},{"role":"user",)"
    R"("content":[{"type":"text","text":"é"}]}],"temperature":0.5,"top_p":0.9,"top_k":3,)"
    R"("min_p":0.1,"seed":-1,"n":2,"stop":["a","b"],"max_tokens":5,"stream":true,)"
    R"("stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":2,)"
    R"("user":"x\u00e9\ud83d\ude00"})";

// The error of a good chat request with `fields` on top.
std::optional<ApiError> ChatError(const Json& fields) {
  Json request = {{"messages", {{{"role", "user"}, {"content", "hi"}}}}};
  request.update(fields);
  ChatRequest parsed;
  return ParseChatRequest(request.dump(), parsed);
}

struct Case {
  const char* fields;
  const char* param;
  const char* part;  // of the message
};

void ExpectError(const Case& c) {
  const auto error = ChatError(Json::parse(c.fields));
  ASSERT_TRUE(error.has_value()) << c.fields;
  EXPECT_EQ(error->status, 400) << c.fields;
  EXPECT_EQ(error->param, c.param) << c.fields;
  EXPECT_NE(error->message.find(c.part), std::string::npos) << c.fields << ": " << error->message;
}

TEST(RequestErrorsTest, WrongTypesNameFieldAndTypes) {
  const Case cases[] = {
      {R"({"temperature":"hot"})", "temperature",
       "field \"temperature\" is a string; it must be a number"},
      {R"({"top_k":"1"})", "top_k", "is a string; it must be an integer"},
      {R"({"stream":1})", "stream", "is an integer; it must be a boolean"},
      {R"({"model":5})", "model", "is an integer; it must be a string"},
      {R"({"stop":5})", "stop", "must be a string or an array of strings"},
      {R"({"stop":["a",null]})", "stop", "is null"},
      {R"({"stream_options":[]})", "stream_options", "is an array; it must be an object"},
      {R"({"messages":"hi"})", "messages", "is a string; it must be an array"},
      {R"({"logprobs":3})", "logprobs", "must be a boolean"},
      {R"({"stop_token_ids":["a"]})", "stop_token_ids", "must be an array of integers"},
  };
  for (const Case& c : cases) ExpectError(c);
}

TEST(RequestErrorsTest, OutOfRangeNamesTheRange) {
  const Case cases[] = {
      {R"({"temperature":-0.1})", "temperature", "is -0.1; it must be at least 0 and at most 2"},
      {R"({"temperature":2.5})", "temperature", "at most 2"},
      {R"({"top_p":0})", "top_p", "greater than 0 and at most 1"},
      {R"({"top_p":1e-60})", "top_p", "greater than 0"},
      {R"({"top_p":1.01})", "top_p", "at most 1"},
      {R"({"min_p":-1})", "min_p", "at least 0"},
      {R"({"top_k":-2})", "top_k", "from -1 to 2147483647"},
      {R"({"n":0})", "n", "from 1 to 128"},
      {R"({"priority":11})", "priority", "from -10 to 10"},
      {R"({"deadline_ms":-1})", "deadline_ms", "from 0 to 2147483647"},
      {R"({"n":129})", "n", "from 1 to 128"},
      {R"({"n":1.5})", "n", "is 1.5"},
      {R"({"max_tokens":0})", "max_tokens", "from 1 to"},
      {R"({"max_completion_tokens":99999999999})", "max_completion_tokens", "to 2147483647"},
      {R"({"seed":18446744073709551615})", "seed", "is 18446744073709551615"},
      {R"({"top_logprobs":21,"logprobs":true})", "top_logprobs", "from 0 to 20"},
      {R"({"top_logprobs":2})", "top_logprobs", "needs \"logprobs\""},
      {R"({"presence_penalty":2.5})", "presence_penalty", "at least -2 and at most 2"},
      {R"({"frequency_penalty":"x"})", "frequency_penalty", "must be a number"},
      {R"({"repetition_penalty":0})", "repetition_penalty", "greater than 0"},
      {R"({"logit_bias":[1]})", "logit_bias", "must be an object"},
      {R"({"logit_bias":{"hi":1}})", "logit_bias", "keys are token ids"},
      {R"({"logit_bias":{"5":101}})", "logit_bias", "at most 100"},
      {R"({"stop":""})", "stop", "empty string"},
      {R"({"stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]})",
       "stop", "has 17 entries; it may have at most 16"},
      {R"({"stream_options":{"include_usage":true}})", "stream_options", "only allowed when"},
  };
  for (const Case& c : cases) ExpectError(c);
  EXPECT_EQ(ChatError({{"stop", std::string(kMaxStopBytes + 1, 'x')}})->param, "stop");
}

TEST(RequestErrorsTest, WhatIsNotSupportedIsNamed) {
  const char* const fields[] = {
      R"({"tools":[{"type":"function"}]})",
      R"({"tool_choice":"required"})",
      R"({"response_format":{"type":"json_object"}})",
      R"({"modalities":["text","audio"]})",
      R"({"audio":{}})",
      R"({"min_tokens":4})",
      R"({"chat_template":"x"})",
      R"({"skip_special_tokens":false})",
      R"({"best_of":2})",
  };
  for (const char* field : fields) {
    const Json parsed = Json::parse(field);
    const std::string name = parsed.items().begin().key();
    ExpectError({field, name.c_str(), "not supported"});
  }
}

TEST(RequestErrorsTest, HarmlessValuesOfUnsupportedFieldsPass) {
  for (const char* field :
       {R"({"presence_penalty":0})", R"({"frequency_penalty":0.0})", R"({"logit_bias":{}})",
        R"({"tools":[]})", R"({"tool_choice":"none"})", R"({"best_of":1})",
        R"({"response_format":{"type":"text"}})", R"({"logit_bias":null})"}) {
    EXPECT_FALSE(ChatError(Json::parse(field)).has_value()) << field;
  }
}

TEST(RequestErrorsTest, MessagesAreChecked) {
  const Case cases[] = {
      {R"({"messages":null})", "messages", "missing"},
      {R"({"messages":[]})", "messages", "empty"},
      {R"({"messages":[5]})", "messages[0]", "is an integer"},
      {R"({"messages":[{"content":"a"}]})", "messages[0].role", "must be a string"},
      {R"({"messages":[{"role":"boss","content":"a"}]})", "messages[0].role", "\"boss\""},
      {R"({"messages":[{"role":"tool","content":"a"}]})", "messages[0].role", "not supported"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content", "missing"},
      {R"({"messages":[{"role":"user","content":null}]})", "messages[0].content", "missing"},
      {R"({"messages":[{"role":"user","content":5}]})", "messages[0].content", "is an integer"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})",
       "messages[0].content[0]", "image_url"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages[0].content[0]",
       "text"},
      {R"({"messages":[{"role":"user","content":["a"]}]})", "messages[0].content[0]",
       "no content part"},
      {R"({"messages":[{"role":"assistant","content":"","tool_calls":[{}]}]})",
       "messages[0].tool_calls", "not supported"},
  };
  for (const Case& c : cases) ExpectError(c);
}

std::string JsonError(std::string_view text) {
  ChatRequest request;
  const auto error = ParseChatRequest(text, request);
  EXPECT_TRUE(error.has_value()) << text;
  EXPECT_EQ(error->status, 400);
  return error->message;
}

TEST(RequestErrorsTest, MalformedJsonNamesThePlace) {
  EXPECT_NE(JsonError("{\"a\": 1,\n  oops}").find("line 2, column 3"), std::string::npos)
      << JsonError("{\"a\": 1,\n  oops}");
  EXPECT_NE(JsonError("").find("line 1, column 1"), std::string::npos) << JsonError("");
  EXPECT_NE(JsonError("{} x").find("line 1, column 4"), std::string::npos) << JsonError("{} x");
  EXPECT_NE(JsonError("[1]").find("it must be a JSON object"), std::string::npos);
  EXPECT_NE(JsonError("{\"a\":1e999}").find("overflow"), std::string::npos)
      << JsonError("{\"a\":1e999}");
  EXPECT_NE(JsonError("{\"a\":\"\xff\"}").find("UTF-8"), std::string::npos)
      << JsonError("{\"a\":\"\xff\"}");
  EXPECT_NE(JsonError("{\"a\":\"\\ud800\"}").find("line 1"), std::string::npos);
}

TEST(RequestErrorsTest, DepthAndWidthAreBounded) {
  const std::string deep(2'000'000, '[');
  EXPECT_NE(JsonError(deep).find("nested deeper than 64"), std::string::npos);
  EXPECT_NE(JsonError("{\"a\":" + deep).find("nested deeper"), std::string::npos);
  std::string text = "{";
  for (int i = 0; i < 100000; ++i) text += StrCat("\"", i, "\":1,");
  EXPECT_NE(JsonError(text + "\"x\":1}").find("more than 1024 members"), std::string::npos);
  // Brackets and colons inside of strings do not count.
  EXPECT_FALSE(
      ChatError({{"user", std::string(5000, '[') + std::string(5000, ':') + "\\\"{"}}).has_value());
}

TEST(RequestErrorsTest, ErrorsAreValidJsonWhateverTheyQuote) {
  const ApiError error{400, "bad \xff\"\n", "p\xc3", "", 0};
  const Json json = Json::parse(ApiErrorJson(error));
  EXPECT_TRUE(json["error"]["code"].is_null());
  EXPECT_EQ(json["error"]["type"], "invalid_request_error");
}

// Every mutation of a good request is taken or refused with a 400 whose text is valid JSON; nothing
// else.
TEST(RequestErrorsTest, MutatedRequestsNeverDoHarm) {
  std::mt19937_64 random(TestSeed());
  const std::string good = kGoodChat;
  ChatRequest whole;
  ASSERT_FALSE(ParseChatRequest(good, whole).has_value());
  constexpr std::string_view kSpice = "{}[]\",:0-9.eE\\u\xff\xc3\x00 tfn";
  int taken = 0;
  for (int round = 0; round < 8000; ++round) {
    std::string text = good;
    for (uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0: text[at] = kSpice[random() % kSpice.size()]; break;
        case 1: text.erase(at, 1 + random() % 8); break;
        case 2: text.insert(at, 1, kSpice[random() % kSpice.size()]); break;
        default: text.insert(at, text.substr(random() % text.size(), random() % 24));
      }
      if (text.empty()) text = "x";
    }
    ChatRequest chat;
    CompletionRequest completion;
    for (const auto& error :
         {ParseChatRequest(text, chat), ParseCompletionRequest(text, completion)}) {
      taken += error.has_value() ? 0 : 1;
      if (!error.has_value()) continue;
      ASSERT_EQ(error->status, 400) << text;
      ASSERT_FALSE(error->message.empty()) << text;
      ASSERT_TRUE(Json::accept(ApiErrorJson(*error))) << text;
    }
  }
  EXPECT_GT(taken, 0);
}

}  // namespace
}  // namespace quire
