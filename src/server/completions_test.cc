#include <gtest/gtest.h>

#include "base/siphash.h"
#include "server/server_fixture.h"

namespace quire {
namespace {

class CompletionsTest : public ServerFixture {
 protected:
  void SetUp() override {
    engine_.set_behaviour(AnswerWith("xyz"));
    Start();
  }
};

TEST_F(CompletionsTest, AnswersWhole) {
  const TestResponse response = Complete({{"prompt", "say"}});
  ASSERT_EQ(response.status, 200) << response.body;
  const TestJson body = ParseTestJson(response.body);
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][0]["text"], "xyz");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(body["usage"]["completion_tokens"], 4);
  const RequestSpec spec = engine_.WaitForRequest();
  EXPECT_EQ(PromptText(spec), "say");
  EXPECT_EQ(spec.max_new_tokens, 16);
}

TEST_F(CompletionsTest, ControlTokensInAPromptAreTokens) {
  EXPECT_EQ(Complete({{"prompt", "<|im_start|>a"}}).status, 200);
  EXPECT_EQ(engine_.WaitForRequest().prompt, (std::vector<int32_t>{kTestStartToken, 'a'}));
}

TEST_F(CompletionsTest, TakesTokenIds) {
  EXPECT_EQ(Complete({{"prompt", {1, 2, 257}}}).status, 200);
  EXPECT_EQ(engine_.WaitForRequest().prompt, (std::vector<int32_t>{1, 2, 257}));
  const TestResponse response = Complete({{"prompt", {1, 258}}});
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("258"), std::string::npos) << response.body;
  EXPECT_NE(response.body.find("0 to 257"), std::string::npos) << response.body;
}

TEST_F(CompletionsTest, SeveralPromptsTimesN) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    engine.SendText(spec.id, StrCat(PromptText(spec), spec.sampling.seed));
    engine.SendEnd(spec.id);
  });
  const TestJson body =
      ParseTestJson(Complete({{"prompt", {"a", "bb"}}, {"n", 2}, {"seed", 5}}).body);
  const std::vector<std::string> expected = {"a5", "a6", "bb5", "bb6"};
  ASSERT_EQ(body["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], expected[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(body["usage"]["prompt_tokens"], 3);
  const TestJson ids = TestJson::array({TestJson::array({'a'}), TestJson::array({'b', 'c'})});
  EXPECT_EQ(ParseTestJson(Complete({{"prompt", ids}, {"seed", 1}}).body)["choices"][1]["text"],
            "bc1");
}

TEST_F(CompletionsTest, PriorityAndTenantReachTheScheduler) {
  EXPECT_EQ(
      Complete({{"prompt", "a"}, {"priority", -3}, {"deadline_ms", 250}, {"user", "ann"}}).status,
      200);
  const RequestSpec first = engine_.WaitForRequest(0);
  EXPECT_EQ(first.priority, -3);
  EXPECT_EQ(first.deadline_ms, 250);
  EXPECT_EQ(first.tenant, "user ann");
  EXPECT_EQ(Complete({{"prompt", "a"}, {"user", std::string(1000, 'x')}}).status, 200);
  EXPECT_EQ(engine_.WaitForRequest(1).tenant.size(), kMaxTenantBytes);
}

TEST_F(CompletionsTest, SaltsKeepCachedPrefixesApart) {
  for (const char* salt : {"a", "b", "a"}) {
    EXPECT_EQ(Complete({{"prompt", "x"}, {"cache_salt", salt}}).status, 200);
  }
  EXPECT_EQ(Complete({{"prompt", "x"}}).status, 200);
  const uint64_t first = engine_.WaitForRequest(0).cache_salt;
  EXPECT_NE(engine_.WaitForRequest(1).cache_salt, first);
  EXPECT_EQ(engine_.WaitForRequest(2).cache_salt, first);
  EXPECT_EQ(engine_.WaitForRequest(3).cache_salt, 0u);
  EXPECT_NE(first, SipHash({}, "a")) << "the key is not random";
  EXPECT_EQ(Complete({{"prompt", "x"}, {"cache_salt", ""}}).status, 400);
}

TEST_F(CompletionsTest, EchoPutsThePromptFirst) {
  EXPECT_EQ(
      ParseTestJson(Complete({{"prompt", "say "}, {"echo", true}}).body)["choices"][0]["text"],
      "say xyz");
  const TestJson body = ParseTestJson(Complete({{"prompt", {'A', 'B'}}, {"echo", true}}).body);
  EXPECT_EQ(body["choices"][0]["text"], "ABxyz");
  std::string text;
  for (const TestJson& event :
       Stream("/v1/completions", {{"prompt", "say "}, {"echo", true}, {"stream", true}})) {
    text += event["choices"][0]["text"];
  }
  EXPECT_EQ(text, "say xyz");
}

TEST_F(CompletionsTest, StreamsText) {
  const auto events =
      Stream("/v1/completions",
             {{"prompt", "say"}, {"stream", true}, {"stream_options", {{"include_usage", true}}}});
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0]["object"], "text_completion");
  EXPECT_EQ(events[0]["choices"][0]["text"], "x");
  EXPECT_EQ(events[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events[4]["usage"]["total_tokens"], 7);
}

