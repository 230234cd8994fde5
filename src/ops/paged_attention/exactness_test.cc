// The promise of the operator, bit for bit: a row depends on its query, its position and the keys
// and values that it sees, and on nothing else.
#include <gtest/gtest.h>

#include <limits>

#include "base/test_seed.h"
#include "ops/paged_attention/paged_attention_cases.h"

namespace quire::ops::paged_attention {

namespace {

constexpr uint64_t kSeed = 3;

// The implementations that keep the promise: all but the reference, which has one order anyway.
std::vector<std::string_view> Names() {
  std::vector<std::string_view> names;
  CpuFixture cpu(1);
  for (const auto& implementation : ImplementationsOf(PlatformKind::kCpu)) {
    if (implementation.name != "reference" && implementation.accepts(cpu.Context(), {})) {
      names.push_back(implementation.name);
    }
  }
  return names;
}

// Cases that reach every path: many and few rows, several ranges, windows, groups, types.
std::vector<Case> ExactCases() {
  std::vector<Case> cases(5, MixedCase("plain"));
  cases[1] = DecodeCase("decode");
  cases[2].window_left = 77;
  cases[3].head_dim = 80;
  cases[3].q_heads = 10;
  cases[3].dtype = DType::kBF16;
  cases[3].logit_soft_cap = 5.0f;
  cases[4].q_heads = 9;
  cases[4].kv_heads = 3;
  cases[4].dtype = DType::kF32;
  cases[4].window_left = 300;
  return cases;
}

std::vector<float> RunOn(int threads, std::string_view implementation, const Case& problem,
                         const std::vector<SequenceData>& data, uint64_t page_seed = 1,
                         int64_t row_gap = 0) {
  CpuFixture cpu(threads);
  Problem memory(problem, data, page_seed, row_gap);
  const Status status = paged_attention::Run(cpu.Context(implementation), memory.args());
  EXPECT_TRUE(status.ok()) << status.message();
  return memory.out().Values();
}

TEST(PagedAttentionExactness, Threads) {
  for (const std::string_view name : Names()) {
    for (const Case& problem : ExactCases()) {
      const std::vector<SequenceData> data = MakeSequences(problem, kSeed);
      const std::vector<float> one = RunOn(1, name, problem, data);
      for (const int threads : {2, 3, 8}) {
        EXPECT_EQ(BitMismatch(RunOn(threads, name, problem, data), one), "")
            << name << " " << problem.name;
      }
    }
  }
}

TEST(PagedAttentionExactness, PageSizesPlacesAndStrides) {
  for (const std::string_view name : Names()) {
    for (const Case& problem : ExactCases()) {
      const std::vector<SequenceData> data = MakeSequences(problem, kSeed);
      const std::vector<float> expected = RunOn(2, name, problem, data);
      for (const int page_size : {1, 2, 8, 64, 256}) {
        Case other = problem;
        other.page_size = page_size;
        EXPECT_EQ(BitMismatch(RunOn(2, name, other, data, 9, 32), expected), "")
            << name << " " << problem.name << " page size " << page_size;
      }
    }
  }
}

TEST(PagedAttentionExactness, AloneOrInABatch) {
  for (const std::string_view name : Names()) {
    for (const Case& problem : ExactCases()) {
      const std::vector<SequenceData> data = MakeSequences(problem, kSeed);
      CpuFixture cpu(2);
      Problem together(problem, data, 1);
      ASSERT_TRUE(paged_attention::Run(cpu.Context(name), together.args()).ok());
      for (size_t b = 0; b < data.size(); ++b) {
        if (problem.rows[b] == 0) {
          continue;
        }
        Case alone = problem;
        alone.lengths = {problem.lengths[b]};
        alone.rows = {problem.rows[b]};
        EXPECT_EQ(BitMismatch(RunOn(3, name, alone, {data[b]}), together.OutputOf(b)), "")
            << name << " " << problem.name << " sequence " << b;
      }
    }
  }
}

// A prompt of `length` tokens in chunks of at most `chunk` rows. The tokens after a chunk are in
// the cache already, as after a preemption: no row may see them.
std::vector<float> RunInChunks(CpuFixture& cpu, std::string_view implementation, Problem& memory,
                               int32_t length, int32_t chunk) {
  for (int32_t begin = 0; begin < length; begin += chunk) {
    const int32_t end = std::min(length, begin + chunk);
    Args args = memory.args();
    const int32_t query_start[2] = {0, end - begin};
    args.query = args.query.Rows(begin, end);
    args.out = args.out.Rows(begin, end);
    args.sequences.query_start = query_start;
    args.sequences.kv_length = &end;
    const Status status = paged_attention::Run(cpu.Context(implementation), args);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return memory.out().Values();
}

TEST(PagedAttentionExactness, ChunksOfAPrompt) {
  constexpr int32_t kLength = 600;
  for (const std::string_view name : Names()) {
    for (Case problem : ExactCases()) {
      problem.lengths = {kLength};
      problem.rows = {kLength};
      Problem memory(problem, MakeSequences(problem, kSeed), 1);
      CpuFixture cpu(2);
      const std::vector<float> whole = RunInChunks(cpu, name, memory, kLength, kLength);
      for (const int32_t chunk : {1, 7, 64, 250}) {
        EXPECT_EQ(BitMismatch(RunInChunks(cpu, name, memory, kLength, chunk), whole), "")
            << name << " " << problem.name << " chunk " << chunk;
      }
    }
  }
}

// Keys and values after a row, or before its window, may be anything at all.
TEST(PagedAttentionExactness, UnseenKeysNeverMatter) {
  constexpr int32_t kLength = 200;
  for (const std::string_view name : Names()) {
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const int32_t row : {0, 70, 128}) {
        Case problem{.name = "poison",
                     .q_heads = 6,
                     .lengths = {kLength},
                     .rows = {kLength},
                     .window_left = 50};
        SequenceData data = MakeSequence(problem, kSeed, 0, kLength);
        const std::vector<float> clean = RunOn(2, name, problem, {data});
        const auto kv = static_cast<size_t>(problem.kv_heads * problem.head_dim);
        const size_t first = static_cast<size_t>(std::max(row - 50, 0));
        for (std::vector<float>* values : {&data.key, &data.value}) {
          std::fill(values->begin(), values->begin() + static_cast<int64_t>(first * kv), poison);
          std::fill(values->begin() + static_cast<int64_t>((static_cast<size_t>(row) + 1) * kv),
                    values->end(), poison);
        }
        const std::vector<float> poisoned = RunOn(2, name, problem, {data});
        const int64_t width = int64_t{problem.q_heads} * problem.head_dim;
        EXPECT_EQ(BitMismatch(std::span(poisoned).subspan(static_cast<size_t>(row * width),
                                                          static_cast<size_t>(width)),
                              std::span(clean).subspan(static_cast<size_t>(row * width),
                                                       static_cast<size_t>(width))),
                  "")
            << name << " row " << row;
      }
    }
  }
}

TEST(PagedAttentionExactness, Avx2HasTheBitsOfAvx512) {
  if (DetectCpuIsa() < CpuIsa::kAvx512) {
    GTEST_SKIP() << "this machine has no AVX-512";
  }
  for (const Case& problem : ConformanceCases()) {
    const std::vector<SequenceData> data = MakeSequences(problem, kSeed);
    EXPECT_EQ(BitMismatch(RunOn(2, "avx2", problem, data), RunOn(2, "avx512", problem, data)), "")
        << problem.name;
  }
}

// Random steps: every sequence of a random batch against the same sequence alone on one thread.
TEST(PagedAttentionExactness, RandomBatches) {
  const uint64_t seed = TestSeed();
  std::mt19937_64 rng(seed);
  const auto draw = [&rng](int32_t low, int32_t high) { return RandomInts(rng, 1, low, high)[0]; };
  for (int round = 0; round < 20; ++round) {
    Case problem{.name = "random", .lengths = {}, .rows = {}};
    problem.kv_heads = draw(1, 3);
    problem.q_heads = problem.kv_heads * draw(1, 6);
    problem.head_dim = 16 * draw(1, 9);
    problem.page_size = 1 << draw(0, 8);
    problem.window_left = draw(0, 2) == 0 ? draw(0, 700) : -1;
    for (int b = draw(1, 8); b > 0; --b) {
      problem.lengths.push_back(draw(0, 900));
      problem.rows.push_back(std::min(problem.lengths.back(), draw(0, 1) == 0 ? 1 : draw(0, 200)));
    }
    const std::vector<SequenceData> data = MakeSequences(problem, seed);
    CpuFixture cpu(draw(1, 4));
    Problem together(problem, data, seed);
    ASSERT_TRUE(paged_attention::Run(cpu.Context(), together.args()).ok());
    for (size_t b = 0; b < data.size(); ++b) {
      Case alone = problem;
      alone.page_size = 1 << draw(0, 8);
      alone.lengths = {problem.lengths[b]};
      alone.rows = {problem.rows[b]};
      if (alone.rows[0] > 0) {
        EXPECT_EQ(BitMismatch(RunOn(1, "", alone, {data[b]}), together.OutputOf(b)), "")
            << "round " << round;
      }
    }
  }
}

}  // namespace

}  // namespace quire::ops::paged_attention
