// A request's logits depend on its own tokens alone: alone or among others, any chunking, page size
// and thread count, cold or from the prefix cache, preempted or not, with drafts and without.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_seed.h"
#include "exactness/plan_runner.h"
#include "support/test_device.h"

namespace quire {
namespace {

constexpr size_t kRequests = 16;
constexpr int kPlansPerModel = QUIRE_PLANS_PER_MODEL;
// So many random plans surely meet a preemption, a cached prefix and drafts, right and wrong.
constexpr int kPlansThatMeetAll = 200;

void ExpectPrefixOf(const Trace& found, const Trace& whole, const ExactnessPlan::Arrival& arrival) {
  ASSERT_LE(found.tokens.size(), whole.tokens.size());
  if (arrival.cancel_step < 0) {
    ASSERT_EQ(found.tokens.size(), whole.tokens.size());
  }
  ASSERT_LE(found.logit_hashes.size(), found.tokens.size());
  for (size_t i = 0; i < found.logit_hashes.size(); ++i) {
    ASSERT_EQ(found.logit_hashes[i], whole.logit_hashes[i])
        << "logits of request " << arrival.request << " differ at token " << i;
  }
  for (size_t i = 0; i < found.tokens.size(); ++i) {
    ASSERT_EQ(found.tokens[i], whole.tokens[i]) << "request " << arrival.request << " token " << i;
  }
}

Workload::Served ServeAsAlone(const Workload& workload, const ExactnessPlan& plan) {
  Workload::Served served = workload.Serve(plan);
  for (size_t i = 0; i < plan.arrivals.size(); ++i) {
    const Trace& found = served.traces[i];
    EXPECT_EQ(found.logit_hashes.size(), plan.sees_logits ? found.tokens.size() : 0);
    ExpectPrefixOf(found, workload.Alone(plan.arrivals[i].request), plan.arrivals[i]);
  }
  return served;
}

void RunPlans(const std::string& model_path, DType kv_dtype, int most_plans, uint64_t salt) {
  // On an accelerator most of a plan's time goes into loading the weights again.
  const int plans = TestDevice() == "cpu" ? most_plans : most_plans / 5;
  std::mt19937_64 random(TestSeed() + salt);
  const Workload workload(model_path, kv_dtype, kRequests, random);
  uint64_t preemptions = 0;
  uint64_t cached_tokens = 0;
  uint64_t drafted_tokens = 0;
  uint64_t accepted_tokens = 0;
  uint64_t loaded_pages = 0;
  for (int i = 0; i < plans; ++i) {
    const ExactnessPlan plan = workload.DrawPlan(random);
    SCOPED_TRACE(StrCat("plan ", i, ": ", Describe(plan)));
    const Workload::Served served = ServeAsAlone(workload, plan);
    ASSERT_FALSE(testing::Test::HasFailure());
    preemptions += served.preemptions;
    cached_tokens += served.cached_tokens;
    drafted_tokens += served.drafted_tokens;
    accepted_tokens += served.accepted_tokens;
    loaded_pages += served.loaded_pages;
  }
  std::printf(
      "%d plans, %llu preemptions, %llu tokens from the prefix cache, %llu of %llu drafts right, "
      "%llu pages from tiers\n",
      plans, static_cast<unsigned long long>(preemptions),
      static_cast<unsigned long long>(cached_tokens),
      static_cast<unsigned long long>(accepted_tokens),
      static_cast<unsigned long long>(drafted_tokens),
      static_cast<unsigned long long>(loaded_pages));
  if (plans < kPlansThatMeetAll) return;
  EXPECT_GT(preemptions, 0u) << "no plan preempted: the plans test too little";
  EXPECT_GT(cached_tokens, 0u) << "no plan hit the prefix cache: the plans test too little";
  EXPECT_GT(accepted_tokens, 0u) << "no draft was right: the plans test too little";
  if (TestDevice() == "cpu") {  // tiers are for caches in host memory
    EXPECT_GT(loaded_pages, 0u) << "no page came from a tier: the plans test too little";
  }
  EXPECT_GT(drafted_tokens, accepted_tokens) << "no draft was wrong: the plans test too little";
}

// That of the device's fastest attention kernels.
DType CacheType() {
  return TestDevice() == "cpu" ? DType::kF16 : DType::kBF16;
}

TEST(Exactness, SmolLm2Plans) {
  RunPlans(QUIRE_SMOLLM2_GGUF, CacheType(), kPlansPerModel, 1);
}

TEST(Exactness, SmolLm2PlansOnAFloat8Cache) {
  RunPlans(QUIRE_SMOLLM2_GGUF, DType::kF8E4M3, kPlansPerModel / 2, 3);
}

TEST(Exactness, Gemma3Plans) {
  RunPlans(QUIRE_GEMMA3_GGUF, CacheType(), kPlansPerModel, 2);
}

// The model drafts for itself: a plan's greedy requests have all their drafts right.
TEST(Exactness, SmolLm2DraftModelPlans) {
  std::mt19937_64 random(TestSeed() + 5);
  const Workload workload(QUIRE_SMOLLM2_GGUF, DType::kF16, 12, random);
  uint64_t drafted = 0;
  for (int i = 0; i < 8; ++i) {
    ExactnessPlan plan = workload.DrawPlan(random);
    plan.speculative = SpeculativeMethod::kDraftModel;
    SCOPED_TRACE(StrCat("plan ", i, ": ", Describe(plan)));
    const Workload::Served served = ServeAsAlone(workload, plan);
    ASSERT_FALSE(testing::Test::HasFailure());
    drafted += served.drafted_tokens;
  }
  EXPECT_GT(drafted, 0u) << "nothing was drafted: the plans test too little";

  ExactnessPlan greedy;
  greedy.speculative = SpeculativeMethod::kDraftModel;
  for (size_t r = 0; r < workload.size(); ++r) {
    if (workload.IsPlainlyGreedy(r)) {
      greedy.arrivals.push_back({.request = r, .step = static_cast<int32_t>(r)});
    }
  }
  const Workload::Served served = workload.Serve(greedy);
  EXPECT_GT(served.drafted_tokens, 0u);
  EXPECT_EQ(served.accepted_tokens, served.drafted_tokens)
      << "a greedy model that drafts for itself is always right";
}

// Requests that arrive at once, in a pool that holds no more than the largest of them: a tenth of
// what all need together. Those that end early go first; then come many that grow, of which the
// forecast now expects too little, so that they must give way to each other.
ExactnessPlan OversubscribedPlan(const Workload& workload, int64_t times) {
  constexpr int kGrowingTimes = 4;
  std::vector<size_t> ending;
  std::vector<size_t> growing;
  std::vector<size_t> others;
  for (size_t i = 0; i < workload.size(); ++i) {
    (Workload::EndsEarly(i) ? ending : Workload::Grows(i) ? growing : others).push_back(i);
  }
  std::vector<size_t> order = ending;
  for (int i = 0; i < kGrowingTimes; ++i) {
    order.insert(order.end(), growing.begin(), growing.end());
  }
  order.insert(order.end(), others.begin(), others.end());

  ExactnessPlan plan;
  plan.page_size = 4;
  plan.threads = 2;
  plan.max_running = static_cast<int32_t>(workload.size());
  plan.kv_tokens = 0;
  int64_t wanted = 0;
  for (size_t i = 0; i < order.size() || wanted < times * plan.kv_tokens; ++i) {
    const size_t request = order[i % order.size()];
    plan.arrivals.push_back({.request = request});
    plan.kv_tokens = std::max(plan.kv_tokens, workload.TokensOf(request));
    wanted += workload.TokensOf(request);
  }
  return plan;
}

TEST(Exactness, SmolLm2PoolOversubscribedTenTimes) {
  std::mt19937_64 random(TestSeed() + 4);
  const Workload workload(QUIRE_SMOLLM2_GGUF, DType::kF16, 48, random);
  ExactnessPlan plan = OversubscribedPlan(workload, 10);
  uint64_t preemptions = 0;
  for (const bool prefix_cache : {false, true}) {
    plan.prefix_cache = prefix_cache;
    SCOPED_TRACE(Describe(plan));
    const Workload::Served served = ServeAsAlone(workload, plan);
    ASSERT_FALSE(testing::Test::HasFailure());
    std::printf("%zu requests in a pool of %lld tokens, prefix cache %d: %llu preemptions\n",
                plan.arrivals.size(), static_cast<long long>(plan.kv_tokens), prefix_cache,
                static_cast<unsigned long long>(served.preemptions));
    preemptions += served.preemptions;
  }
  EXPECT_GT(preemptions, 0u) << "nobody had to give way: the plan tests too little";
}

}  // namespace
}  // namespace quire
