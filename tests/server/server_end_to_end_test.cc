// A real model behind the HTTP server, asked over the loopback.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "engine/engine_thread.h"
#include "server/server.h"
#include "server/test_client.h"
#include "support/test_device.h"

namespace quire {
namespace {

using TestJson = nlohmann::ordered_json;

class ServerEndToEndTest : public testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    ServerOptions options;
    options.port = 0;
    options.handle_signals = false;
    auto server = Server::Listen(options);
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
    EngineOptions engine_options;
    engine_options.model_path = QUIRE_SMOLLM2_GGUF;
    engine_options.device = TestDevice();
    engine_options.deterministic = true;
    engine_options.threads = 2;
    engine_options.max_context = 1024;
    engine_options.kv_memory_bytes = 256 << 20;
    engine_options.session_cache_bytes = 32 << 20;
    auto engine = EngineThread::Start(engine_options);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    engine_ = *std::move(engine);
    thread_ = std::thread([this] { server_->Serve(*engine_); });
    WaitUntilHealthy();
  }

  void TearDown() override {
    if (!thread_.joinable()) return;
    server_->RequestStop();
    server_->RequestStop();
    thread_.join();
  }

  // While the model loads the answer is 503; each request is a fresh look.
  void WaitUntilHealthy() {
    TestResponse health;
    do {
      health = Get(server_->port(), "/health");
      ASSERT_TRUE(health.status == 200 || health.status == 503) << health.body;
      ASSERT_EQ(health.body.find("error"), std::string::npos) << health.body;
    } while (health.status != 200);
  }

