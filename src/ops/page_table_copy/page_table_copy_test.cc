#include "ops/page_table_copy/page_table_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/fixture_file.h"
#include "ops/page_table_copy/page_table_copy_cases.h"
#include "ops/platform_conformance.h"

namespace quire::ops::page_table_copy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kBlockPages = 1024;  // rows are one copy here; long ones nevertheless

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

// A case with the table that is written: `extra` pages wider than the longest sequence.
struct Problem {
  Problem(const Case& c, uint64_t seed, int64_t extra = 3)
      : requests(c, seed),
        out({requests.batch(), requests.width() - c.spare_pages + extra},
            requests.width() - c.spare_pages + extra + c.row_gap),
        args{.request_pages = requests.request_pages(),
             .request_ids = requests.request_ids(),
             .kv_length = requests.kv_length(),
             .page_size = c.page_size,
             .out = out.View(DType::kI32)} {}

  Requests requests;
  GuardedArray<int32_t> out;
  Args args;
};

class PageTableCopyConformance : public ConformanceTest<Case> {
 protected:
  const uint64_t seed_ = TestSeed();
  const Case case_ = Drawn(GetParam().problem, seed_);
};

INSTANTIATE_TEST_SUITE_P(All, PageTableCopyConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(kBlockPages),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(PageTableCopyConformance, WritesTheTableOfTheReference) {
  Problem expected(case_, seed_);
  ASSERT_TRUE(page_table_copy::Run(Reference(), expected.args).ok());
  Problem problem(case_, seed_);
  if (!Accepts(ImplementationsOf, problem.args)) {
    GTEST_SKIP();
  }
  const Status status = RunOnDevice(Context(), problem.args);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(problem.out.Values(), expected.out.Values());
  EXPECT_EQ(problem.out.Damage(), "");
  for (const int32_t page : problem.out.Values()) {
    ASSERT_NE(page, Requests::kNoPage);
  }
}

// A table exactly as wide as the longest sequence needs.
TEST(PageTableCopy, CountsPagesAndNotTokens) {
  CpuFixture cpu(1);
  std::vector<int32_t> request_pages = {70, 71, 72, 80, 81, 82, 90, 91, 92};
  std::vector<int32_t> ids = {2, 0, 2, 1};
  std::vector<int32_t> lengths = {4, 5, 0, 12};
  std::vector<int32_t> out(12);
  const Args args = {.request_pages = {request_pages.data(), DType::kI32, {3, 3}},
                     .request_ids = {ids.data(), DType::kI32, {4}},
                     .kv_length = {lengths.data(), DType::kI32, {4}},
                     .page_size = 4,
                     .out = {out.data(), DType::kI32, {4, 3}}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(page_table_copy::Run(context, args).ok());
    EXPECT_THAT(out, ElementsAre(90, -1, -1, 70, 71, -1, -1, -1, -1, 80, 81, 82))
        << context.implementation;
  });
}

// The message of the error that `change` to a valid problem causes; nothing is written.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  Problem problem({.page_size = 4, .lengths = {0, 9, 16}, .max_length = 16}, 1, 0);
  const std::vector<int32_t> before = problem.out.Values();
  change(problem);
  const Status status = page_table_copy::Run(cpu.Context(), problem.args);
  EXPECT_EQ(problem.out.Values(), before);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(PageTableCopy, NamesWhatIsWrong) {
  const auto expect_invalid = [](std::string_view words, const auto& change) {
    EXPECT_THAT(ErrorOf(change), HasSubstr(StrCat("invalid_argument: page_table_copy: ", words)));
  };
  expect_invalid("sequence 1 is request 6; the table has requests 0 to 5",
                 [](Problem& problem) { problem.requests.ids()[1] = 6; });
  expect_invalid("sequence 2 is request -1",
                 [](Problem& problem) { problem.requests.ids()[2] = -1; });
  expect_invalid("sequence 1 has 17 tokens, 5 pages of 4; request_pages has room for 0 to 4",
                 [](Problem& problem) { problem.requests.lengths()[1] = 17; });
  expect_invalid("sequence 1 has 2147483647 tokens, 536870912 pages",
                 [](Problem& problem) { problem.requests.lengths()[1] = INT32_MAX; });
  expect_invalid("sequence 0 has -1 tokens",
                 [](Problem& problem) { problem.requests.lengths()[0] = -1; });
  expect_invalid("sequence 2 has 16 tokens, 4 pages of 4; out has room for 3 pages",
                 [](Problem& problem) { problem.args.out = problem.args.out.Columns(0, 3); });
  expect_invalid("out is [2, 4] for 3 sequences",
                 [](Problem& problem) { problem.args.out = problem.args.out.Rows(0, 2); });
  expect_invalid("page size 5 is not a power of two",
                 [](Problem& problem) { problem.args.page_size = 5; });
  expect_invalid(
      "kv_length is i32 [2] on cpu:0; it must be contiguous i32 [3]",
      [](Problem& problem) { problem.args.kv_length = problem.args.kv_length.Rows(0, 2); });
  expect_invalid("request_ids is f32 [3]", [](Problem& problem) {
    problem.args.request_ids = {problem.args.request_ids.data(), DType::kF32, {3}};
  });
  expect_invalid("request_pages is i32 [3]",
                 [](Problem& problem) { problem.args.request_pages = problem.args.kv_length; });
}

TEST(PageTableCopyFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& fixture : LoadFixture("page_table_copy")) {
    SCOPED_TRACE(fixture.name());
    const FixtureArray table = fixture.array("request_pages");
    const FixtureArray expected = fixture.array("out");
    std::vector<int32_t> pages = table.integers<int32_t>();
    std::vector<int32_t> ids = fixture.array("request_ids").integers<int32_t>();
    std::vector<int32_t> lengths = fixture.array("kv_length").integers<int32_t>();
    std::vector<int32_t> out(expected.values.size());
    const auto batch = static_cast<int64_t>(ids.size());
    const Args args = {.request_pages = {pages.data(), DType::kI32, table.shape()},
                       .request_ids = {ids.data(), DType::kI32, {batch}},
                       .kv_length = {lengths.data(), DType::kI32, {batch}},
                       .page_size = fixture.integer("page_size"),
                       .out = {out.data(), DType::kI32, expected.shape()}};
    ASSERT_TRUE(page_table_copy::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(out, expected.integers<int32_t>());
  }
}

}  // namespace
}  // namespace quire::ops::page_table_copy
