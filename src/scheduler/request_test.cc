#include "scheduler/request.h"

#include <gtest/gtest.h>

#include <functional>

namespace quire {
namespace {

RequestSpec Spec() {
  RequestSpec spec;
  spec.id = 7;
  spec.prompt = {1, 2, 3};
  spec.max_new_tokens = 4;
  spec.stop_token_ids = {99};
  return spec;
}

Request Running(const RequestSpec& spec, int32_t max_context = 100) {
  Request request(spec, {}, max_context);
  request.Start(1, 0);
  return request;
}

// Computes what is missing and draws `token`.
void Draw(Request& request, int32_t token) {
  request.Advance(request.remaining());
  request.Append(token);
}

TEST(RequestSpec, NamesWhatIsWrong) {
  const auto code_with = [](const std::function<void(RequestSpec&)>& change) {
    RequestSpec spec = Spec();
    change(spec);
    return spec.Validate().code();
  };
  EXPECT_TRUE(Spec().Validate().ok());
  EXPECT_EQ(code_with([](RequestSpec& s) { s.prompt.clear(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_with([](RequestSpec& s) { s.max_new_tokens = 0; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_with([](RequestSpec& s) { s.min_tokens = -1; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_with([](RequestSpec& s) { s.min_tokens = 5; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_with([](RequestSpec& s) { s.sampling.temperature = -1; }),
            StatusCode::kInvalidArgument);
}

TEST(Request, EndsAtMaxNewTokens) {
  Request request = Running(Spec());
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(request.state(), RequestState::kRunning);
    Draw(request, 5);
  }
  EXPECT_EQ(request.finish_reason(), FinishReason::kLength);
  EXPECT_EQ(request.num_generated(), 4);
  EXPECT_EQ(request.max_kv_tokens(), 6);
}

TEST(Request, EndsWhenTheContextIsFull) {
  Request request = Running(Spec(), 5);
  EXPECT_EQ(request.max_kv_tokens(), 4);
  Draw(request, 5);
  EXPECT_EQ(request.state(), RequestState::kRunning);
  Draw(request, 5);
  EXPECT_EQ(request.finish_reason(), FinishReason::kLength);
}

TEST(Request, EndsAtAStopTokenAndKeepsIt) {
  Request request = Running(Spec());
  Draw(request, 99);
  EXPECT_EQ(request.finish_reason(), FinishReason::kStop);
  EXPECT_EQ(request.tokens().back(), 99);
}

TEST(Request, StopTokensCanBeIgnoredOrDelayed) {
  RequestSpec spec = Spec();
  spec.ignore_eos = true;
  Request ignoring = Running(spec);
  Draw(ignoring, 99);
  EXPECT_EQ(ignoring.state(), RequestState::kRunning);

  spec = Spec();
  spec.min_tokens = 1;
  Request delayed = Running(spec);
  Draw(delayed, 99);
  EXPECT_EQ(delayed.state(), RequestState::kRunning);
  Draw(delayed, 99);
  EXPECT_EQ(delayed.finish_reason(), FinishReason::kStop);
}

TEST(Request, AfterPreemptionAllItsTokensAreThePrompt) {
  Request request = Running(Spec());
  EXPECT_EQ(request.remaining(), 3);
  Draw(request, 5);
  Draw(request, 6);
  EXPECT_EQ(request.remaining(), 1);
  request.Preempt();
  EXPECT_FALSE(request.has_sequence());
  request.Start(2, 2);
  EXPECT_EQ(request.remaining(), 3);
  EXPECT_EQ(request.num_generated(), 2);
  EXPECT_EQ(request.cached_prompt_tokens(), 0);
}

TEST(Request, FinishReasonsHaveTheNamesOfTheApi) {
  EXPECT_EQ(FinishReasonName(FinishReason::kStop), "stop");
  EXPECT_EQ(FinishReasonName(FinishReason::kLength), "length");
  EXPECT_EQ(FinishReasonName(FinishReason::kCancelled), "cancelled");
  EXPECT_EQ(FinishReasonName(FinishReason::kError), "error");
}

using RequestDeathTest = testing::Test;

TEST(RequestDeathTest, StopsAtIllegalMoves) {
  Request request = Running(Spec());
  EXPECT_DEATH(request.Advance(4), "");
  EXPECT_DEATH(request.Append(5), "too early");
  request.Finish(FinishReason::kCancelled);
  EXPECT_DEATH(request.Finish(FinishReason::kStop), "twice");
  EXPECT_DEATH(request.Preempt(), "not running");
}

}  // namespace
}  // namespace quire
