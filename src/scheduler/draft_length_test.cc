#include "scheduler/draft_length.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(DraftLength, GrowsWhileAllAreRight) {
  DraftLength length;
  EXPECT_EQ(length.Next(), DraftLength::kShort);
  length.Observe(3, 3);
  EXPECT_EQ(length.Next(), DraftLength::kLong);
  length.Observe(7, 6);
  EXPECT_EQ(length.Next(), DraftLength::kShort);
}

// A request whose drafts are never right.
TEST(DraftLength, TurnsItselfOffAndProbesRarely) {
  DraftLength length;
  int drafts = 0;
  for (int step = 0; step < 10'000; ++step) {
    if (const int32_t next = length.Next(); next > 0) {
      length.Observe(next, 0);
      drafts += next;
    }
  }
  EXPECT_LT(drafts, 100);
  EXPECT_GT(drafts, 30);  // it still probes
}

TEST(DraftLength, AProbeThatIsRightTurnsItOn) {
  DraftLength length;
  int step = 0;
  const auto next_draft = [&] {
    int32_t next = 0;
    for (int i = 0; i < 2000 && next == 0; ++i, ++step) {
      next = length.Next();
    }
    return next;
  };
  for (int i = 0; i < 20; ++i) {
    length.Observe(next_draft(), 0);
  }
  length.Observe(next_draft(), 3);
  const int before = step;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(length.Next(), DraftLength::kLong);
    length.Observe(7, 7);
  }
  EXPECT_EQ(step, before);
  // The pauses are short again.
  for (int i = 0; i < 10 && length.Next() > 0; ++i) {
    length.Observe(7, 0);
  }
  const int off = step;
  EXPECT_GT(next_draft(), 0);
  EXPECT_LE(step - off, DraftLength::kFirstPause);
}

TEST(DraftLength, StaysOnWhileMostAreRight) {
  DraftLength length;
  for (int i = 0; i < 1000; ++i) {
    const int32_t next = length.Next();
    ASSERT_GT(next, 0);
    length.Observe(next, i % 2 == 0 ? next : next / 2);
  }
}

}  // namespace
}  // namespace quire