TEST_F(CompletionsTest, GivesLogprobs) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    for (const int32_t token : ByteTokens("éb")) {
      EngineEvent event;
      event.request_id = spec.id;
      event.has_token = true;
      event.sampled = {token, -0.25f, {{'q', -0.125f}}};
      engine.Send(event);
    }
    engine.Finish(spec.id, FinishReason::kLength);
  });
  const TestJson body = ParseTestJson(Complete({{"prompt", "say"}, {"logprobs", 1}}).body);
  EXPECT_EQ(engine_.WaitForRequest().sampling.top_logprobs, 1);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  const TestJson& logprobs = body["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"].size(), 3u);
  EXPECT_EQ(logprobs["tokens"][2], "b");
  EXPECT_EQ(logprobs["token_logprobs"], TestJson::array({-0.25, -0.25, -0.25}));
  EXPECT_EQ(logprobs["text_offset"], TestJson::array({0, 0, 1}));
  EXPECT_EQ(logprobs["top_logprobs"][2], (TestJson{{"q", -0.125}, {"b", -0.25}}));
}

TEST_F(CompletionsTest, MaxTokensIsCutToTheContext) {
  EXPECT_EQ(Complete({{"prompt", std::string(500, 'x')}, {"max_tokens", 1000}}).status, 200);
  EXPECT_EQ(engine_.WaitForRequest().max_new_tokens, kTestContext - 500);
  EXPECT_EQ(Complete({{"prompt", std::string(511, 'x')}}).status, 200);
  EXPECT_EQ(engine_.WaitForRequest(1).max_new_tokens, 1);
  EXPECT_EQ(Complete({{"prompt", std::string(512, 'x')}}).status, 400);
}

TEST_F(CompletionsTest, StopTokenIdsEndAndGiveNoText) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    engine.SendText(spec.id, "ab!");
    engine.Finish(spec.id, FinishReason::kStop);
  });
  const TestJson body = ParseTestJson(
      Complete({{"prompt", "x"}, {"stop_token_ids", {'!'}}, {"ignore_eos", true}}).body);
  EXPECT_EQ(body["choices"][0]["text"], "ab");
  const RequestSpec spec = engine_.WaitForRequest();
  EXPECT_EQ(spec.stop_token_ids, std::vector<int32_t>{'!'});
  EXPECT_FALSE(spec.ignore_eos);
}

TEST_F(CompletionsTest, PromptsOfWrongShapesAreNamed) {
  const std::pair<TestJson, const char*> cases[] = {
      {TestJson::object(), "missing"},
      {{{"prompt", 5}}, "is an integer; it must be a string"},
      {{{"prompt", TestJson::array()}}, "is empty"},
      {{{"prompt", ""}}, "no tokens"},
      {{{"prompt", {"a", 5}}}, "is an integer; it must be"},
      {{{"prompt", {1, "a"}}}, "among token ids"},
      {{{"prompt", {1, -1}}}, "-1"},
      {{{"prompt", {1, 1.5}}}, "1.5"},
      {{{"prompt", {true}}}, "is a boolean"},
      {{{"prompt", {"a", "b"}}, {"n", 100}}, "at most 128"},
      {{{"prompt", "a"}, {"echo", true}, {"logprobs", 0}}, "echo"},
      {{{"prompt", "a"}, {"logprobs", true}}, "is a boolean; it must be an integer"},
      {{{"prompt", "a"}, {"suffix", "b"}}, "suffix"},
      {{{"prompt", "a"}, {"best_of", 3}}, "best_of"},
  };
  for (const auto& [request, part] : cases) {
    const TestResponse response = Complete(request);
    EXPECT_EQ(response.status, 400) << request;
    EXPECT_NE(response.body.find(part), std::string::npos) << request << response.body;
  }
  EXPECT_EQ(engine_.num_requests(), 0u);
}

}  // namespace
}  // namespace quire
