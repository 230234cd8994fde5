// A Server with a FakeEngine on a free port, for tests. For tests only: no product code includes
// this.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/log.h"
#include "server/fake_engine.h"
#include "server/server.h"
#include "server/test_client.h"

namespace quire {

using TestJson = nlohmann::ordered_json;

inline TestJson ParseTestJson(const std::string& text) {
  const TestJson json = TestJson::parse(text, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << text;
  return json;
}

class ServerFixture : public testing::Test {
 protected:
  ServerFixture() {
    SetLogLevel(LogLevel::kError);
    options_.port = 0;
    options_.handle_signals = false;
  }
  ~ServerFixture() override { Stop(); }

  void Start() {
    auto server = Server::Listen(options_);
    QUIRE_CHECK(server.ok()) << server.status().message();
    server_ = *std::move(server);
    port_ = server_->port();
    thread_ = std::thread([this] { server_->Serve(engine_); });
  }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  void Stop() {
    if (!thread_.joinable()) return;
    server_->RequestStop();
    server_->RequestStop();
    thread_.join();
  }

  TestResponse Chat(const TestJson& body) {
    return Post(port_, "/v1/chat/completions", body.dump());
  }
  TestResponse Complete(const TestJson& body) {
    return Post(port_, "/v1/completions", body.dump());
  }

  // All events of a stream but the last, which must be [DONE].
  std::vector<TestJson> Stream(std::string_view path, const TestJson& body) {
    TestClient client(port_);
    client.SendPost(path, body.dump());
    const TestResponse head = client.ReadHead();
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.headers.at("content-type"), "text/event-stream; charset=utf-8");
    std::vector<TestJson> events;
    while (const auto event = client.ReadEvent()) {
      if (*event == "[DONE]") {
        EXPECT_FALSE(client.ReadEvent().has_value());
        return events;
      }
      events.push_back(ParseTestJson(*event));
    }
    ADD_FAILURE() << "a stream without [DONE]";
    return events;
  }

  static TestJson Messages(const std::string& text) {
    return {{{"role", "user"}, {"content", text}}};
  }

  ServerOptions options_;
  FakeEngine engine_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  uint16_t port_ = 0;
};

}  // namespace quire
