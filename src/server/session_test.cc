// Connections: keeping, pipelining, hanging up, bodies of all kinds, clients that are slow or
// hostile.
#include "server/session.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"
#include "server/server_fixture.h"

namespace quire {
namespace {

using SessionTest = ServerFixture;

constexpr char kPrompt[] = R"({"prompt":"x"})";
constexpr char kStreamPrompt[] = R"({"prompt":"x","stream":true})";

TEST_F(SessionTest, KeepsTheConnection) {
  engine_.set_behaviour(AnswerWith("ok"));
  Start();
  TestClient client(port_);
  for (int i = 0; i < 3; ++i) {
    client.SendPost("/v1/completions", i == 1 ? kStreamPrompt : kPrompt);
    const TestResponse response = client.Read();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.headers.at("connection"), "keep-alive");
  }
  client.SendGet("/nowhere");
  EXPECT_EQ(client.Read().status, 404);
  client.Send("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n");
  const TestResponse last = client.Read();
  EXPECT_EQ(last.status, 200);
  EXPECT_EQ(last.headers.at("connection"), "close");
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(SessionTest, PipelinedRequestsAreAnsweredInOrder) {
  Start();
  TestClient client(port_);
  const std::string post =
      StrCat("POST /v1/completions HTTP/1.1\r\nContent-Length: ", sizeof(kPrompt) - 1, "\r\n\r\n",
             kPrompt);
  client.Send(StrCat(post, "GET /nowhere HTTP/1.1\r\n\r\n", post, "GET /health HTTP/1.1\r\n\r\n"));
  const uint64_t first = engine_.WaitForRequest(0).id;
  engine_.SendText(first, "A");
  engine_.SendEnd(first);
  EXPECT_EQ(ParseTestJson(client.Read().body)["choices"][0]["text"], "A");
  EXPECT_EQ(client.Read().status, 404);
  const uint64_t second = engine_.WaitForRequest(1).id;
  engine_.SendText(second, "B");
  engine_.SendEnd(second);
  EXPECT_EQ(ParseTestJson(client.Read().body)["choices"][0]["text"], "B");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(SessionTest, ManyPipelinedRequestsWithoutReading) {
  options_.max_output_bytes = 10'000;
  Start();
  TestClient client(port_);
  constexpr int kRequests = 2000;
  std::string requests;
  for (int i = 0; i < kRequests; ++i) requests += "GET / HTTP/1.1\r\n\r\n";
  std::thread sender([&] { EXPECT_TRUE(client.Send(requests)); });
  for (int i = 0; i < kRequests; ++i) ASSERT_EQ(client.Read().status, 200) << i;
  sender.join();
}

TEST_F(SessionTest, ChunkedBodies) {
  engine_.set_behaviour(AnswerWith("ok"));
  Start();
  TestClient client(port_);
  client.Send("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (const char c : std::string(kPrompt)) client.Send(StrCat("1\r\n", c, "\r\n"));
  client.Send("0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(SessionTest, ContinuesWhenAsked) {
  engine_.set_behaviour(AnswerWith("ok"));
  Start();
  TestClient client(port_);
  client.Send(StrCat("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: ",
                     sizeof(kPrompt) - 1, "\r\n\r\n"));
  EXPECT_EQ(client.Read(true).status, 100);
  client.Send(kPrompt);
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(SessionTest, Http10StreamsEndWithTheConnection) {
  engine_.set_behaviour(AnswerWith("ok"));
  Start();
  TestClient client(port_);
  client.Send(StrCat("POST /v1/completions HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: ",
                     sizeof(kStreamPrompt) - 1, "\r\n\r\n", kStreamPrompt));
  const TestResponse response = client.Read();
  EXPECT_EQ(response.headers.at("connection"), "close");
  EXPECT_FALSE(response.headers.contains("transfer-encoding"));
  EXPECT_TRUE(response.body.starts_with("data: {"));
  EXPECT_TRUE(response.body.ends_with("data: [DONE]\n\n"));
}

TEST_F(SessionTest, OversizeBodiesAndHeadersAreRefused) {
  options_.max_body_bytes = 1000;
  options_.max_header_bytes = 1000;
  Start();
  TestClient announced(port_);
  announced.Send("POST /v1/completions HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
  const TestResponse response = announced.Read();
  EXPECT_EQ(response.status, 413);
  EXPECT_NE(response.body.find("1000 bytes"), std::string::npos) << response.body;
  EXPECT_EQ(Post(port_, "/v1/completions", std::string(100'000, ' ')).status, 413);
  TestClient header(port_);
  header.Send(StrCat("GET / HTTP/1.1\r\nX: ", std::string(2000, 'x'), "\r\n\r\n"));
  EXPECT_EQ(header.Read().status, 431);
}

TEST_F(SessionTest, MalformedRequestsGetAnAnswerAndTheEnd) {
  Start();
  for (const char* text :
       {"\x16\x03\x01\x02nonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\n\r\n"}) {
    TestClient client(port_);
    client.Send(text);
    const TestResponse response = client.Read();
    EXPECT_EQ(response.status, 400) << text;
    EXPECT_EQ(ParseTestJson(response.body)["error"]["type"], "invalid_request_error");
    EXPECT_EQ(response.headers.at("connection"), "close");
    client.ShutdownSend();
    EXPECT_TRUE(client.AtEnd());
  }
}

TEST_F(SessionTest, HangingUpCancels) {
  Start();
  TestClient waiting(port_);  // no token yet
  waiting.SendPost("/v1/completions", kPrompt);
  const uint64_t first = engine_.WaitForRequest(0).id;
  waiting.Close();
  engine_.WaitForCancel(first);
  TestClient stream(port_);  // in the middle
  stream.SendPost("/v1/completions", kStreamPrompt);
  const uint64_t second = engine_.WaitForRequest(1).id;
  engine_.SendText(second, "a");
  EXPECT_EQ(stream.ReadHead().status, 200);
  stream.Close();
  engine_.WaitForCancel(second);
  TestClient half(port_);  // the sending side alone
  half.SendPost("/v1/completions", R"({"prompt":"x","n":3})");
  half.ShutdownSend();
  for (size_t i = 0; i < 3; ++i) engine_.WaitForCancel(engine_.WaitForRequest(2 + i).id);
  EXPECT_NE(Get(port_, "/metrics").body.find("code=\"499\"} 3\n"), std::string::npos);
  engine_.SendText(first, "late events of the cancelled do no harm");
  engine_.Finish(first, FinishReason::kCancelled);
  EXPECT_EQ(Get(port_, "/health").status, 200);
}

TEST_F(SessionTest, AnAnsweredClientMayHaveShutItsSendingSide) {
  Start();
  TestClient client(port_);
  client.SendGet("/health");
  client.ShutdownSend();
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(SessionTest, AClientThatDoesNotReadIsCutOff) {
  options_.max_output_bytes = 20'000;
  Start();
  TestClient client(port_, 4096);
  client.SendPost("/v1/completions", R"({"prompt":"x","stream":true,"ignore_eos":true})");
  const uint64_t id = engine_.WaitForRequest().id;
  // More than the socket buffers of both sides can take.
  for (int i = 0; i < 60'000 && engine_.num_cancelled() == 0; ++i) engine_.SendToken(id, 'a');
  engine_.WaitForCancel(id);
  EXPECT_EQ(Get(port_, "/health").status, 200);
}

TEST_F(SessionTest, AClientThatTakesNothingRunsIntoTheWriteTimeout) {
  options_.max_output_bytes = 64 * 1024 * 1024;
  options_.write_timeout = std::chrono::milliseconds(50);
  Start();
  TestClient client(port_, 4096);
  client.SendPost("/v1/completions", R"({"prompt":"x","stream":true})");
  const uint64_t id = engine_.WaitForRequest().id;
  for (int i = 0; i < 60'000 && engine_.num_cancelled() == 0; ++i) engine_.SendToken(id, 'a');
  engine_.WaitForCancel(id);
}

TEST_F(SessionTest, SlowHeadersAndBodiesTimeOut) {
  options_.header_timeout = std::chrono::milliseconds(50);
  options_.body_timeout = std::chrono::milliseconds(50);
  options_.idle_timeout = std::chrono::milliseconds(50);
  Start();
  TestClient header(port_);
  header.Send("POST /v1/completions HT");
  EXPECT_EQ(header.Read().status, 408);
  TestClient body(port_);
  body.Send("POST /v1/completions HTTP/1.1\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_EQ(body.Read().status, 408);
  TestClient silent(port_);
  EXPECT_TRUE(silent.AtEnd());
  TestClient kept(port_);
  kept.SendGet("/health");
  EXPECT_EQ(kept.Read().status, 200);
  EXPECT_TRUE(kept.AtEnd());
}

TEST_F(SessionTest, WaitingForTokensIsNoTimeout) {
  options_.header_timeout = options_.body_timeout = std::chrono::milliseconds(20);
  options_.idle_timeout = options_.write_timeout = std::chrono::milliseconds(20);
  Start();
  TestClient waiting(port_);
  waiting.SendPost("/v1/completions", kPrompt);
  const uint64_t id = engine_.WaitForRequest().id;
  TestClient idle(port_);
  EXPECT_TRUE(idle.AtEnd());  // so more time than every timeout has passed
  engine_.SendEnd(id);
  EXPECT_EQ(waiting.Read().status, 200);
}

TEST_F(SessionTest, TooManyConnectionsAreToldSo) {
  options_.max_connections = 2;
  Start();
  TestClient first(port_);
  TestClient second(port_);
  for (TestClient* client : {&first, &second}) {
    client->SendGet("/health");
    EXPECT_EQ(client->Read().status, 200);
  }
  TestClient third(port_);
  third.SendGet("/health");
  const TestResponse refused = third.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(ParseTestJson(refused.body)["error"]["code"], "too_many_connections");
  first.SendGet("/health");
  EXPECT_EQ(first.Read().status, 200);
}

// Clients that ask, wait, read a little and leave at any moment: everything is cancelled or
// answered.
TEST_F(SessionTest, RandomClientsLeaveNothingBehind) {
  std::mt19937_64 random(TestSeed());
  engine_.set_behaviour(
      [](FakeEngine& engine, const RequestSpec& spec) { engine.SendText(spec.id, "some"); });
  Start();
  size_t expected = 0;
  for (int i = 0; i < 200; ++i) {
    TestClient client(port_);
    const bool stream = random() % 2 == 0;
    client.SendPost("/v1/completions", stream ? kStreamPrompt : kPrompt);
    if (random() % 3 == 0) client.SendGet("/health");
    const uint64_t id = engine_.WaitForRequest(expected++).id;
    if (random() % 2 == 0) {
      engine_.SendEnd(id);
      EXPECT_EQ(client.Read().status, 200);
      continue;
    }
    if (stream && random() % 2 == 0) {
      EXPECT_EQ(client.ReadHead().status, 200);
      EXPECT_TRUE(client.ReadEvent().has_value());
    }
    client.Close();
    engine_.WaitForCancel(id);
  }
}

}  // namespace
}  // namespace quire
