#include <gtest/gtest.h>

#include "server/server_fixture.h"

namespace quire {
namespace {

class ChatCompletionsTest : public ServerFixture {
 protected:
  void SetUp() override {
    engine_.set_behaviour(AnswerWith("hello"));
    Start();
  }
};

TEST_F(ChatCompletionsTest, AnswersWhole) {
  const TestResponse response = Chat({{"model", "test-model"}, {"messages", Messages("hi")}});
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  const TestJson body = ParseTestJson(response.body);
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "test-model");
  EXPECT_GT(body["created"].get<int64_t>(), 1700000000);
  EXPECT_TRUE(body["system_fingerprint"].is_string());
  ASSERT_EQ(body["choices"].size(), 1u);
  EXPECT_EQ(body["choices"][0]["index"], 0);
  EXPECT_EQ(body["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(body["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(body["choices"][0]["logprobs"].is_null());
  const RequestSpec spec = engine_.WaitForRequest();
  EXPECT_EQ(PromptText(spec), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  const auto prompt_tokens = static_cast<int64_t>(spec.prompt.size());
  EXPECT_EQ(body["usage"]["prompt_tokens"], prompt_tokens);
  EXPECT_EQ(body["usage"]["completion_tokens"], 6);  // with the end token
  EXPECT_EQ(body["usage"]["total_tokens"], prompt_tokens + 6);
  EXPECT_EQ(spec.max_new_tokens, kTestContext - prompt_tokens);
  EXPECT_EQ(spec.stop_token_ids, std::vector<int32_t>{kTestEndToken});
}

TEST_F(ChatCompletionsTest, HandsOverSamplingFields) {
  const TestResponse response = Chat({{"messages", Messages("hi")},
                                      {"temperature", 0.5},
                                      {"top_p", 0.9},
                                      {"top_k", 40},
                                      {"min_p", 0.05},
                                      {"seed", 7},
                                      {"max_tokens", 12},
                                      {"max_completion_tokens", 9},
                                      {"ignore_eos", true}});
  ASSERT_EQ(response.status, 200) << response.body;
  const RequestSpec spec = engine_.WaitForRequest();
  EXPECT_FLOAT_EQ(spec.sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(spec.sampling.top_p, 0.9f);
  EXPECT_EQ(spec.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(spec.sampling.min_p, 0.05f);
  EXPECT_EQ(spec.sampling.seed, 7u);
  EXPECT_EQ(spec.sampling.top_logprobs, -1);
  EXPECT_EQ(spec.max_new_tokens, 9);
  EXPECT_TRUE(spec.ignore_eos);
}

TEST_F(ChatCompletionsTest, DefaultsAreOpenAis) {
  ASSERT_EQ(Chat({{"messages", Messages("a")}}).status, 200);
  ASSERT_EQ(Chat({{"messages", Messages("b")}, {"temperature", nullptr}, {"stop", nullptr}}).status,
            200);
  const RequestSpec first = engine_.WaitForRequest(0);
  const RequestSpec second = engine_.WaitForRequest(1);
  EXPECT_FLOAT_EQ(first.sampling.temperature, 1.0f);
  EXPECT_FLOAT_EQ(first.sampling.top_p, 1.0f);
  EXPECT_EQ(first.sampling.top_k, 0);
  EXPECT_FALSE(first.ignore_eos);
  EXPECT_NE(first.sampling.seed, second.sampling.seed);
  EXPECT_FLOAT_EQ(second.sampling.temperature, 1.0f);
}

TEST_F(ChatCompletionsTest, TakesPartsRolesAndUnknownFields) {
  const TestJson messages = {
      {{"role", "developer"}, {"content", "be brief"}, {"name", "dev"}},
      {{"role", "user"},
       {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}}},
      {{"role", "assistant"}, {"content", nullptr}}};
  const TestResponse response = Chat({{"messages", messages},
                                      {"user", "u"},
                                      {"store", true},
                                      {"something_new", {1, 2}},
                                      {"tools", TestJson::array()},
                                      {"presence_penalty", 0.0},
                                      {"response_format", {{"type", "text"}}}});
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(PromptText(engine_.WaitForRequest()),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n"
            "<|im_start|>assistant\n<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ChatCompletionsTest, StreamsDeltas) {
  const auto events =
      Stream("/v1/chat/completions", {{"messages", Messages("hi")}, {"stream", true}});
  ASSERT_EQ(events.size(), 7u);
  std::string text;
  for (const TestJson& event : events) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_EQ(event["id"], events[0]["id"]);
    EXPECT_FALSE(event.contains("usage"));
    text += event["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(text, "hello");
  EXPECT_TRUE(events[5]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(events[6]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events[6]["choices"][0]["delta"], TestJson::object());
}

TEST_F(ChatCompletionsTest, StreamsUsageWhenAsked) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    EngineEvent first;
    first.request_id = spec.id;
    first.has_token = true;
    first.sampled.token = 'x';
    first.cached_tokens = 5;
    engine.Send(first);
    engine.Finish(spec.id, FinishReason::kLength);
  });
  const auto events =
      Stream("/v1/chat/completions", {{"messages", Messages("hi")},
                                      {"stream", true},
                                      {"stream_options", {{"include_usage", true}}}});
  ASSERT_EQ(events.size(), 4u);
  EXPECT_TRUE(events[1].at("usage").is_null());
  EXPECT_EQ(events[2]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[3]["choices"], TestJson::array());
  EXPECT_EQ(events[3]["usage"]["completion_tokens"], 1);
  EXPECT_EQ(events[3]["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
}

TEST_F(ChatCompletionsTest, TokensGoOutAsTheyCome) {
  engine_.set_behaviour(nullptr);
  TestClient client(port_);
  client.SendPost("/v1/chat/completions",
                  TestJson({{"messages", Messages("hi")}, {"stream", true}}).dump());
  const uint64_t id = engine_.WaitForRequest().id;
  for (const std::string text : {"a", "b", "é"}) {
    engine_.SendText(id, text);
    if (text == "a") {
      EXPECT_EQ(client.ReadHead().status, 200);
      client.ReadEvent();  // the role
    }
    EXPECT_EQ(ParseTestJson(*client.ReadEvent())["choices"][0]["delta"]["content"], text);
  }
  engine_.SendEnd(id);
  EXPECT_EQ(ParseTestJson(*client.ReadEvent())["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(client.ReadEvent(), "[DONE]");
}

TEST_F(ChatCompletionsTest, SeveralChoicesDrawWithTheirOwnSeeds) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    engine.SendText(spec.id, StrCat("seed ", spec.sampling.seed));
    engine.SendEnd(spec.id);
  });
  const TestResponse response = Chat({{"messages", Messages("hi")}, {"n", 3}, {"seed", 41}});
  const TestJson body = ParseTestJson(response.body);
  ASSERT_EQ(body["choices"].size(), 3u) << response.body;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["message"]["content"], StrCat("seed ", 41 + i));
  }
  EXPECT_EQ(body["usage"]["completion_tokens"], 3 * 8);
  EXPECT_EQ(body["usage"]["prompt_tokens"], engine_.WaitForRequest().prompt.size());
}

TEST_F(ChatCompletionsTest, StreamsOfSeveralChoicesInterleave) {
  engine_.set_behaviour(nullptr);
  std::thread feeder([this] {
    const uint64_t a = engine_.WaitForRequest(0).id;
    const uint64_t b = engine_.WaitForRequest(1).id;
    engine_.SendText(b, "B");
    engine_.SendText(a, "A");
    engine_.SendEnd(b);
    engine_.SendText(a, "A");
    engine_.SendEnd(a);
  });
  const auto events =
      Stream("/v1/chat/completions", {{"messages", Messages("x")}, {"stream", true}, {"n", 2}});
  feeder.join();
  std::string texts[2];
  int finished = 0;
  for (const TestJson& event : events) {
    const TestJson& choice = event["choices"][0];
    texts[choice["index"].get<int>()] += choice["delta"].value("content", "");
    finished += choice["finish_reason"].is_string() ? 1 : 0;
  }
  EXPECT_EQ(texts[0], "AA");
  EXPECT_EQ(texts[1], "B");
  EXPECT_EQ(finished, 2);
}

TEST_F(ChatCompletionsTest, StopStringEndsAndCancels) {
  engine_.set_behaviour(
      [](FakeEngine& engine, const RequestSpec& spec) { engine.SendText(spec.id, "one END two"); });
  const TestJson body = ParseTestJson(Chat({{"messages", Messages("hi")}, {"stop", "END"}}).body);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "one ");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  engine_.WaitForCancel(engine_.WaitForRequest().id);
  const auto events =
      Stream("/v1/chat/completions",
             {{"messages", Messages("hi")}, {"stop", {"EN", "x"}}, {"stream", true}});
  std::string text;
  for (const TestJson& event : events) text += event["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(text, "one ");
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "stop");
  engine_.WaitForCancel(engine_.WaitForRequest(1).id);
}

EngineEvent TokenWithLogprobs(uint64_t id, int32_t token) {
  EngineEvent event;
  event.request_id = id;
  event.has_token = true;
  event.sampled.token = token;
  event.sampled.logprob = -0.5f;
  event.sampled.top = {{token, -0.5f}, {'z', -1.5f}};
  return event;
}

TEST_F(ChatCompletionsTest, GivesLogprobs) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    for (const int32_t token : ByteTokens("aé.")) engine.Send(TokenWithLogprobs(spec.id, token));
    engine.SendEnd(spec.id);
  });
  TestJson request = {
      {"messages", Messages("hi")}, {"logprobs", true}, {"top_logprobs", 2}, {"stop", "."}};
  const TestJson body = ParseTestJson(Chat(request).body);
  EXPECT_EQ(engine_.WaitForRequest().sampling.top_logprobs, 2);
  const TestJson& content = body["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3u);  // "a" and the two bytes of "é"; the stop is cut away
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[0]["bytes"], TestJson::array({97}));
  EXPECT_FLOAT_EQ(content[0]["logprob"].get<float>(), -0.5f);
  EXPECT_EQ(content[0]["top_logprobs"][1]["token"], "z");
  EXPECT_EQ(content[1]["bytes"], TestJson::array({0xc3}));
  request["stream"] = true;
  size_t streamed = 0;
  for (const TestJson& event : Stream("/v1/chat/completions", request)) {
    const TestJson& logprobs = event["choices"][0]["logprobs"];
    if (!logprobs.is_null()) streamed += logprobs["content"].size();
  }
  EXPECT_EQ(streamed, 3u);
}

