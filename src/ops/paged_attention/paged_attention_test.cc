#include "ops/paged_attention/paged_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ops/attention/attention_conformance.h"
#include "ops/flash_attention/flash_attention_cases.h"
#include "ops/paged_attention/paged_attention_cases.h"

namespace quire::ops::paged_attention {

namespace {

using attention::Memory;
using attention::RunOn;
using attention::SequenceData;

constexpr uint64_t kSeed = 20;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class PagedAttentionConformance : public testing::TestWithParam<ConformanceParam<Case>> {};

INSTANTIATE_TEST_SUITE_P(All, PagedAttentionConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(PagedAttentionConformance, AgreesWithTheReference) {
  attention::ExpectAgreement(GetParam(), ImplementationsOf, ArgsOf);
}

std::vector<Case> ExactCases() {
  std::vector<Case> cases = {DecodeCase("decode"), attention::VerifyCase("verify"),
                             attention::VerifyCase("fp8")};
  cases[1].query_dtype = DType::kBF16;
  cases[1].sinks = true;
  cases[2].dtype = DType::kF8E4M3;
  cases[2].scaling = KvScaling::kPerTensor;
  cases[2].q_heads = 14;
  return cases;
}

TEST(PagedAttentionExactness, ThreadsCompanyAndPages) {
  for (const std::string_view name : attention::ExactNames(All())) {
    for (const Case& c : ExactCases()) {
      attention::ExpectExactInAnyCompany(name, c, ArgsOf);
      attention::ExpectExactAnywhere(name, c, ArgsOf);
    }
  }
}

TEST(PagedAttentionExactness, HasTheBitsOfFlashAttention) {
  for (const std::string_view name : attention::ExactNames(All())) {
    for (const Case& c : ExactCases()) {
      const std::vector<SequenceData> data = attention::MakeSequences(c, kSeed);
      EXPECT_EQ(BitMismatch(RunOn(3, name, c, data, ArgsOf),
                            RunOn(2, name, c, data, flash_attention::ArgsOf, 7)),
                "")
          << name << " " << c.name;
    }
  }
}

// A row that verifies a draft is the row that decodes the same token later.
TEST(PagedAttentionExactness, VerificationRowsAreDecodeRows) {
  const Case c = {
      .name = "verify", .kind = attention::Kind::kDecode, .lengths = {270}, .rows = {16}};
  const std::vector<SequenceData> data = attention::MakeSequences(c, kSeed);
  for (const std::string_view name : attention::ExactNames(All())) {
    CpuFixture cpu(2);
    Memory together(c, data);
    ASSERT_TRUE(paged_attention::Run(cpu.Context(name), ArgsOf(c, together)).ok());
    Memory alone(c, data);
    for (int32_t row = 0; row < 16; ++row) {
      int32_t length = 255 + row;
      Args args = ArgsOf(c, alone);
      args.query_start = TensorView();
      args.query = args.query.Rows(row, row + 1);
      args.out = args.out.Rows(row, row + 1);
      args.lse = args.lse.Rows(row, row + 1);
      args.kv_length = {&length, DType::kI32, {1}};
      ASSERT_TRUE(paged_attention::Run(cpu.Context(name), args).ok());
    }
    EXPECT_EQ(BitMismatch(alone.Result(), together.Result()), "") << name;
  }
}

TEST(PagedAttention, NoKeysGiveZeros) {
  const Case c = {.name = "none", .kind = attention::Kind::kDecode, .lengths = {0}, .rows = {1}};
  CpuFixture cpu(2);
  Memory memory(c, attention::MakeSequences(c, kSeed));
  ForEachImplementation(cpu, All(), ArgsOf(c, memory), [&](const OpContext& context) {
    memory.Spoil();
    ASSERT_TRUE(paged_attention::Run(context, ArgsOf(c, memory)).ok());
    EXPECT_THAT(memory.Out(), testing::Each(0.0f)) << context.implementation;
    EXPECT_THAT(memory.Lse(), testing::Each(-std::numeric_limits<float>::infinity()))
        << context.implementation;
  });
}

TEST(PagedAttention, NoSequencesIsNoWork) {
  const Case c = {.name = "none", .kind = attention::Kind::kDecode, .lengths = {}, .rows = {}};
  CpuFixture cpu(2);
  Memory memory(c, {});
  EXPECT_TRUE(paged_attention::Run(cpu.Context(), ArgsOf(c, memory)).ok());
}

class PagedAttentionErrors : public testing::Test {
 protected:
  PagedAttentionErrors() : memory_(case_, attention::MakeSequences(case_, kSeed)) {}

  template <typename Change>
  void ExpectInvalid(const Change& change, std::string_view words) {
    Args args = ArgsOf(case_, memory_);
    change(args);
    const Status status = paged_attention::Run(cpu_.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::StartsWith(StrCat("paged_attention: ", words)));
  }

  const Case case_ = attention::VerifyCase("errors");
  Memory memory_;
  CpuFixture cpu_{1};
};

TEST_F(PagedAttentionErrors, Rows) {
  std::vector<int32_t> starts = {0, 1, 18, 21, 21, 24, 26, 31};
  ExpectInvalid([&](Args& args) { args.query_start = {starts.data(), DType::kI32, {8}}; },
                "sequence 1 has 17 query rows, more than 16; use flash_attention");
  ExpectInvalid([](Args& args) { args.query_start = TensorView(); },
                "31 query rows for 7 sequences; without query_start each has one");
  ExpectInvalid([](Args& args) { args.query_start = args.query_start.Rows(0, 7); },
                "query_start is i32 [7] on cpu:0; it must be contiguous i32 [8]");
  ExpectInvalid([](Args& args) { args.query = args.query.Columns(0, 32); },
                "query has head dim 32, the keys 64");
  ExpectInvalid([](Args& args) { args.lse = args.lse.Rows(0, 1); }, "lse is f32 [1, 4]");
  ExpectInvalid([](Args& args) { args.window_left = -3; }, "the window (-3, 0) is negative");
}

TEST_F(PagedAttentionErrors, Pages) {
  memory_.pages()[0] = 1000;
  ExpectInvalid([](Args&) {}, "page 0 of sequence 0 is 1000; the cache has");
  memory_.pages()[0] = 0;
  ExpectInvalid([](Args& args) { args.page_table = args.page_table.Columns(0, 2); },
                "page_table is i32 [7, 2] on cpu:0; it must be contiguous");
  ExpectInvalid([](Args& args) { args.cache.page_size = 8; },
                "page 5 of sequence 0 is -1; the cache has 123 pages");
  ExpectInvalid([](Args& args) { args.cache.page_size = 3; }, "page size 3 is not a power of two");
}

TEST_F(PagedAttentionErrors, HostMirrors) {
  const auto mirrored = [](Args& args) {
    args.page_table_host = args.page_table;
    args.kv_length_host = args.kv_length;
  };
  Args args = ArgsOf(case_, memory_);
  mirrored(args);
  EXPECT_TRUE(paged_attention::Run(cpu_.Context(), args).ok());
  ExpectInvalid(
      [&](Args& wrong) {
        mirrored(wrong);
        wrong.page_table_host = wrong.page_table_host.Rows(0, 2);
      },
      "page_table_host is i32 [2, 33] on cpu:0; it must be contiguous i32 [7, 33] on the host");
  ExpectInvalid([](Args& wrong) { wrong.kv_length_host = wrong.lse; },
                "kv_length_host is f32 [31, 4]");
}

TEST_F(PagedAttentionErrors, UnknownImplementation) {
  EXPECT_EQ(paged_attention::Run(cpu_.Context("fastest"), ArgsOf(case_, memory_)).code(),
            StatusCode::kNotFound);
}

}  // namespace

}  // namespace quire::ops::paged_attention
