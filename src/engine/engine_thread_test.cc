// EngineThread without a model that loads: its states and refusals. With a real model:
// tests/server.
#include "engine/engine_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

namespace quire {
namespace {

// Waits for the event fd; the load of a missing file ends at once.
void WaitForEvent(const EngineThread& engine) {
  pollfd descriptor = {.fd = engine.event_fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&descriptor, 1, 60'000), 1);
}

TEST(EngineThreadTest, AModelThatCannotLoadIsReported) {
  EngineOptions options;
  options.model_path = "/nowhere/model.gguf";
  auto engine = EngineThread::Start(options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  WaitForEvent(**engine);
  EXPECT_EQ((*engine)->state(), EngineState::kFailed);
  EXPECT_THAT((*engine)->load_error().message(), testing::HasSubstr("/nowhere/model.gguf"));
}

TEST(EngineThreadTest, RequestsAreRefusedUnlessReady) {
  EngineOptions options;
  options.model_path = "/nowhere/model.gguf";
  auto engine = EngineThread::Start(options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  RequestSpec request;
  request.id = 1;
  request.prompt = {1};
  EXPECT_EQ((*engine)->Submit(std::move(request)).code(), StatusCode::kUnavailable);
  (*engine)->Cancel(1);
  std::vector<EngineEvent> events;
  WaitForEvent(**engine);
  (*engine)->TakeEvents(events);
  EXPECT_TRUE(events.empty());
}

}  // namespace
}  // namespace quire
