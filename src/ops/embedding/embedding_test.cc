#include "ops/embedding/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/embedding/embedding_cases.h"
#include "ops/fixture_file.h"
#include "ops/row_conformance.h"

namespace quire::ops::embedding {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class EmbeddingConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, EmbeddingConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(EmbeddingConformance, AgreesWithTheReference) {
  ExpectAgreement(GetParam().problem.tolerance());
}

class EmbeddingExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, EmbeddingExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(EmbeddingExactness, EveryWidthAndThreadCountGivesTheSameBits) {
  ExpectTheSameOnEveryWidthAndThreadCount();
}
TEST_P(EmbeddingExactness, ATokenAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}

TEST(EmbeddingValueTest, ScalesStridedRows) {
  CpuFixture cpu(1);
  std::vector<float> table = {1, 2, -1, 3, 4, -1, 5, 6, -1};  // rows of two, three apart
  const std::vector<int32_t> tokens = {2, 0, 2};
  std::vector<float> out(6);
  const Args args = {.tokens = tokens,
                     .table = {table.data(), DType::kF32, {3, 2}, {3, 1}},
                     .out = {out.data(), DType::kF32, {3, 2}},
                     .scale = 10.0f};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(embedding::Run(context, args).ok());
    EXPECT_THAT(out, testing::ElementsAre(50, 60, 10, 20, 50, 60)) << context.implementation;
  });
}

std::string ErrorOf(const std::function<void(Problem&)>& change) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem({.table = DType::kQ8_0, .tokens = 3, .vocabulary = 10, .elements = 64}, rng);
  change(problem);
  const Status status = Run(cpu.Context(), problem.args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(EmbeddingErrorTest, NamesATokenOutsideTheTable) {
  using testing::StartsWith;
  EXPECT_THAT(
      ErrorOf([](Problem& problem) { problem.token_ids()[2] = 10; }),
      StartsWith(
          "invalid_argument: embedding: token id 10 of row 2 is outside the vocabulary of 10"));
  EXPECT_THAT(ErrorOf([](Problem& problem) { problem.token_ids()[1] = -1; }),
              StartsWith("invalid_argument: embedding: token id -1 of row 1"));
  std::vector<int64_t> wide = {1, 2, int64_t{1} << 32};
  EXPECT_THAT(ErrorOf([&](Problem& problem) {
                problem.args.tokens = {};
                problem.args.ids = {wide.data(), DType::kI64, {3}};
              }),
              StartsWith("invalid_argument: embedding: token id 4294967296 of row 2"));
}

TEST(EmbeddingErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Problem& problem) {
                problem.args.table = {problem.args.table.data(), DType::kI32, {10, 2}};
              }),
              StartsWith("invalid_argument: embedding: the table is i32 [10, 2]"));
  EXPECT_THAT(ErrorOf([](Problem& problem) {
                problem.args.table = {problem.args.table.data(), DType::kQ8_0, {10, 40}};
              }),
              StartsWith("invalid_argument: embedding: rows of 40 elements"));
  EXPECT_THAT(ErrorOf([](Problem& problem) { problem.args.out = problem.args.out.Rows(0, 2); }),
              StartsWith("invalid_argument: embedding: out is f32 [2, 64]"));
  EXPECT_THAT(ErrorOf([](Problem& problem) { problem.args.ids = problem.args.out; }),
              StartsWith("invalid_argument: embedding: 3 tokens and ids f32 [3, 64]"));
  EXPECT_THAT(ErrorOf([](Problem& problem) {
                problem.args.tokens = {};
                problem.args.ids = problem.args.out;
              }),
              StartsWith("invalid_argument: embedding: ids is f32 [3, 64]"));
}

TEST(EmbeddingFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("embedding")) {
    SCOPED_TRACE(c.name());
    TypedArray table = c.array("table").array();
    TypedArray out(c.array("out").dtype, c.array("out").shape());
    std::vector<int32_t> narrow = c.array("ids").integers<int32_t>();
    std::vector<int64_t> wide = c.array("ids").integers<int64_t>();
    const auto count = static_cast<int64_t>(wide.size());
    const TensorView ids = c.array("ids").dtype == DType::kI64
                               ? TensorView(wide.data(), DType::kI64, {count})
                               : TensorView(narrow.data(), DType::kI32, {count});
    const Args args = {.table = table.View(),
                       .out = out.View(),
                       .scale = static_cast<float>(c.number("scale")),
                       .ids = ids};
    ASSERT_TRUE(embedding::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), ToleranceOf(out.dtype())), "");
  }
}

}  // namespace
}  // namespace quire::ops::embedding
