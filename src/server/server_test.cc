// The server around the endpoints: routes, states, metrics, engine failures, stopping.
#include "server/server.h"

#include <gtest/gtest.h>

#include <csignal>

#include "server/server_fixture.h"

namespace quire {
namespace {

class ServerTest : public ServerFixture {
 protected:
  // A stream that has begun: its request is submitted, its head and role are read.
  uint64_t BeginStream(TestClient& client, size_t index = 0) {
    client.SendPost("/v1/chat/completions",
                    TestJson({{"messages", Messages("hi")}, {"stream", true}}).dump());
    const uint64_t id = engine_.WaitForRequest(index).id;
    engine_.SendText(id, "a");
    EXPECT_EQ(client.ReadHead().status, 200);
    EXPECT_TRUE(client.ReadEvent().has_value());
    EXPECT_EQ(ParseTestJson(*client.ReadEvent())["choices"][0]["delta"]["content"], "a");
    return id;
  }
};

TEST_F(ServerTest, TakenPortNamesItAndWhatToDo) {
  Start();
  ServerOptions options = options_;
  options.port = port_;
  const auto second = Server::Listen(options);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find(StrCat("127.0.0.1:", port_)), std::string::npos);
  EXPECT_NE(second.status().message().find("--port"), std::string::npos);
}

TEST_F(ServerTest, AHostWithoutAnAddressIsNamed) {
  options_.host = "256.0.0.1.invalid";
  const auto server = Server::Listen(options_);
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(server.status().message().find("256.0.0.1.invalid"), std::string::npos);
}

TEST_F(ServerTest, LoadingAnswers503UntilReady) {
  engine_.set_state(EngineState::kLoading);
  Start();
  const TestResponse health = Get(port_, "/health");
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(health.headers.at("retry-after"), "1");
  EXPECT_EQ(ParseTestJson(health.body), (TestJson{{"status", "loading"}, {"progress", 0.42}}));
  for (const char* path : {"/v1/chat/completions", "/v1/completions"}) {
    const TestResponse response = Post(port_, path, "{}");
    EXPECT_EQ(response.status, 503);
    EXPECT_TRUE(response.headers.contains("retry-after"));
    EXPECT_EQ(ParseTestJson(response.body)["error"]["code"], "loading");
  }
  EXPECT_EQ(Get(port_, "/v1/models").status, 503);
  EXPECT_EQ(Get(port_, "/metrics").status, 200);
  engine_.set_state(EngineState::kReady);
  EXPECT_EQ(Get(port_, "/health").status, 200);
}

TEST_F(ServerTest, AFailedEngineEndsServe) {
  engine_.set_state(EngineState::kLoading);
  Start();
  EXPECT_EQ(Get(port_, "/health").status, 503);
  engine_.set_state(EngineState::kFailed, IoError("no such file"));
  Join();
}

TEST_F(ServerTest, AFailedEngineIsReportedWhereServingGoesOn) {
  options_.stop_when_engine_fails = false;
  engine_.set_state(EngineState::kFailed, IoError("no such file"));
  Start();
  const TestResponse health = Get(port_, "/health");
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(ParseTestJson(health.body)["error"], "no such file");
  const TestResponse chat = Chat({{"messages", Messages("hi")}});
  EXPECT_EQ(chat.status, 503);
  EXPECT_NE(chat.body.find("no such file"), std::string::npos);
}

TEST_F(ServerTest, AnEngineThatFailsLaterEndsItsRequests) {
  Start();
  TestClient whole(port_);
  whole.SendPost("/v1/completions", R"({"prompt":"x"})");
  engine_.WaitForRequest(0);
  TestClient stream(port_);
  BeginStream(stream, 1);
  engine_.set_state(EngineState::kFailed, InternalError("device lost"));
  EXPECT_EQ(whole.Read().status, 500);
  EXPECT_NE(stream.ReadEvent()->find("device lost"), std::string::npos);
  Join();
}

TEST_F(ServerTest, ListsItsModel) {
  Start();
  const TestJson list = ParseTestJson(Get(port_, "/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 1u);
  EXPECT_EQ(list["data"][0]["id"], "test-model");
  EXPECT_EQ(list["data"][0]["created"], 1700000000);
  EXPECT_EQ(ParseTestJson(Get(port_, "/v1/models/test-model").body), list["data"][0]);
  EXPECT_EQ(ParseTestJson(Get(port_, "/v1/models/test%2Dmodel").body), list["data"][0]);
  EXPECT_EQ(Get(port_, "/v1/models/default").status, 200);
  EXPECT_EQ(Get(port_, "/v1/models/other").status, 404);
}

TEST_F(ServerTest, RoutesAndMethods) {
  Start();
  const TestResponse index = Get(port_, "/");
  EXPECT_EQ(index.status, 200);
  EXPECT_NE(index.body.find(StrCat("http://127.0.0.1:", port_, "/v1")), std::string::npos);
  EXPECT_NE(index.body.find("curl"), std::string::npos);
  const TestResponse unknown = Get(port_, "/v2/nothing");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(ParseTestJson(unknown.body)["error"]["code"], "not_found");
  const TestResponse wrong = Get(port_, "/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST, OPTIONS");
  EXPECT_EQ(Post(port_, "/health", "").status, 405);
}

TEST_F(ServerTest, HeadAndOptions) {
  Start();
  TestClient client(port_);
  client.Send("HEAD /health HTTP/1.1\r\n\r\n");
  const TestResponse head = client.Read(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_NE(head.headers.at("content-length"), "0");
  client.Send("OPTIONS /v1/completions HTTP/1.1\r\n\r\n");
  const TestResponse options = client.Read();
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("allow"), "POST, OPTIONS");
  client.SendGet("/health");  // the connection is still in step
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(ServerTest, MetricsCountWhatHappened) {
  engine_.set_behaviour(AnswerWith("abc"));
  engine_.mutable_stats().pages_free = 7;
  engine_.mutable_stats().prefix_hit_tokens = 11;
  engine_.mutable_stats().step_seconds.Add(0.5);
  engine_.mutable_stats().step_host_seconds.Add(0.25);
  engine_.mutable_stats().step_gap_seconds.Add(0.125);
  Start();
  ASSERT_EQ(Complete({{"prompt", "x"}}).status, 200);
  ASSERT_EQ(Complete({{"prompt", 5}}).status, 400);
  const TestResponse metrics = Get(port_, "/metrics");
  EXPECT_TRUE(metrics.headers.at("content-type").starts_with("text/plain"));
  for (const char* line :
       {"quire_requests_total{endpoint=\"/v1/completions\",code=\"200\"} 1\n",
        "quire_requests_total{endpoint=\"/v1/completions\",code=\"400\"} 1\n",
        "quire_request_seconds_count{endpoint=\"/v1/completions\"} 2\n",
        "quire_time_to_first_token_seconds_count 1\n", "quire_inter_token_seconds_count 3\n",
        "quire_inter_token_seconds_bucket{le=\"+Inf\"} 3\n", "quire_kv_pages{state=\"free\"} 7\n",
        "quire_prefix_cache_hit_tokens_total 11\n", "quire_engine_state{state=\"ready\"} 1\n",
        "# TYPE quire_running_requests gauge\n", "quire_last_step_seconds 0.5\n",
        "quire_step_host_seconds_total 0.25\n", "quire_last_step_gap_seconds 0.125\n",
        "# TYPE quire_step_gap_seconds_total counter\n"}) {
    EXPECT_NE(metrics.body.find(line), std::string::npos) << line << metrics.body;
  }
}

TEST_F(ServerTest, DrainLetsRunningRequestsFinish) {
  Start();
  TestClient stream(port_);
  const uint64_t id = BeginStream(stream);
  TestClient idle(port_);
  idle.SendGet("/health");
  EXPECT_EQ(idle.Read().status, 200);
  server_->RequestStop();
  engine_.WaitForDrain();
  EXPECT_TRUE(idle.AtEnd());  // kept connections go at once
  EXPECT_FALSE(TestClient(port_).connected());
  engine_.SendText(id, "b");
  EXPECT_EQ(ParseTestJson(*stream.ReadEvent())["choices"][0]["delta"]["content"], "b");
  engine_.SendEnd(id);
  EXPECT_EQ(ParseTestJson(*stream.ReadEvent())["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(stream.ReadEvent(), "[DONE]");
  EXPECT_FALSE(stream.ReadEvent().has_value());
  EXPECT_TRUE(stream.AtEnd());
  Join();
  EXPECT_EQ(engine_.num_cancelled(), 0u);
}

TEST_F(ServerTest, ASecondStopCancels) {
  Start();
  TestClient stream(port_);
  const uint64_t id = BeginStream(stream);
  server_->RequestStop();
  engine_.WaitForDrain();
  server_->RequestStop();
  engine_.WaitForCancel(id);
  Join();
  EXPECT_FALSE(stream.ReadEvent().has_value());
}

TEST_F(ServerTest, SigtermDrains) {
  options_.handle_signals = true;
  Start();
  TestClient stream(port_);
  const uint64_t id = BeginStream(stream);
  kill(getpid(), SIGTERM);
  engine_.WaitForDrain();
  engine_.SendEnd(id);
  while (stream.ReadEvent().has_value()) {
  }
  Join();
  EXPECT_EQ(engine_.num_cancelled(), 0u);
}

TEST_F(ServerTest, AnIdleServerStopsAtOnce) {
  Start();
  TestClient kept(port_);
  kept.SendGet("/health");
  EXPECT_EQ(kept.Read().status, 200);
  server_->RequestStop();
  Join();
  EXPECT_TRUE(kept.AtEnd());
}

TEST_F(ServerTest, ManyStreamsAtOnce) {
  constexpr size_t kStreams = 200;
  constexpr int kTokens = 20;
  Start();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<TestClient>(port_));
    const TestJson body = {{"messages", Messages(StrCat("client ", i, "."))}, {"stream", true}};
    ASSERT_TRUE(clients[i]->SendPost("/v1/chat/completions", body.dump()));
  }
  // Each answer says which client asked, a token for every stream in turn.
  engine_.WaitForRequest(kStreams - 1);
  for (int token = 0; token < kTokens; ++token) {
    for (size_t i = 0; i < kStreams; ++i) {
      const RequestSpec spec = engine_.WaitForRequest(i);
      const std::string prompt = PromptText(spec);
      const size_t begin = prompt.find("client ");
      const std::string name = prompt.substr(begin, prompt.find('.', begin) + 1 - begin);
      if (token < static_cast<int>(name.size()))
        engine_.SendToken(spec.id, name[static_cast<size_t>(token)]);
      if (token == kTokens - 1) engine_.SendEnd(spec.id);
    }
  }
  for (size_t i = 0; i < kStreams; ++i) {
    ASSERT_EQ(clients[i]->ReadHead().status, 200);
    std::string text;
    for (auto event = clients[i]->ReadEvent(); event != "[DONE]"; event = clients[i]->ReadEvent()) {
      ASSERT_TRUE(event.has_value());
      text += ParseTestJson(*event)["choices"][0]["delta"].value("content", "");
    }
    EXPECT_EQ(text, StrCat("client ", i, "."));
  }
}

}  // namespace
}  // namespace quire
