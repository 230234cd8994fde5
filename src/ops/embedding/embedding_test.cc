#include "ops/embedding/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/conformance.h"
#include "ops/embedding/embedding_cases.h"
#include "tensor/half.h"

namespace quire::ops::embedding {
namespace {

// The reference forms scale * code + min itself: a rounding may fall elsewhere.
constexpr Tolerance kTolerance = {.rtol = 1e-6, .atol = 1e-6};
constexpr int64_t kMaxTestedVocabulary = 1000;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

// Bytes of a table whose values are all of ordinary size: any code bits, every half-sized word of a
// block a number around 1. Formats keep their halves at even offsets, and codes may be anything.
std::vector<uint8_t> TableBytes(DType dtype, int64_t elements, std::mt19937_64& rng) {
  std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(dtype, elements)));
  if (dtype == DType::kF32) {
    const std::vector<float> values = RandomFloats(rng, elements);
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  std::uniform_real_distribution<float> numbers(0.25f, 4.0f);
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const float number = numbers(rng);
    const uint16_t bits = dtype == DType::kBF16 ? FloatToBFloat16(number) : FloatToHalf(number);
    std::memcpy(bytes.data() + i, &bits, sizeof(bits));
  }
  return bytes;
}

struct Problem {
  Problem(const Case& c, std::mt19937_64& rng)
      : vocabulary(std::min(c.vocabulary, kMaxTestedVocabulary)),
        tokens(RandomInts(rng, c.tokens, 0, static_cast<int32_t>(vocabulary - 1))),
        table(TableBytes(c.dtype, vocabulary * c.elements, rng)),
        out({c.tokens, c.elements}, c.elements + c.gap) {
    if (c.tokens > 1) {
      tokens[0] = static_cast<int32_t>(vocabulary - 1);
      tokens[1] = 0;
    }
    args = {.tokens = tokens,
            .table = {table.data(), c.dtype, {vocabulary, c.elements}},
            .out = out.View(DType::kF32),
            .scale = c.scale};
  }

  std::vector<float> Result(const OpContext& context) {
    const Status status = Run(context, args);
    EXPECT_TRUE(status.ok()) << status.message();
    return out.Values();
  }

  int64_t vocabulary;
  std::vector<int32_t> tokens;
  std::vector<uint8_t> table;
  GuardedArray<float> out;
  Args args;
};

class EmbeddingTest : public testing::TestWithParam<Case> {
 protected:
  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(Cases, EmbeddingTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST_P(EmbeddingTest, AgreesWithTheReferenceOnAnyThreads) {
  CpuFixture one(1);
  Problem problem(GetParam(), rng_);
  const std::vector<float> expected = problem.Result(one.Context("reference"));
  for (const int threads : {1, 2}) {
    CpuFixture cpu(threads);
    ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
      EXPECT_EQ(Mismatch(problem.Result(context), expected, kTolerance), "")
          << context.implementation;
      EXPECT_EQ(problem.out.Damage(), "") << context.implementation;
    });
  }
}

TEST_P(EmbeddingTest, ATokenAloneGivesTheSameBits) {
  CpuFixture cpu(2);
  Problem problem(GetParam(), rng_);
  ForEachImplementation(cpu, All(), problem.args, [&](const OpContext& context) {
    const std::vector<float> expected = problem.Result(context);
    for (int64_t t = 0; t < GetParam().tokens; ++t) {
      Args row = problem.args;
      row.tokens = row.tokens.subspan(t, 1);
      row.out = row.out.Rows(t, t + 1);
      EXPECT_TRUE(embedding::Run(context, row).ok());
    }
    EXPECT_EQ(BitMismatch(problem.out.Values(), expected), "") << context.implementation;
  });
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

// The message of the error that `change` to a valid problem causes.
template <typename Change>
std::string ErrorOf(const Change& change) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem({"", DType::kQ8_0, 3, 10, 64, 0, 1.0f}, rng);
  change(problem);
  const Status status = Run(cpu.Context(), problem.args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(EmbeddingErrorTest, NamesATokenOutsideTheTable) {
  using testing::StartsWith;
  EXPECT_THAT(
      ErrorOf([](Problem& problem) { problem.tokens[2] = 10; }),
      StartsWith(
          "invalid_argument: embedding: token id 10 of row 2 is outside the vocabulary of 10"));
  EXPECT_THAT(ErrorOf([](Problem& problem) { problem.tokens[1] = -1; }),
              StartsWith("invalid_argument: embedding: token id -1 of row 1"));
}

TEST(EmbeddingErrorTest, NamesWhatIsWrong) {
  using testing::StartsWith;
  EXPECT_THAT(ErrorOf([](Problem& problem) {
                problem.args.table = {problem.table.data(), DType::kI32, {10, 2}};
              }),
              StartsWith("invalid_argument: embedding: the table is i32 [10, 2]"));
  EXPECT_THAT(ErrorOf([](Problem& problem) {
                problem.args.table = {problem.table.data(), DType::kQ8_0, {10, 40}};
              }),
              StartsWith("invalid_argument: embedding: rows of 40 elements"));
  EXPECT_THAT(ErrorOf([](Problem& problem) { problem.args.out = problem.args.out.Rows(0, 2); }),
              StartsWith("invalid_argument: embedding: out is f32 [2, 64]"));
}

}  // namespace
}  // namespace quire::ops::embedding
