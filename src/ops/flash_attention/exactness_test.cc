// The promise of the operator, bit for bit: a row depends on its query, its position and the keys
// and values that it sees, and on nothing else.
#include <gtest/gtest.h>

#include <limits>

#include "ops/attention/attention_conformance.h"
#include "ops/flash_attention/flash_attention_cases.h"

namespace quire::ops::flash_attention {

namespace {

using attention::Memory;
using attention::RunOn;
using attention::SequenceData;

constexpr uint64_t kSeed = 3;

std::vector<std::string_view> Names() {
  return attention::ExactNames(ImplementationsOf(PlatformKind::kCpu));
}

// Sequences that reach every path: many and few rows, several ranges.
Case LongMixedCase(std::string name) {
  return {
      .name = std::move(name), .lengths = {70, 33, 600, 5, 530, 1}, .rows = {1, 33, 4, 0, 40, 1}};
}

// Cases that reach every path besides: windows, groups, types.
std::vector<Case> ExactCases() {
  std::vector<Case> cases;
  for (const std::string_view name : {"plain", "decode", "window", "bf16", "f32", "fp8", "open"}) {
    cases.push_back(LongMixedCase(std::string(name)));
  }
  cases[1] = attention::DecodeCase("decode");
  cases[2].window_left = 77;
  cases[2].query_dtype = DType::kF16;
  cases[3].key_dim = 80;
  cases[3].value_dim = 48;
  cases[3].q_heads = 10;
  cases[3].dtype = DType::kBF16;
  cases[3].query_dtype = DType::kBF16;
  cases[3].logit_soft_cap = 5.0f;
  cases[4].q_heads = 9;
  cases[4].kv_heads = 3;
  cases[4].dtype = DType::kF32;
  cases[4].window_left = 300;
  cases[4].sinks = true;
  cases[5].dtype = DType::kF8E4M3;
  cases[5].scaling = KvScaling::kPerTokenHead;
  cases[5].query_dtype = DType::kBF16;
  cases[6].causal = false;
  cases[6].window_right = 100;
  return cases;
}

TEST(FlashAttentionExactness, ThreadsAndCompany) {
  for (const std::string_view name : Names()) {
    for (const Case& c : ExactCases()) {
      attention::ExpectExactInAnyCompany(name, c, ArgsOf);
    }
  }
}

TEST(FlashAttentionExactness, PagesRowsAndStrides) {
  for (const std::string_view name : Names()) {
    for (const Case& c : ExactCases()) {
      attention::ExpectExactAnywhere(name, c, ArgsOf);
    }
  }
}

TEST(FlashAttentionExactness, Avx2HasTheBitsOfAvx512) {
  attention::ExpectAvx2HasTheBitsOfAvx512(ConformanceCases(), ArgsOf);
}

// A prompt of `length` tokens in chunks of at most `chunk` rows. The tokens after a chunk are in
// memory already, as after a preemption: no row may see them.
std::vector<float> RunInChunks(std::string_view name, const Case& c,
                               const std::vector<SequenceData>& data, int32_t chunk) {
  CpuFixture cpu(2);
  Memory memory(c, data);
  memory.Spoil();
  const int32_t length = c.lengths[0];
  const int32_t first = *memory.query_start().as<int32_t>();
  for (int32_t begin = 0; begin < length; begin += chunk) {
    const int32_t end = std::min(length, begin + chunk);
    Args args = ArgsOf(c, memory);
    int32_t query_start[2] = {0, end - begin};
    int32_t kv_length = end;
    args.query = args.query.Rows(first + begin, first + end);
    args.out = args.out.Rows(first + begin, first + end);
    args.lse = args.lse.Rows(first + begin, first + end);
    args.query_start = {query_start, DType::kI32, {2}};
    int32_t key_start[2] = {first, first + end};
    if (c.page_size > 0) {
      args.kv_length = {&kv_length, DType::kI32, {1}};
    } else {
      args.key_start = {key_start, DType::kI32, {2}};
    }
    const Status status = flash_attention::Run(cpu.Context(name), args);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return memory.ResultOf(0);
}

TEST(FlashAttentionExactness, ChunksOfAPrompt) {
  constexpr int32_t kLength = 400;
  for (const std::string_view name : Names()) {
    for (Case c : ExactCases()) {
      if (!c.causal) {
        continue;  // a row would see other keys
      }
      c.lengths = {kLength};
      c.rows = {kLength};
      const std::vector<SequenceData> data = attention::MakeSequences(c, kSeed);
      const std::vector<float> whole = RunInChunks(name, c, data, kLength);
      for (const int32_t chunk : {1, 7, 64, 250}) {
        c.page_size = chunk == 64 && c.scaling == KvScaling::kNone ? 0 : 16;
        EXPECT_EQ(BitMismatch(RunInChunks(name, c, data, chunk), whole), "")
            << name << " " << c.name << " chunk " << chunk;
      }
    }
  }
}

// Keys and values after a row, or before its window, may be anything at all.
TEST(FlashAttentionExactness, UnseenKeysNeverMatter) {
  constexpr int32_t kLength = 200;
  constexpr int32_t kWindow = 50;
  const Case c = {.name = "poison",
                  .q_heads = 6,
                  .lengths = {kLength},
                  .rows = {kLength},
                  .window_left = kWindow};
  const SequenceData clean_data = attention::MakeSequence(c, kSeed, 0);
  const auto token = int64_t{c.kv_heads} * c.key_dim;
  const int64_t width = int64_t{c.q_heads} * c.key_dim;
  for (const std::string_view name : Names()) {
    const std::vector<float> clean = RunOn(2, name, c, {clean_data}, ArgsOf);
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const int64_t row : {0, 70, 128}) {
        SequenceData data = clean_data;
        for (std::vector<float>* values : {&data.key, &data.value}) {
          std::fill(values->begin(), values->begin() + std::max<int64_t>(row - kWindow, 0) * token,
                    poison);
          std::fill(values->begin() + (row + 1) * token, values->end(), poison);
        }
        const std::vector<float> poisoned = RunOn(2, name, c, {data}, ArgsOf);
        const auto of_row = [&](const std::vector<float>& result) {
          return std::span(result).subspan(static_cast<size_t>(row * width),
                                           static_cast<size_t>(width));
        };
        EXPECT_EQ(BitMismatch(of_row(poisoned), of_row(clean)), "") << name << " row " << row;
      }
    }
  }
}

// The two spellings of a window, alone and together, and the pair of a call that is not causal.
TEST(FlashAttentionExactness, SlidingWindowIsTheWindowOfOneLess) {
  for (const std::string_view name : Names()) {
    for (const int32_t window : {1, 2, 64, 65, 400}) {
      Case c = LongMixedCase("window");
      c.window_left = window - 1;
      const std::vector<SequenceData> data = attention::MakeSequences(c, kSeed);
      const std::vector<float> expected = RunOn(2, name, c, data, ArgsOf);
      for (const bool causal : {true, false}) {
        for (const bool both : {true, false}) {
          const auto sliding = [&](const Case& of, Memory& memory) {
            Args args = ArgsOf(of, memory);
            args.causal = causal;
            args.sliding_window = window;
            args.window_left = both ? window - 1 : -1;
            args.window_right = both ? 0 : -1;
            return args;
          };
          EXPECT_EQ(BitMismatch(RunOn(2, name, c, data, sliding), expected), "")
              << name << " window " << window;
        }
      }
    }
  }
}

// The log-sum-exp is written beside the output and changes nothing.
TEST(FlashAttentionExactness, WithAndWithoutLogSumExp) {
  const Case c = LongMixedCase("lse");
  const std::vector<SequenceData> data = attention::MakeSequences(c, kSeed);
  const auto without = [](const Case& of, Memory& memory) {
    Args args = ArgsOf(of, memory);
    args.lse = TensorView();
    return args;
  };
  for (const std::string_view name : Names()) {
    const std::vector<float> with_lse = RunOn(2, name, c, data, ArgsOf);
    const std::vector<float> without_lse = RunOn(2, name, c, data, without);
    const auto outputs = with_lse.size() / 65 * 64;
    EXPECT_EQ(
        BitMismatch(std::span(without_lse).first(outputs), std::span(with_lse).first(outputs)), "");
    EXPECT_EQ(
        std::count(without_lse.begin() + static_cast<int64_t>(outputs), without_lse.end(), 42.0f),
        static_cast<int64_t>(with_lse.size() - outputs));
  }
}

// Random steps: every sequence of a random batch, wherever its keys lie, against the same sequence
// alone on one thread.
TEST(FlashAttentionExactness, RandomBatches) {
  const uint64_t seed = TestSeed();
  for (int round = 1; round <= 30; ++round) {
    const Case c = attention::DrawCase({.name = "random", .random = 1000 + round}, seed);
    const std::vector<SequenceData> data = attention::MakeSequences(c, seed);
    CpuFixture cpu(1 + round % 4);
    Memory together(c, data, seed);
    ASSERT_TRUE(flash_attention::Run(cpu.Context(), ArgsOf(c, together)).ok());
    for (size_t b = 0; b < data.size(); ++b) {
      Case alone = c;
      alone.page_size = c.page_size == 0 ? 64 : 1 << (round + static_cast<int>(b)) % 9;
      alone.lengths = {c.lengths[b]};
      alone.rows = {c.rows[b]};
      EXPECT_EQ(BitMismatch(RunOn(1, "", alone, {data[b]}, ArgsOf), together.ResultOf(b)), "")
          << "round " << round << " sequence " << b;
    }
  }
}

}  // namespace

}  // namespace quire::ops::flash_attention
