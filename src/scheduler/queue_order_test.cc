#include "scheduler/queue_order.h"

#include <gtest/gtest.h>

#include <deque>

#include "scheduler/fair_order.h"

namespace quire {
namespace {

constexpr int64_t kDefaultPatienceMs = -kHighestPriority * kAgingMs;

RequestSpec Spec(int32_t priority, int32_t deadline_ms) {
  RequestSpec spec;
  spec.priority = priority;
  spec.deadline_ms = deadline_ms;
  return spec;
}

TEST(RankOf, ByArrivalNothingElseCounts) {
  const Rank late = RankOf(QueuePolicy::kArrival, Spec(-10, 5), 100, 2);
  const Rank early = RankOf(QueuePolicy::kArrival, Spec(10, 0), 900, 1);
  EXPECT_LT(early, late);
}

TEST(RankOf, PriorityDeadlineAndAgeAreOneTime) {
  const auto due = [](int32_t priority, int32_t deadline_ms, int64_t now_ms) {
    return RankOf(QueuePolicy::kPriority, Spec(priority, deadline_ms), now_ms, 1).due_ms;
  };
  EXPECT_EQ(due(0, 0, 0), kDefaultPatienceMs);
  EXPECT_EQ(due(kHighestPriority, 0, 77), 77);
  EXPECT_EQ(due(1, 0, 0), due(0, 0, kAgingMs));  // aging
  EXPECT_EQ(due(0, 500, 1000), 1500);
  EXPECT_EQ(due(0, 2'000'000'000, 0), kDefaultPatienceMs);  // a far deadline delays nobody
}

TEST(RankOf, EqualDueTimesGoByArrival) {
  EXPECT_LT(RankOf(QueuePolicy::kPriority, Spec(0, 0), 5, 1),
            RankOf(QueuePolicy::kPriority, Spec(0, 0), 5, 2));
}

class FairOrderTest : public testing::Test {
 protected:
  Request& Push(const std::string& tenant, int64_t now_ms = 0, int32_t priority = 0) {
    RequestSpec spec = Spec(priority, 0);
    spec.id = ++last_id_;
    spec.prompt = {1};
    spec.tenant = tenant;
    const Rank rank = RankOf(QueuePolicy::kFair, spec, now_ms, spec.id);
    Request& request = requests_.emplace_back(std::move(spec), rank, 100);
    order_.Push(request);
    return request;
  }
  // Takes the next and charges it.
  std::string Serve(int64_t cost, int64_t now_ms = 0) {
    Request* request = order_.First(now_ms);
    order_.Remove(*request);
    order_.Charge(*request, cost);
    return request->tenant();
  }

  FairOrder order_;
  std::deque<Request> requests_;
  uint64_t last_id_ = 0;
};

TEST_F(FairOrderTest, TheTenantServedLeastIsNext) {
  for (int i = 0; i < 4; ++i) {
    Push("a");
  }
  Push("b");
  Push("b");
  EXPECT_EQ(order_.size(), 6);
  EXPECT_EQ(Serve(10), "a");
  EXPECT_EQ(Serve(30), "b");
  EXPECT_EQ(Serve(10), "a");
  EXPECT_EQ(Serve(10), "a");
  EXPECT_EQ(Serve(10), "a");  // 30 each: the elder request
  EXPECT_EQ(Serve(10), "b");
  EXPECT_EQ(order_.First(0), nullptr);
}

TEST_F(FairOrderTest, ItsRequestsGoByRank) {
  Push("a");
  Request& urgent = Push("a", 0, -5);
  EXPECT_EQ(order_.First(0), &urgent);
}

TEST_F(FairOrderTest, WhatATenantDidNotUseIsNotSavedUp) {
  Push("a");
  Push("idle");
  EXPECT_EQ(Serve(1), "a");
  EXPECT_EQ(Serve(1), "idle");
  for (int i = 0; i < 6; ++i) {
    Push("a");
  }
  EXPECT_EQ(Serve(1000), "a");
  Push("idle");
  Push("idle");
  // Lifted to a's 1001: they take turns from here, instead of 1000 for the one that was away.
  EXPECT_EQ(Serve(10), "a");
  EXPECT_EQ(Serve(10), "idle");
  EXPECT_EQ(Serve(10), "a");
}

TEST_F(FairOrderTest, ARequestThatIsDueGoesFirst) {
  const Request& old = Push("greedy");
  Push("new", kDefaultPatienceMs - 1);
  order_.Charge(old, 1'000'000);
  EXPECT_EQ(order_.First(kDefaultPatienceMs - 1)->tenant(), "new");
  EXPECT_EQ(order_.First(kDefaultPatienceMs), &old);
}

TEST_F(FairOrderTest, TenantsThatAreGoneAreForgotten) {
  const Request& stays = Push("stays");
  for (int i = 0; i < 1000; ++i) {
    if (i == 900) {
      order_.Charge(stays, 1000);  // who was charged less would be lifted: nothing to remember
    }
    const Request& passes = Push(StrCat("passes ", i));
    order_.Charge(passes, 1);
    order_.Remove(passes);
  }
  EXPECT_GT(order_.num_tenants(), 900u);
  for (int i = 0; i < 100; ++i) {
    order_.Remove(Push(StrCat("passes later ", i)));
  }
  EXPECT_LT(order_.num_tenants(), 300u);
}

TEST_F(FairOrderTest, TwoTenantsStayWithinOneRequestOfEachOther) {
  std::map<std::string, int64_t> served;
  for (int i = 0; i < 2000; ++i) {
    Push("small");
    Push("large");
  }
  for (int i = 0; i < 1000; ++i) {
    const std::string tenant = order_.First(0)->tenant();
    const int64_t cost = tenant == "small" ? 3 : 100;
    EXPECT_EQ(Serve(cost), tenant);
    served[tenant] += cost;
    EXPECT_LE(std::abs(served["small"] - served["large"]), 100);
  }
}

}  // namespace
}  // namespace quire
