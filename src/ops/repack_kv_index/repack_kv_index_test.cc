#include "ops/repack_kv_index/repack_kv_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/fixture_file.h"
#include "ops/platform_conformance.h"
#include "ops/repack_kv_index/blocks.h"
#include "ops/repack_kv_index/repack_kv_index_cases.h"

namespace quire::ops::repack_kv_index {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class RepackKvIndexConformance : public ConformanceTest<Case> {
 protected:
  const uint64_t seed_ = TestSeed();
  const Case case_ = Drawn(GetParam().problem, seed_);
};

INSTANTIATE_TEST_SUITE_P(All, RepackKvIndexConformance,
                         testing::ValuesIn(ConformanceParams(
                             page_table_copy::ConformanceCases(kBlockPages), ImplementationsOf)),
                         ConformanceName());

// With no room to spare (what is beyond is guarded) and with some, which stays as it was.
TEST_P(RepackKvIndexConformance, WritesTheRowsOfTheReference) {
  for (const int64_t spare : {0, 5}) {
    Problem expected(case_, seed_, spare);
    ASSERT_TRUE(repack_kv_index::Run(Reference(), expected.args).ok());
    Problem problem(case_, seed_, spare);
    if (!Accepts(ImplementationsOf, problem.args)) {
      GTEST_SKIP();
    }
    const Status status = RunOnDevice(Context(), problem.args);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(problem.indptr.Values(), expected.indptr.Values());
    EXPECT_EQ(problem.indices.Values(), expected.indices.Values());
    EXPECT_EQ(problem.last_page_len.Values(), expected.last_page_len.Values());
    EXPECT_EQ(problem.indptr.Damage() + problem.indices.Damage() + problem.last_page_len.Damage(),
              "");
    const std::vector<int32_t> indices = problem.indices.Values();
    for (int64_t i = 0; i < static_cast<int64_t>(indices.size()); ++i) {
      const bool written = i < Problem::PagesOf(case_);
      ASSERT_EQ(indices[static_cast<size_t>(i)] == -1, !written) << i;  // arrays start as -1
      ASSERT_NE(indices[static_cast<size_t>(i)], Requests::kNoPage) << i;
    }
  }
}

TEST(RepackKvIndex, CountsPagesAndNotTokens) {
  CpuFixture cpu(1);
  std::vector<int32_t> request_pages = {70, 71, 72, 80, 81, 82, 90, 91, 92};
  std::vector<int32_t> ids = {2, 0, 2, 1, 0};
  std::vector<int32_t> lengths = {4, 5, 0, 12, 3};
  std::vector<int32_t> indptr(6);
  std::vector<int32_t> indices(9, 7);
  std::vector<int32_t> last(5);
  const Args args = {.request_pages = {request_pages.data(), DType::kI32, {3, 3}},
                     .request_ids = {ids.data(), DType::kI32, {5}},
                     .kv_length = {lengths.data(), DType::kI32, {5}},
                     .page_size = 4,
                     .indptr = {indptr.data(), DType::kI32, {6}},
                     .indices = {indices.data(), DType::kI32, {9}},
                     .last_page_len = {last.data(), DType::kI32, {5}}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(repack_kv_index::Run(context, args).ok());
    EXPECT_THAT(indptr, ElementsAre(0, 1, 3, 3, 6, 7)) << context.implementation;
    EXPECT_THAT(indices, ElementsAre(90, 70, 71, 80, 81, 82, 70, 7, 7));
    EXPECT_THAT(last, ElementsAre(4, 1, 0, 4, 3));
  });
}

// The message of the error that `change` to a valid problem causes; nothing is written.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  Problem problem({.page_size = 4, .lengths = {0, 9, 16}, .max_length = 16}, 1, 0);
  change(problem);
  const Status status = repack_kv_index::Run(cpu.Context(), problem.args);
  EXPECT_EQ(problem.indptr.Values(), std::vector<int32_t>(4, -1));
  EXPECT_EQ(problem.indices.Values(), std::vector<int32_t>(7, -1));
  EXPECT_EQ(problem.last_page_len.Values(), std::vector<int32_t>(3, -1));
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(RepackKvIndex, NamesWhatIsWrong) {
  const auto expect_invalid = [](std::string_view words, const auto& change) {
    EXPECT_THAT(ErrorOf(change), HasSubstr(StrCat("invalid_argument: repack_kv_index: ", words)));
  };
  expect_invalid("the sequences have 7 pages; indices has room for 6",
                 [](Problem& problem) { problem.args.indices = problem.args.indices.Rows(0, 6); });
  expect_invalid("sequence 1 is request 6; the table has requests 0 to 5",
                 [](Problem& problem) { problem.requests.ids()[1] = 6; });
  expect_invalid("sequence 1 has 17 tokens, 5 pages of 4; request_pages has room for 0 to 4",
                 [](Problem& problem) { problem.requests.lengths()[1] = 17; });
  expect_invalid("sequence 0 has -3 tokens",
                 [](Problem& problem) { problem.requests.lengths()[0] = -3; });
  expect_invalid("indptr is i32 [3] on cpu:0; it must be contiguous i32 [4]",
                 [](Problem& problem) { problem.args.indptr = problem.args.indptr.Rows(0, 3); });
  expect_invalid("last_page_len is i32 [2]", [](Problem& problem) {
    problem.args.last_page_len = problem.args.last_page_len.Rows(0, 2);
  });
  expect_invalid("indices is f32 [7]", [](Problem& problem) {
    problem.args.indices = {problem.args.indices.data(), DType::kF32, {7}};
  });
  expect_invalid("page size 0 is not a power of two",
                 [](Problem& problem) { problem.args.page_size = 0; });
}

TEST(RepackKvIndexFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& fixture : LoadFixture("repack_kv_index")) {
    SCOPED_TRACE(fixture.name());
    const FixtureArray table = fixture.array("request_pages");
    std::vector<int32_t> pages = table.integers<int32_t>();
    std::vector<int32_t> ids = fixture.array("request_ids").integers<int32_t>();
    std::vector<int32_t> lengths = fixture.array("kv_length").integers<int32_t>();
    std::vector<int32_t> indptr(ids.size() + 1);
    std::vector<int32_t> indices(fixture.array("indices").values.size());
    std::vector<int32_t> last(ids.size());
    const auto batch = static_cast<int64_t>(ids.size());
    const Args args = {
        .request_pages = {pages.data(), DType::kI32, table.shape()},
        .request_ids = {ids.data(), DType::kI32, {batch}},
        .kv_length = {lengths.data(), DType::kI32, {batch}},
        .page_size = fixture.integer("page_size"),
        .indptr = {indptr.data(), DType::kI32, {batch + 1}},
        .indices = {indices.data(), DType::kI32, {static_cast<int64_t>(indices.size())}},
        .last_page_len = {last.data(), DType::kI32, {batch}}};
    ASSERT_TRUE(repack_kv_index::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(indptr, fixture.array("indptr").integers<int32_t>());
    EXPECT_EQ(indices, fixture.array("indices").integers<int32_t>());
    EXPECT_EQ(last, fixture.array("last_page_len").integers<int32_t>());
  }
}

}  // namespace
}  // namespace quire::ops::repack_kv_index
