#include "engine/step_graphs.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <utility>

#include "base/status.h"

namespace quire {
namespace {

// What happened on a stream.
struct Counts {
  int captures = 0;
  int replays = 0;
};

class FakeGraph final : public Graph {
 public:
  explicit FakeGraph(Counts& counts) : counts_(counts) {}
  Status Replay(Stream&) override {
    ++counts_.replays;
    return OkStatus();
  }

 private:
  Counts& counts_;
};

class FakeStream final : public Stream {
 public:
  explicit FakeStream(bool captures) : captures_(captures) {}
  Device& device() const override { std::abort(); }
  Status Copy(void*, Place, const void*, Place, size_t) override { return OkStatus(); }
  Result<std::unique_ptr<Graph>> Capture(const std::function<Status()>& enqueue) override {
    if (!captures_) {
      return Unsupported("no graphs here");
    }
    ++counts.captures;
    QUIRE_RETURN_IF_ERROR(enqueue());
    return std::unique_ptr<Graph>(std::make_unique<FakeGraph>(counts));
  }
  Result<std::unique_ptr<Event>> Record() override { return Unsupported("no events here"); }
  Status Synchronize() override { return OkStatus(); }

  Counts counts;

 private:
  bool captures_;
};

StepKey KeyOf(int64_t tokens) {
  return {.tokens = tokens, .sequences = tokens, .logit_rows = tokens, .max_pages = 4};
}

class StepGraphsTest : public testing::Test {
 protected:
  Status Run(StepGraphs& graphs, const StepKey& key, FakeStream& stream) {
    return graphs.Run(key, stream, [&] {
      ++enqueued_;
      return result_;
    });
  }

  int enqueued_ = 0;
  Status result_ = OkStatus();
};

TEST_F(StepGraphsTest, TheSecondStepOfAKeyIsCapturedAndReplayedFromThenOn) {
  FakeStream stream(true);
  StepGraphs graphs;
  ASSERT_TRUE(Run(graphs, KeyOf(1), stream).ok());
  EXPECT_EQ(enqueued_, 1);
  EXPECT_EQ(stream.counts.captures, 0);
  for (int replays = 1; replays <= 3; ++replays) {
    ASSERT_TRUE(Run(graphs, KeyOf(1), stream).ok());
    EXPECT_EQ(enqueued_, 2) << "by the capture, which does not run it";
    EXPECT_EQ(stream.counts.captures, 1);
    EXPECT_EQ(stream.counts.replays, replays);
  }
}

TEST_F(StepGraphsTest, EachKeyHasAGraphOfItsOwn) {
  FakeStream stream(true);
  StepGraphs graphs;
  StepKey moved = KeyOf(1);
  moved.logits = &moved;
  StepKey planned = KeyOf(1);
  planned.attention = 7;
  for (const StepKey& key : {KeyOf(1), KeyOf(2), moved, planned}) {
    ASSERT_TRUE(Run(graphs, key, stream).ok());
  }
  EXPECT_EQ(enqueued_, 4);
  EXPECT_EQ(stream.counts.replays, 0);
  ASSERT_TRUE(Run(graphs, KeyOf(2), stream).ok());
  EXPECT_EQ(stream.counts.captures, 1);
}

TEST_F(StepGraphsTest, WithoutGraphsEachStepIsEnqueued) {
  FakeStream stream(false);
  StepGraphs graphs;
  for (int i = 1; i <= 4; ++i) {
    ASSERT_TRUE(Run(graphs, KeyOf(1), stream).ok());
    EXPECT_EQ(enqueued_, i);
  }
}

TEST_F(StepGraphsTest, AStepThatFailsSaysSoAndIsNotKept) {
  FakeStream stream(true);
  StepGraphs graphs;
  ASSERT_TRUE(Run(graphs, KeyOf(1), stream).ok());
  result_ = Unavailable("the device is lost");
  EXPECT_EQ(Run(graphs, KeyOf(1), stream).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Run(graphs, KeyOf(1), stream).code(), StatusCode::kUnavailable);
  EXPECT_EQ(stream.counts.replays, 0);
}

TEST_F(StepGraphsTest, ManyKeysAreForgottenAndStartAnew) {
  FakeStream stream(true);
  StepGraphs graphs;
  constexpr int64_t kMany = 5000;
  for (int64_t tokens = 1; tokens <= kMany; ++tokens) {
    ASSERT_TRUE(Run(graphs, KeyOf(tokens), stream).ok());
  }
  ASSERT_TRUE(Run(graphs, KeyOf(1), stream).ok());
  EXPECT_EQ(enqueued_, kMany + 1);
  EXPECT_EQ(stream.counts.captures, 0);
}

}  // namespace
}  // namespace quire
