#include "ops/gather_last_rows/gather_last_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/fixture_file.h"
#include "ops/gather_last_rows/gather_last_rows_cases.h"
#include "ops/row_conformance.h"

namespace quire::ops::gather_last_rows {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class GatherLastRowsConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, GatherLastRowsConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(GatherLastRowsConformance, AgreesWithTheReference) {
  ExpectAgreement({});
}

class GatherLastRowsExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, GatherLastRowsExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(GatherLastRowsExactness, ARowAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}

TEST(GatherLastRowsValueTest, TakesRowsAndTheLastOfSequences) {
  CpuFixture cpu(1);
  std::vector<float> x = {0, 1, 10, 11, 20, 21, 30, 31};
  std::vector<int32_t> rows = {3, 0, 3};
  std::vector<int32_t> query_start = {0, 1, 3, 4};
  std::vector<float> out(6);
  const TensorView from(x.data(), DType::kF32, {4, 2});
  const TensorView to(out.data(), DType::kF32, {3, 2});
  const Args by_row = {.x = from, .rows = {rows.data(), DType::kI32, {3}}, .out = to};
  const Args by_sequence = {
      .x = from, .query_start = {query_start.data(), DType::kI32, {4}}, .out = to};
  ForEachImplementation(cpu, All(), by_row, [&](const OpContext& context) {
    ASSERT_TRUE(gather_last_rows::Run(context, by_row).ok());
    EXPECT_THAT(out, testing::ElementsAre(30, 31, 0, 1, 30, 31)) << context.implementation;
    ASSERT_TRUE(gather_last_rows::Run(context, by_sequence).ok());
    EXPECT_THAT(out, testing::ElementsAre(0, 1, 20, 21, 30, 31)) << context.implementation;
  });
}

std::string ErrorOf(bool sequences, const std::function<void(Args&)>& change) {
  return ErrorAfter<Problem>(Case{.tokens = 6, .rows = 3, .elements = 8, .sequences = sequences},
                             change);
}

TEST(GatherLastRowsErrorTest, NamesTheWrongRowOrSequence) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf(false, [](Args& args) { args.rows.as<int32_t>()[1] = 6; }),
              StartsWith("invalid_argument: gather_last_rows: row 6 for row 1 of out is outside"));
  EXPECT_THAT(ErrorOf(false, [](Args& args) { args.rows.as<int32_t>()[2] = -1; }),
              StartsWith("invalid_argument: gather_last_rows: row -1 for row 2 of out"));
  EXPECT_THAT(ErrorOf(true,
                      [](Args& args) {
                        auto* start = args.query_start.as<int32_t>();
                        start[1] = start[2] = 4;
                      }),
              StartsWith("invalid_argument: gather_last_rows: sequence 1 has the rows 4 .. 4"));
  EXPECT_THAT(ErrorOf(true, [](Args& args) { args.query_start.as<int32_t>()[3] = 7; }),
              StartsWith("invalid_argument: gather_last_rows: row 6 for row 2 of out is outside"));
}

TEST(GatherLastRowsErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf(true, [](Args& args) { args.rows = args.query_start; }),
              StartsWith("invalid_argument: gather_last_rows: both of rows and query_start are"));
  EXPECT_THAT(ErrorOf(false, [](Args& args) { args.rows = {}; }),
              StartsWith("invalid_argument: gather_last_rows: neither of rows and query_start"));
  EXPECT_THAT(ErrorOf(false, [](Args& args) { args.out = args.out.Rows(0, 2); }),
              StartsWith("invalid_argument: gather_last_rows: rows has 3 elements for 2 rows"));
  EXPECT_THAT(ErrorOf(true, [](Args& args) { args.out = args.out.Columns(0, 4); }),
              StartsWith("invalid_argument: gather_last_rows: x is f32 [6, 8]"));
  EXPECT_THAT(ErrorOf(false, [](Args& args) { args.rows = args.x; }),
              StartsWith("invalid_argument: gather_last_rows: rows is f32 [6, 8]"));
}

TEST(GatherLastRowsFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("gather_last_rows")) {
    SCOPED_TRACE(c.name());
    const bool by_row = c.has("rows");
    TypedArray x = c.array("x").array();
    TypedArray out(x.dtype(), c.array("out").shape());
    std::vector<int32_t> index = c.array(by_row ? "rows" : "query_start").integers<int32_t>();
    const TensorView view(index.data(), DType::kI32, {static_cast<int64_t>(index.size())});
    const Args args = {.x = x.View(),
                       .rows = by_row ? view : TensorView(),
                       .query_start = by_row ? TensorView() : view,
                       .out = out.View()};
    ASSERT_TRUE(gather_last_rows::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(BitMismatch(out.Values(), c.array("out").floats()), "");
  }
}

}  // namespace
}  // namespace quire::ops::gather_last_rows
