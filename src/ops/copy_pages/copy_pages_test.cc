#include "ops/copy_pages/copy_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/copy_pages/copy_pages_cases.h"
#include "ops/platform_conformance.h"

namespace quire::ops::copy_pages {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class CopyPagesConformance : public ConformanceTest<Case> {
 protected:
  const uint64_t seed_ = TestSeed();
  const Case case_ = Drawn(GetParam().problem, seed_);
};

INSTANTIATE_TEST_SUITE_P(All, CopyPagesConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(CopyPagesConformance, WritesTheBytesOfTheReference) {
  Problem problem(case_, seed_);
  if (!Accepts(ImplementationsOf, problem.args())) {
    GTEST_SKIP();
  }
  ASSERT_TRUE(copy_pages::Run(Reference(), problem.args()).ok());
  const std::vector<uint8_t> expected = problem.Destination();
  problem.Clear();
  const Status status = RunOnDevice(Context(), problem.args());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_TRUE(problem.Destination() == expected);
  EXPECT_EQ(problem.Damage(), "");
}

TEST(CopyPages, MovesThePagesOfThePairs) {
  CpuFixture cpu(1);
  std::vector<int32_t> source = {1, 2, 3, 4, 5, 6};
  std::vector<int32_t> destination(8);
  std::vector<int32_t> pairs = {2, 0, 0, 3, 2, 1};
  const Args args = {.source = {source.data(), DType::kI32, {3, 2}},
                     .destination = {destination.data(), DType::kI32, {4, 2}},
                     .pairs = {pairs.data(), DType::kI32, {3, 2}}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    destination.assign(8, -1);
    ASSERT_TRUE(copy_pages::Run(context, args).ok());
    EXPECT_THAT(destination, ElementsAre(5, 6, 5, 6, -1, -1, 1, 2)) << context.implementation;
  });
}

// Allocated once, not in the steady state.
TEST(CopyPages, ChecksItsPairsInTheWorkspace) {
  CpuFixture cpu(1);
  Problem problem({.pairs = 12}, 3);
  ASSERT_TRUE(copy_pages::Run(cpu.Context(), problem.args()).ok());
  const size_t capacity = cpu.workspace().capacity();
  EXPECT_GT(capacity, 0u);
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(copy_pages::Run(cpu.Context(), problem.args()).ok());
  }
  EXPECT_EQ(cpu.workspace().capacity(), capacity);
}

// The message of the error that `change` to a valid problem of pages {0, 1, ...} causes.
template <typename Change>
std::string ErrorOf(const Case& c, const Change& change) {
  CpuFixture cpu(1);
  Problem problem(c, 1);
  problem.pairs() = {0, 8, 1, 9, 2, 10};
  Args args = problem.args();
  change(problem, args);
  const Status status = copy_pages::Run(cpu.Context(), args);
  EXPECT_TRUE(problem.Destination() == problem.before());
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(CopyPages, NamesTheWrongPair) {
  const auto expect_invalid = [](bool within, std::string_view words, int at, int32_t page) {
    const Case c = {.page_elements = 8, .pairs = 3, .within = within};
    EXPECT_THAT(ErrorOf(c, [&](Problem& problem, Args&) { problem.pairs()[at] = page; }),
                HasSubstr(StrCat("invalid_argument: copy_pages: ", words)));
  };
  expect_invalid(false, "pair 1 copies page 9 of 9 to page 9 of 12", 2, 9);
  expect_invalid(false, "pair 1 copies page -1 of 9", 2, -1);
  expect_invalid(false, "pair 2 copies page 2 of 9 to page 12 of 12", 5, 12);
  expect_invalid(false, "pair 0 copies page 0 of 9 to page -5 of 12", 1, -5);
  expect_invalid(false, "pairs 0 and 2 both write page 8", 5, 8);
  expect_invalid(true, "pairs 0 and 2 both write page 8", 5, 8);
  expect_invalid(true, "pair 2 writes page 1, which pair 1 reads", 5, 1);
  expect_invalid(true, "pair 1 writes page 9, which pair 0 reads", 0, 9);
  expect_invalid(true, "pair 0 writes page 0, which pair 0 reads", 1, 0);
}

TEST(CopyPages, NamesTheWrongArray) {
  const auto expect_invalid = [](std::string_view words, const auto& change) {
    const Case c = {.page_elements = 8, .pairs = 3};
    EXPECT_THAT(ErrorOf(c, change), HasSubstr(StrCat("invalid_argument: copy_pages: ", words)));
  };
  expect_invalid(
      "source is f32 [9, 8] on cpu:0, destination f16 [12, 8] on cpu:0; their pages",
      [](Problem&, Args& args) { args.source = {args.source.data(), DType::kF32, {9, 8}}; });
  expect_invalid(
      "source is f16 [18, 4] on cpu:0, destination f16 [12, 8]",
      [](Problem&, Args& args) { args.source = {args.source.data(), DType::kF16, {18, 4}}; });
  expect_invalid("source is f16 [9, 4] on cpu:0; it must be contiguous",
                 [](Problem&, Args& args) { args.source = args.source.Columns(0, 4); });
  expect_invalid("pairs is i32 [2, 3]", [](Problem&, Args& args) {
    args.pairs = {args.pairs.data(), DType::kI32, {2, 3}};
  });
  expect_invalid("source and destination overlap",
                 [](Problem&, Args& args) { args.source = args.destination.Rows(2, 11); });
  expect_invalid(
      "source is q8_0 [9, 8] on cpu:0, pages of 8 elements; they must be whole blocks",
      [](Problem&, Args& args) { args.source = {args.source.data(), DType::kQ8_0, {9, 8}}; });
}

}  // namespace
}  // namespace quire::ops::copy_pages
