#include "ops/flash_attention/flash_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ops/attention/attention_conformance.h"
#include "ops/flash_attention/flash_attention_cases.h"

namespace quire::ops::flash_attention {

namespace {

using attention::Memory;
using attention::SequenceData;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class FlashAttentionConformance : public testing::TestWithParam<ConformanceParam<Case>> {};

INSTANTIATE_TEST_SUITE_P(All, FlashAttentionConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(FlashAttentionConformance, AgreesWithTheReference) {
  attention::ExpectAgreement(GetParam(), ImplementationsOf, ArgsOf);
}

// One row over two keys of 16 elements whose scores are ln 3 and 0.
class FlashAttentionValues : public testing::Test {
 protected:
  FlashAttentionValues()
      : case_{.name = "hand",
              .q_heads = 1,
              .kv_heads = 1,
              .key_dim = 16,
              .value_dim = 16,
              .page_size = 0,
              .dtype = DType::kF32,
              .lengths = {2},
              .rows = {1}},
        cpu_(1) {
    data_.query.assign(16, 0.0f);
    data_.key.assign(32, 0.0f);
    data_.query[0] = 4.0f * std::log(3.0f);  // the scale is 1 / 4
    data_.key[0] = 1.0f;
    data_.value.assign(16, 8.0f);
    data_.value.resize(32, -4.0f);
  }

  // The output and the log-sum-exp that every implementation must give.
  void ExpectResult(float out, float lse) {
    Memory memory(case_, {data_});
    std::vector<float> expected(16, out);
    expected.push_back(lse);
    ForEachImplementation(cpu_, All(), ArgsOf(case_, memory), [&](const OpContext& context) {
      memory.Spoil();
      ASSERT_TRUE(flash_attention::Run(context, ArgsOf(case_, memory)).ok());
      EXPECT_EQ(Mismatch(memory.ResultOf(0), expected, {1e-6, 1e-6}), "") << context.implementation;
    });
  }

  Case case_;
  SequenceData data_;
  CpuFixture cpu_;
};

TEST_F(FlashAttentionValues, WeighsValuesByTheSoftmaxOfScores) {
  ExpectResult((3 * 8.0f - 4.0f) / 4, std::log(4.0f));
}

// The sinks of a case are -1, -0.6, ...: e^-1 joins the denominator.
TEST_F(FlashAttentionValues, ASinkTakesWeightButHasNoValue) {
  case_.sinks = true;
  const float sink = std::exp(-1.0f);
  ExpectResult((3 * 8.0f - 4.0f) / (4 + sink), std::log(4 + sink));
}

TEST_F(FlashAttentionValues, TheWindowLeavesTheLastKey) {
  case_.window_left = 0;
  ExpectResult(-4.0f, 0.0f);
}

TEST_F(FlashAttentionValues, TheSoftCapBendsScores) {
  case_.logit_soft_cap = 0.5f;
  const float weight = std::exp(0.5f * std::tanh(std::log(3.0f) / 0.5f));
  ExpectResult((weight * 8.0f - 4.0f) / (weight + 1), std::log(weight + 1));
}

// Every key counts alike and stands for itself, however long the sequence: the mean of all values.
TEST_F(FlashAttentionValues, NoKeyIsTooOldOrTooFar) {
  for (const int32_t length : {2047, 2049, 5000}) {
    case_.lengths = {length};
    data_.query.assign(16, 0.0f);
    data_.key.assign(static_cast<size_t>(length) * 16, 0.0f);
    data_.value.assign(data_.key.size(), 0.0f);
    std::fill(data_.value.end() - 16, data_.value.end(), static_cast<float>(length));
    std::fill(data_.value.begin(), data_.value.begin() + 16, 2.0f * static_cast<float>(length));
    ExpectResult(3.0f, std::log(static_cast<float>(length)));
  }
}

// Three rows for two keys: the first has position -1 and sees nothing.
TEST_F(FlashAttentionValues, ARowThatSeesNothing) {
  case_.rows = {3};
  case_.sinks = true;
  data_.query.resize(48, 0.0f);
  CpuFixture cpu(1);
  Memory memory(case_, {data_});
  ForEachImplementation(cpu, All(), ArgsOf(case_, memory), [&](const OpContext& context) {
    memory.Spoil();
    ASSERT_TRUE(flash_attention::Run(context, ArgsOf(case_, memory)).ok());
    const std::vector<float> result = memory.ResultOf(0);
    for (size_t d = 0; d < 16; ++d) {
      EXPECT_EQ(result[d], 0.0f) << context.implementation;
      EXPECT_NE(result[16 + d], 0.0f) << context.implementation;
    }
    EXPECT_EQ(result[48], -kInfinity) << context.implementation;
    EXPECT_GT(result[49], 0.0f) << context.implementation;
  });
}

TEST(FlashAttention, RowsOfNoSequenceStay) {
  const Case c = attention::MixedCase("rows");
  CpuFixture cpu(2);
  Memory memory(c, attention::MakeSequences(c, 1));
  memory.Spoil();
  Args args = ArgsOf(c, memory);
  args.query_start = args.query_start.Rows(0, 3);  // rows 34 and later belong to nobody
  args.page_table = args.page_table.Rows(0, 2);
  args.kv_length = args.kv_length.Rows(0, 2);
  ASSERT_TRUE(flash_attention::Run(cpu.Context(), args).ok());
  const std::vector<float> out = memory.Out();
  const auto used = int64_t{34} * c.q_heads * c.value_dim;
  EXPECT_EQ(std::count(out.begin(), out.begin() + used, 42.0f), 0);
  EXPECT_EQ(std::count(out.begin() + used, out.end(), 42.0f),
            static_cast<int64_t>(out.size()) - used);
}

// A sliding window may have given the pages before it back.
TEST(FlashAttention, PagesBeforeTheWindowAreNotNeeded) {
  const Case c = {.name = "window", .lengths = {70}, .rows = {1}, .window_left = 20};
  CpuFixture cpu(1);
  Memory memory(c, attention::MakeSequences(c, 1));
  memory.pages()[0] = -1;
  ForEachImplementation(cpu, All(), ArgsOf(c, memory), [&](const OpContext& context) {
    EXPECT_TRUE(flash_attention::Run(context, ArgsOf(c, memory)).ok());
  });
}

class FlashAttentionErrors : public testing::Test {
 protected:
  FlashAttentionErrors()
      : memory_(case_, attention::MakeSequences(case_, 1)),
        rows_(in_rows_, attention::MakeSequences(in_rows_, 1)) {}

  // That a valid call fails after `change` with `words`.
  template <typename Change>
  void ExpectInvalid(const Change& change, std::string_view words) {
    ExpectRefused(ArgsOf(case_, memory_), change, words);
  }
  template <typename Change>
  void ExpectInvalidRows(const Change& change, std::string_view words) {
    ExpectRefused(ArgsOf(in_rows_, rows_), change, words);
  }
  template <typename Change>
  void ExpectRefused(Args args, const Change& change, std::string_view words) {
    change(args);
    const Status status = flash_attention::Run(cpu_.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::StartsWith(StrCat("flash_attention: ", words)));
  }

  const Case case_ = attention::MixedCase("errors");
  const Case in_rows_ = {.name = "rows", .page_size = 0, .lengths = {9, 5}, .rows = {2, 5}};
  Memory memory_;
  Memory rows_;
  CpuFixture cpu_{1};
};

TEST_F(FlashAttentionErrors, QueriesAndOutputs) {
  ExpectInvalid([](Args& args) { args.query = args.query.Columns(0, 32); },
                "query has head dim 32, the keys 64");
  ExpectInvalid([](Args& args) { args.cache.num_kv_heads = 3; },
                "4 query heads are not a multiple of 3 kv heads");
  ExpectInvalid([](Args& args) { args.query = args.lse; }, "query is f32 [59, 4]");
  ExpectInvalid([](Args& args) { args.out = args.out.Rows(0, 1); },
                "out is f32 [1, 4, 64] on cpu:0; it must be f32 [59, 4, 64]");
  ExpectInvalid([](Args& args) { args.out = {args.out.data(), DType::kF16, args.out.shape()}; },
                "out is f16 [59, 4, 64] on cpu:0; it must be f32 [59, 4, 64]");
  ExpectInvalid([](Args& args) { args.query_start = args.query_start.Rows(0, 3); },
                "query_start is i32 [3] on cpu:0; it must be contiguous i32 [7]");
  ExpectInvalid([](Args& args) { args.query_start = TensorView(); }, "query_start is");
}

// One number for each token and head: not one alone, and not one for each token.
TEST_F(FlashAttentionErrors, LogSumExpsAndSinks) {
  ExpectInvalid([](Args& args) { args.lse = {args.lse.data(), DType::kF32, {1}}; },
                "lse is f32 [1] on cpu:0; it must be contiguous f32 [59, 4]");
  ExpectInvalid([](Args& args) { args.lse = {args.lse.data(), DType::kF32, {4, 59}}; },
                "lse is f32 [4, 59]");
  ExpectInvalid([](Args& args) { args.lse = {args.lse.data(), DType::kF16, {59, 4}}; },
                "lse is f16 [59, 4]");
  ExpectInvalid([](Args& args) { args.sinks = args.lse; },
                "sinks is f32 [59, 4] on cpu:0; it must be contiguous f32 [4]");
}

TEST_F(FlashAttentionErrors, Masks) {
  ExpectInvalid([](Args& args) { args.window_left = -2; },
                "the window (-2, 0) is negative; use -1 for no limit");
  ExpectInvalid([](Args& args) { args.window_right = -7; }, "the window (-1, -7) is negative");
  ExpectInvalid([](Args& args) { args.logit_soft_cap = -1; }, "logit_soft_cap -1 is negative");
  ExpectInvalid([](Args& args) { args.sliding_window = 0; }, "sliding_window 0 is not positive");
  const auto windows = [](int32_t sliding, int32_t left, int32_t right, bool causal) {
    return [=](Args& args) {
      args.sliding_window = sliding;
      args.window_left = left;
      args.window_right = right;
      args.causal = causal;
    };
  };
  ExpectInvalid(windows(8, 8, 0, true),
                "sliding_window 8 means the window (7, 0), but the window given is (8, 0)");
  ExpectInvalid(windows(8, 7, 1, true), "sliding_window 8 means the window (7, 0)");
  ExpectInvalid(windows(8, 7, -1, false), "sliding_window 8 means the window (7, 0)");
  ExpectInvalid(windows(8, -1, 0, true), "sliding_window 8 means the window (7, 0)");
}

TEST_F(FlashAttentionErrors, Caches) {
  ExpectInvalid([](Args& args) { args.cache.page_size = 24; },
                "page size 24 is not a power of two");
  ExpectInvalid([](Args& args) { args.cache.dtype = DType::kQ8_0; },
                "a cache of q8_0 is not read; use f32, f16, bf16 or f8e4m3");
  ExpectInvalid([](Args& args) { args.cache.dtype = DType::kF8E4M3; },
                "a cache of f8e4m3 comes without scales");
  ExpectInvalid([](Args& args) { args.cache.scaling = KvScaling::kPerTensor; },
                "a cache of f16 comes with scales");
  ExpectInvalid([](Args& args) { args.cache.value_head_dim = 72; }, "out is f32 [59, 4, 64]");
  ExpectInvalid([](Args& args) { args.cache.v = nullptr; }, "the cache has no memory");
  ExpectInvalid([](Args& args) { args.cache.place = Place{PlatformKind::kCpu, 1}; },
                "the cache is on cpu:1, the stream on cpu:0");
  ExpectInvalid([](Args& args) { args.value = args.query; },
                "value and key_start are for keys one after another");
}

TEST_F(FlashAttentionErrors, HeadDims) {
  const Case c = {.name = "dims", .key_dim = 72, .value_dim = 72, .lengths = {1}, .rows = {1}};
  Memory memory(c, attention::MakeSequences(c, 1));
  EXPECT_THAT(flash_attention::Run(cpu_.Context(), ArgsOf(c, memory)).message(),
              testing::HasSubstr("head dim 72 of the keys is not a multiple of 16 up to 576"));
}

TEST_F(FlashAttentionErrors, PagesAndLengths) {
  memory_.pages()[0] = 1000;
  ExpectInvalid([](Args&) {}, "page 0 of sequence 0 is 1000; the cache has");
  memory_.pages()[0] = -1;
  ExpectInvalid([](Args&) {}, "page 0 of sequence 0 is -1");
  memory_.pages()[0] = 0;
  std::vector<int32_t> lengths = case_.lengths;
  const auto with_lengths = [&](Args& args) {
    args.kv_length = {lengths.data(), DType::kI32, {6}};
  };
  lengths[1] = 700;
  ExpectInvalid(with_lengths, "sequence 1 has 700 tokens, more than 19 pages of 16 hold");
  lengths[1] = -1;
  ExpectInvalid(with_lengths, "sequence 1 has -1 keys");
  ExpectInvalid([](Args& args) { args.kv_length = args.kv_length.Rows(0, 2); },
                "kv_length is i32 [2]");
  ExpectInvalid([](Args& args) { args.page_table = args.kv_length; }, "page_table is i32 [6]");
}

TEST_F(FlashAttentionErrors, KeysOneAfterAnother) {
  std::vector<int32_t> starts = {0, 9, 14};
  const auto with_starts = [&](int32_t first, int32_t second, int32_t third) {
    starts = {first, second, third};
    return [&](Args& args) { args.key_start = {starts.data(), DType::kI32, {3}}; };
  };
  ExpectInvalidRows([](Args& args) { args.value = args.value.Rows(0, 3); },
                    "value is f16 [3, 2, 64] on cpu:0, key f16 [20, 2, 64] on cpu:0; they must");
  ExpectInvalidRows([](Args& args) { args.key = args.key.Columns(0, 32); },
                    "query has head dim 64, the keys 32");
  ExpectInvalidRows(with_starts(0, 9, 21), "sequence 1 has the keys 9 to 21 of 20");
  ExpectInvalidRows(with_starts(-1, 9, 14), "sequence 0 has the keys -1 to 9 of 20");
  ExpectInvalidRows(with_starts(0, 9, 8), "sequence 1 has -1 keys");
  ExpectInvalidRows([](Args& args) { args.key_start = args.key_start.Rows(0, 2); },
                    "key_start is i32 [2] on cpu:0; it must be contiguous i32 [3]");
  ExpectInvalidRows([&](Args& args) { args.kv_length = args.key_start; },
                    "both key and pages of a cache are given; use one");
  ExpectInvalidRows(
      [&](Args& args) {
        starts = {0, 9, 14};
        args.query_start = {starts.data(), DType::kI32, {3}};
      },
      "sequence 1 has the query rows 9 to 14 of 13");
}

}  // namespace

}  // namespace quire::ops::flash_attention