  TestJson Ask(const TestJson& body) {
    const TestResponse response = Post(server_->port(), "/v1/chat/completions", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return TestJson::parse(response.body);
  }

  // The value of a metric line that begins with `name`.
  double Metric(const std::string& name) {
    const std::string text = Get(server_->port(), "/metrics").body;
    const size_t line = text.find("\n" + name + " ");
    EXPECT_NE(line, std::string::npos) << name << text;
    return std::stod(text.substr(line + name.size() + 2));
  }

  // Pages of a row that was computed for nothing, as its request had ended, come back with its
  // step.
  void WaitUntilNoPageIsOwned() {
    while (Metric("quire_kv_pages{state=\"owned\"}") > 0) {
    }
  }

  static TestJson Question(const std::string& text, int max_tokens = 24) {
    return {{"model", "default"},
            {"messages", {{{"role", "user"}, {"content", text}}}},
            {"temperature", 0},
            {"max_tokens", max_tokens}};
  }

  std::unique_ptr<EngineThread> engine_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

std::string Content(const TestJson& answer) {
  return answer["choices"][0]["message"]["content"];
}

std::string ReadStream(TestClient& client) {
  std::string text;
  EXPECT_EQ(client.ReadHead().status, 200);
  for (auto event = client.ReadEvent(); event != "[DONE]"; event = client.ReadEvent()) {
    if (!event.has_value()) return text + " (the stream broke off)";
    text += TestJson::parse(*event)["choices"][0]["delta"].value("content", "");
  }
  return text;
}

TEST_F(ServerEndToEndTest, KnowsACapital) {
  const TestJson answer = Ask(Question("What is the capital of Japan? Answer in one sentence."));
  EXPECT_NE(Content(answer).find("Tokyo"), std::string::npos) << answer;
  EXPECT_GT(answer["usage"]["prompt_tokens"].get<int>(), 5);
}

TEST_F(ServerEndToEndTest, AStreamIsTheSameText) {
  TestJson question = Question("Name three colours.", 40);
  const std::string whole = Content(Ask(question));
  question["stream"] = true;
  TestClient client(server_->port());
  client.SendPost("/v1/chat/completions", question.dump());
  EXPECT_EQ(ReadStream(client), whole);
}

TEST_F(ServerEndToEndTest, AnswersDoNotDependOnWhoElseAsks) {
  std::vector<TestJson> questions;
  std::vector<std::string> alone;
  for (int i = 0; i < 8; ++i) {
    questions.push_back(Question(StrCat("Tell me about the number ", i, "."), 8 + i));
    questions.back()["temperature"] = i % 2 == 0 ? 0.0 : 1.0;
    questions.back()["seed"] = i;
    alone.push_back(Content(Ask(questions.back())));
  }
  std::vector<std::unique_ptr<TestClient>> clients;
  for (TestJson& question : questions) {
    question["stream"] = true;
    clients.push_back(std::make_unique<TestClient>(server_->port()));
    clients.back()->SendPost("/v1/chat/completions", question.dump());
  }
  for (size_t i = 0; i < clients.size(); ++i) EXPECT_EQ(ReadStream(*clients[i]), alone[i]) << i;
}

TEST_F(ServerEndToEndTest, TheSecondAskingHitsThePrefixCache) {
  const TestJson question = Question(StrCat("Repeat: ", std::string(400, 'a'), " end"), 8);
  const TestJson first = Ask(question);
  const TestJson second = Ask(question);
  EXPECT_EQ(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_GT(second["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>(), 0);
  EXPECT_EQ(Content(first), Content(second));
}

TEST_F(ServerEndToEndTest, EachChoiceIsTheAnswerToItsSeed) {
  TestJson question = Question("Write one line about the sea. " + std::string(400, 'a'), 16);
  question["temperature"] = 1.0;
  question["seed"] = 70;
  question["n"] = 4;
  const double before = Metric("quire_prompt_tokens_total");
  const TestJson together = Ask(question);
  const double computed = Metric("quire_prompt_tokens_total") - before;
  const auto prompt = together["usage"]["prompt_tokens"].get<double>();
  EXPECT_LT(computed, 1.8 * prompt) << "the choices share the pages of the prompt";
  question["n"] = 1;
  for (int i = 0; i < 4; ++i) {
    question["seed"] = 70 + i;
    EXPECT_EQ(together["choices"][i]["message"]["content"], Content(Ask(question))) << i;
  }
}

TEST_F(ServerEndToEndTest, ASessionKeepsItsPagesUntilItIsReleased) {
  TestJson question = Question("Remember this: " + std::string(400, 'b'));
  question["session"] = "agent";
  Ask(question);
  const auto sessions = [&] {
    return TestJson::parse(Get(server_->port(), "/v1/sessions").body)["data"];
  };
  ASSERT_EQ(sessions().size(), 1u);
  EXPECT_EQ(sessions()[0]["id"], "agent");
  EXPECT_GE(sessions()[0]["pinned_tokens"].get<int>(), 64);
  EXPECT_GT(Metric("quire_kv_pages{state=\"owned\"}"), 0);
  Post(server_->port(), "/v1/sessions/release", R"({"session":"agent"})");
  Ask(Question("Hello"));
  EXPECT_EQ(sessions().size(), 0u);
  WaitUntilNoPageIsOwned();
}

TEST_F(ServerEndToEndTest, HangingUpFreesThePages) {
  TestJson question = Question("Count for ever.", 900);
  question["stream"] = true;
  question["ignore_eos"] = true;
  TestClient client(server_->port());
  client.SendPost("/v1/chat/completions", question.dump());
  EXPECT_EQ(client.ReadHead().status, 200);
  EXPECT_TRUE(client.ReadEvent().has_value());
  EXPECT_GT(Metric("quire_kv_pages{state=\"owned\"}"), 0);
  client.Close();
  WaitUntilNoPageIsOwned();
  EXPECT_EQ(Metric("quire_running_requests"), 0);
  EXPECT_LT(Metric("quire_generated_tokens_total"), 900);
}

TEST_F(ServerEndToEndTest, APromptLongerThanTheContextNamesBothNumbers) {
  const TestResponse response = Post(server_->port(), "/v1/completions",
                                     TestJson({{"prompt", std::vector<int>(2000, 5)}}).dump());
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("2000 tokens"), std::string::npos) << response.body;
  EXPECT_NE(response.body.find("1024 tokens"), std::string::npos) << response.body;
}

TEST_F(ServerEndToEndTest, LogprobsOfAGreedyAnswerAreTheLargest) {
  TestJson question = Question("Say hello.", 8);
  question["logprobs"] = true;
  question["top_logprobs"] = 3;
  const TestJson answer = Ask(question);
  const TestJson& content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_FALSE(content.empty());
  std::string text;
  for (const TestJson& token : content) {
    text += token["token"];
    ASSERT_EQ(token["top_logprobs"].size(), 3u);
    EXPECT_EQ(token["top_logprobs"][0]["token"], token["token"]);
    EXPECT_LE(token["logprob"].get<double>(), 0);
  }
  EXPECT_EQ(text, Content(answer));
}

TEST_F(ServerEndToEndTest, BiasAndPenaltiesChangeTheAnswer) {
  const TestJson question = Question("Say yes.", 6);
  const TestJson plain = Ask(question);
  TestJson biased = question;
  biased["logit_bias"] = {{"28", 100}};  // a plain token, in every place
  const std::string text = Ask(biased)["choices"][0]["message"]["content"];
  ASSERT_GE(text.size(), 6u);
  EXPECT_EQ(text, std::string(text.size(), text[0]));
  biased["frequency_penalty"] = 2.0;
  biased["repetition_penalty"] = 10.0;
  EXPECT_NE(Ask(biased)["choices"][0]["message"]["content"], text);
  EXPECT_EQ(Ask(question)["choices"], plain["choices"]);
  biased["logit_bias"] = {{"999999", 1}};
  const TestResponse refused = Post(server_->port(), "/v1/chat/completions", biased.dump());
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("names the token id 999999"), std::string::npos) << refused.body;
}

TEST_F(ServerEndToEndTest, DrainFinishesWhatRuns) {
  TestJson question = Question("Tell me a story.", 30);
  question["stream"] = true;
  question["ignore_eos"] = true;
  TestClient client(server_->port());
  client.SendPost("/v1/chat/completions", question.dump());
  EXPECT_EQ(client.ReadHead().status, 200);
  server_->RequestStop();
  int finished = 0;
  while (const auto event = client.ReadEvent()) finished += *event == "[DONE]" ? 1 : 0;
  EXPECT_EQ(finished, 1);
  thread_.join();
}

}  // namespace
}  // namespace quire
