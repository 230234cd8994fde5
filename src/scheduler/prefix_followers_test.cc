#include "scheduler/prefix_followers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Request Make(uint64_t id) {
  RequestSpec spec;
  spec.id = id;
  spec.prompt.assign(20, 1);
  return Request(spec, {.arrival = id}, 100);
}

TEST(PrefixFollowers, ComeBackWhenTheLeaderHasComputedTheirTokens) {
  Request leader = Make(1);
  Request near = Make(2);
  Request far = Make(3);
  PrefixFollowers followers;
  leader.Start(1, 0);
  followers.Add(far, leader, 16);
  followers.Add(near, leader, 8);
  EXPECT_EQ(followers.size(), 2);
  leader.Advance(7);
  EXPECT_THAT(followers.Release(leader), IsEmpty());
  leader.Advance(1);
  EXPECT_THAT(followers.Release(leader), ElementsAre(&near));
  leader.Advance(12);
  EXPECT_THAT(followers.Release(leader), ElementsAre(&far));
  EXPECT_EQ(followers.size(), 0);
}

TEST(PrefixFollowers, ComeBackWhenTheLeaderRunsNoMore) {
  Request leader = Make(1);
  Request follower = Make(2);
  PrefixFollowers followers;
  leader.Start(1, 0);
  followers.Add(follower, leader, 16);
  leader.Preempt();
  EXPECT_THAT(followers.Release(leader), ElementsAre(&follower));
}

TEST(PrefixFollowers, CanBeTakenOut) {
  Request leader = Make(1);
  Request follower = Make(2);
  PrefixFollowers followers;
  leader.Start(1, 0);
  EXPECT_FALSE(followers.Remove(follower));
  followers.Add(follower, leader, 16);
  EXPECT_DEATH(followers.Add(follower, leader, 16), "follows two");
  EXPECT_TRUE(followers.Remove(follower));
  EXPECT_EQ(followers.size(), 0);
  leader.Preempt();
  EXPECT_THAT(followers.Release(leader), IsEmpty());
}

}  // namespace
}  // namespace quire