TEST_F(ChatCompletionsTest, KnowsTheModelByItsNames) {
  EXPECT_EQ(Chat({{"model", "default"}, {"messages", Messages("hi")}}).status, 200);
  const TestResponse response = Chat({{"model", "gpt-4"}, {"messages", Messages("hi")}});
  EXPECT_EQ(response.status, 404);
  const TestJson error = ParseTestJson(response.body)["error"];
  EXPECT_EQ(error["code"], "model_not_found");
  EXPECT_EQ(error["param"], "model");
  EXPECT_NE(error["message"].get<std::string>().find("test-model"), std::string::npos);
}

TEST_F(ChatCompletionsTest, AContextTooSmallNamesBothNumbers) {
  const TestResponse response = Chat({{"messages", Messages(std::string(600, 'x'))}});
  EXPECT_EQ(response.status, 400);
  const TestJson error = ParseTestJson(response.body)["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["type"], "invalid_request_error");
  const auto message = error["message"].get<std::string>();
  EXPECT_NE(message.find("619 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("512 tokens"), std::string::npos) << message;
  EXPECT_EQ(engine_.num_requests(), 0u);
}

TEST_F(ChatCompletionsTest, TheTemplateMayRefuse) {
  const TestResponse response = Chat({{"messages", Messages("refuse me")}});
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("refused"), std::string::npos) << response.body;
}

TEST_F(ServerFixture, AModelWithoutATemplateCannotChat) {
  engine_.mutable_model().chat_template = nullptr;
  Start();
  const TestResponse response = Chat({{"messages", Messages("hi")}});
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("no chat template"), std::string::npos) << response.body;
}

TEST_F(ChatCompletionsTest, EngineErrorsBecomeStatuses) {
  const std::pair<Status, int> cases[] = {{ResourceExhausted("the queue is full"), 429},
                                          {Unavailable("draining"), 503},
                                          {InvalidArgument("it can never fit"), 400},
                                          {InternalError("a step failed"), 500}};
  for (const auto& [status, code] : cases) {
    engine_.set_behaviour([&](FakeEngine& engine, const RequestSpec& spec) {
      engine.Finish(spec.id, FinishReason::kError, status);
    });
    for (const bool stream : {false, true}) {
      const TestResponse response = Chat({{"messages", Messages("hi")}, {"stream", stream}});
      EXPECT_EQ(response.status, code);
      EXPECT_EQ(ParseTestJson(response.body)["error"]["message"], status.message());
      EXPECT_EQ(response.headers.contains("retry-after"), code == 429 || code == 503);
    }
  }
}

TEST_F(ChatCompletionsTest, RefusedSubmitsCancelTheOtherChoices) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec&) {
    engine.set_submit_status(Unavailable("too many messages in flight"));
  });
  EXPECT_EQ(Chat({{"messages", Messages("hi")}, {"n", 4}}).status, 503);
  engine_.WaitForCancel(engine_.WaitForRequest().id);
  EXPECT_EQ(engine_.num_requests(), 1u);
}

TEST_F(ChatCompletionsTest, AnErrorInsideAStreamIsAnEvent) {
  engine_.set_behaviour([](FakeEngine& engine, const RequestSpec& spec) {
    engine.SendText(spec.id, "a");
    engine.Finish(spec.id, FinishReason::kError, InternalError("the step failed"));
  });
  TestClient client(port_);
  client.SendPost("/v1/chat/completions",
                  TestJson({{"messages", Messages("hi")}, {"stream", true}}).dump());
  EXPECT_EQ(client.ReadHead().status, 200);
  client.ReadEvent();
  client.ReadEvent();
  EXPECT_EQ(ParseTestJson(*client.ReadEvent())["error"]["message"], "the step failed");
  EXPECT_FALSE(client.ReadEvent().has_value());
}

}  // namespace
}  // namespace quire
