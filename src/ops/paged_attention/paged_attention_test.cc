#include "ops/paged_attention/paged_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/paged_attention/paged_attention_cases.h"

namespace quire::ops::paged_attention {

namespace {

constexpr uint64_t kSeed = 20;

class PagedAttentionConformance : public testing::TestWithParam<Case> {};

TEST_P(PagedAttentionConformance, AgreesWithTheReference) {
  const std::vector<SequenceData> data = MakeSequences(GetParam(), kSeed);
  CpuFixture cpu(2);
  Problem expected(GetParam(), data, 1);
  ASSERT_TRUE(paged_attention::Run(cpu.Context("reference"), expected.args()).ok());
  Problem problem(GetParam(), data, 2, 16);
  const int count = ForEachImplementation(
      cpu, ImplementationsOf(PlatformKind::kCpu), problem.args(), [&](const OpContext& context) {
        SCOPED_TRACE(context.implementation);
        problem.out().Assign(std::vector<float>(expected.out().Values().size(), -1.0f));
        const Status status = paged_attention::Run(context, problem.args());
        ASSERT_TRUE(status.ok()) << status.message();
        EXPECT_EQ(Mismatch(problem.out().Values(), expected.out().Values(), GetParam().tolerance),
                  "");
        EXPECT_EQ(problem.out().Damage(), "");
      });
  EXPECT_EQ(count, static_cast<int>(AvailableIsas().size()) + 1);
}

INSTANTIATE_TEST_SUITE_P(Cases, PagedAttentionConformance, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });

// Two keys whose softmax is known by hand: scores ln 3 and 0 weigh the values 3 : 1.
TEST(PagedAttention, WeighsValuesByTheSoftmaxOfScores) {
  Case problem{.name = "hand",
               .q_heads = 1,
               .kv_heads = 1,
               .head_dim = 16,
               .page_size = 1,
               .dtype = DType::kF32,
               .lengths = {2},
               .rows = {1}};
  SequenceData data = MakeSequence(problem, kSeed, 0, 2);
  std::ranges::fill(data.query, 0.0f);
  std::ranges::fill(data.key, 0.0f);
  data.query[16] = 4.0f * std::log(3.0f);  // the scale is 1 / 4
  data.key[0] = 1.0f;
  for (size_t d = 0; d < 16; ++d) {
    data.value[d] = 8.0f;
    data.value[16 + d] = -4.0f;
  }
  CpuFixture cpu(1);
  Problem memory(problem, {data}, 1);
  ForEachImplementation(
      cpu, ImplementationsOf(PlatformKind::kCpu), memory.args(), [&](const OpContext& context) {
        ASSERT_TRUE(paged_attention::Run(context, memory.args()).ok());
        EXPECT_EQ(Mismatch(memory.out().Values(), std::vector<float>(16, 5.0f), {1e-6, 0}), "")
            << context.implementation;
      });
}

TEST(PagedAttention, RowsOfNoSequenceStay) {
  Case problem = MixedCase("rows");
  CpuFixture cpu(2);
  Problem memory(problem, MakeSequences(problem, kSeed), 1);
  memory.out().Assign(std::vector<float>(memory.out().Values().size(), 42.0f));
  Args args = memory.args();
  args.sequences.num_sequences = 2;  // rows 34 and later belong to nobody
  ASSERT_TRUE(paged_attention::Run(cpu.Context(), args).ok());
  const std::vector<float> out = memory.out().Values();
  const size_t used = size_t{34} * 4 * 64;
  EXPECT_EQ(std::count(out.begin(), out.begin() + used, 42.0f), 0);
  EXPECT_EQ(std::count(out.begin() + used, out.end(), 42.0f),
            static_cast<int64_t>(out.size() - used));
}

TEST(PagedAttention, NoSequencesIsNoWork) {
  Case problem{.name = "none", .lengths = {}, .rows = {}};
  CpuFixture cpu(2);
  Problem memory(problem, {}, 1);
  Args args = memory.args();
  float nothing = 0;
  args.query = TensorView(&nothing, DType::kF32, {0, 4, 64});
  args.out = args.query;
  EXPECT_TRUE(paged_attention::Run(cpu.Context(), args).ok());
}

class PagedAttentionErrors : public testing::Test {
 protected:
  PagedAttentionErrors()
      : problem_(MixedCase("errors")),
        memory_(problem_, MakeSequences(problem_, kSeed), 1),
        cpu_(1) {}

  void ExpectInvalid(const Args& args, std::string_view words) {
    const Status status = paged_attention::Run(cpu_.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::HasSubstr(std::string(words)));
  }

  const Case problem_;
  Problem memory_;
  CpuFixture cpu_;
};

TEST_F(PagedAttentionErrors, Shapes) {
  Args args = memory_.args();
  args.cache.head_dim = 128;
  ExpectInvalid(args, "query has head dim 64, the cache 128");
  args.cache.head_dim = 72;
  ExpectInvalid(args, "head dim 72 is not a multiple of 16");
  args = memory_.args();
  args.cache.num_kv_heads = 3;
  ExpectInvalid(args, "4 query heads are not a multiple of 3 kv heads");
  args = memory_.args();
  args.cache.page_size = 24;
  ExpectInvalid(args, "page size 24 is not a power of two");
  args = memory_.args();
  args.cache.dtype = DType::kQ8_0;
  ExpectInvalid(args, "a cache of q8_0 is not read");
  args = memory_.args();
  args.out = args.out.Rows(0, 1);
  ExpectInvalid(args, "out must be contiguous f32");
  args = memory_.args();
  args.window_left = -2;
  ExpectInvalid(args, "window_left -2");
  args = memory_.args();
  args.logit_soft_cap = -1.0f;
  ExpectInvalid(args, "logit_soft_cap -1");
}

TEST_F(PagedAttentionErrors, PagesAndLengths) {
  memory_.page_table()[0] = 1000;
  ExpectInvalid(memory_.args(), "page 0 of sequence 0 is 1000; the cache has");
  memory_.page_table()[0] = -1;
  ExpectInvalid(memory_.args(), "page 0 of sequence 0 is -1");
  memory_.page_table()[0] = 0;
  Args args = memory_.args();
  std::vector<int32_t> lengths = problem_.lengths;
  lengths[1] = 32;
  args.sequences.kv_length = lengths.data();
  ExpectInvalid(args, "sequence 1 has 33 query rows but 32 tokens in the cache");
  lengths[1] = 700;
  ExpectInvalid(args, "sequence 1 has 700 tokens, more than 38 pages of 16 hold");
}

// A sliding window may have given the pages before it back.
TEST_F(PagedAttentionErrors, PagesBeforeTheWindowAreNotNeeded) {
  Args args = memory_.args();
  args.window_left = 20;
  args.sequences.num_sequences = 1;
  memory_.page_table()[0] = -1;
  EXPECT_TRUE(paged_attention::Run(cpu_.Context(), args).ok());
}

TEST_F(PagedAttentionErrors, UnknownImplementation) {
  EXPECT_EQ(paged_attention::Run(cpu_.Context("fastest"), memory_.args()).code(),
            StatusCode::kNotFound);
}

}  // namespace

}  // namespace quire::ops::paged_attention
