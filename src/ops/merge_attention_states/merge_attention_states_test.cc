#include "ops/merge_attention_states/merge_attention_states.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ops/fixture_file.h"
#include "ops/flash_attention/flash_attention.h"
#include "ops/merge_attention_states/merge_attention_states_cases.h"
#include "ops/row_conformance.h"

namespace quire::ops::merge_attention_states {
namespace {

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class MergeAttentionStatesConformance : public RowConformance<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(All, MergeAttentionStatesConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());
TEST_P(MergeAttentionStatesConformance, AgreesWithTheReference) {
  ExpectAgreement(GetParam().problem.tolerance());
}

class MergeAttentionStatesExactness : public RowExactness<Case, Problem, ImplementationsOf> {};
INSTANTIATE_TEST_SUITE_P(Cpu, MergeAttentionStatesExactness, testing::ValuesIn(ConformanceCases()),
                         [](const auto& info) { return info.param.name; });
TEST_P(MergeAttentionStatesExactness, EveryWidthAndThreadCountGivesTheSameBits) {
  ExpectTheSameOnEveryWidthAndThreadCount();
}
TEST_P(MergeAttentionStatesExactness, ATokenAloneGivesTheSameBits) {
  ExpectTheSameOfTokensAlone();
}
TEST_P(MergeAttentionStatesExactness, InPlaceGivesTheSameBits) {
  ExpectTheSameInPlace();
}

// Sums of exponentials 3 and 1: the outputs weigh 3 to 1, and the sum is 4. Then a side without
// keys, whose output is NaN, and two of them.
TEST(MergeAttentionStatesValues, OfOneRow) {
  CpuFixture cpu(1);
  std::vector<float> a = {8, NAN, NAN};
  std::vector<float> b = {-4, 7, NAN};
  std::vector<float> lse_a = {std::log(3.0f), -INFINITY, -INFINITY};
  std::vector<float> lse_b = {0, 2, -INFINITY};
  std::vector<float> out(3);
  std::vector<float> lse(3);
  const Args args = {.out_a = {a.data(), DType::kF32, {1, 3, 1}},
                     .lse_a = {lse_a.data(), DType::kF32, {1, 3}},
                     .out_b = {b.data(), DType::kF32, {1, 3, 1}},
                     .lse_b = {lse_b.data(), DType::kF32, {1, 3}},
                     .out = {out.data(), DType::kF32, {1, 3, 1}},
                     .lse = {lse.data(), DType::kF32, {1, 3}}};
  ForEachImplementation(cpu, All(), args, [&](const OpContext& context) {
    ASSERT_TRUE(merge_attention_states::Run(context, args).ok());
    EXPECT_EQ(Mismatch(out, std::vector<float>{5, 7, 0}, {1e-6, 0}), "") << context.implementation;
    EXPECT_EQ(Mismatch(lse, std::vector<float>{std::log(4.0f), 2, -INFINITY}, {1e-6, 0}), "")
        << context.implementation;
  });
}

TEST(MergeAttentionStatesErrors, NameWhatIsWrong) {
  using testing::StartsWith;
  const auto error = [](const std::function<void(Args&)>& change) {
    return ErrorAfter<Problem>(Case{.tokens = 2, .heads = 3, .elements = 8}, change);
  };
  const std::string op = "invalid_argument: merge_attention_states: ";
  EXPECT_THAT(error([](Args& args) { args.out_b = args.out_b.Rows(0, 1); }),
              StartsWith(op + "out_b is f32 [1, 3, 8] on cpu:0, out_a is f32 [2, 3, 8]"));
  EXPECT_THAT(error([](Args& args) { args.out = args.out.Columns(0, 4); }),
              StartsWith(op + "out is f32 [2, 3, 4]"));
  EXPECT_THAT(error([](Args& args) { args.out_a = args.lse_a; }),
              StartsWith(op + "out_a is f32 [2, 3] on cpu:0; it must be [tokens, heads"));
  EXPECT_THAT(error([](Args& args) { args.out_a = {args.out_a.data(), DType::kI8, {2, 3, 8}}; }),
              StartsWith(op + "out_a is i8"));
  EXPECT_THAT(error([](Args& args) { args.lse_a = args.lse_a.Rows(0, 1); }),
              StartsWith(op + "lse_a is f32 [1, 3] on cpu:0; it must be contiguous f32 [2, 3]"));
  EXPECT_THAT(error([](Args& args) { args.lse = {args.lse.data(), DType::kF32, {3, 2}}; }),
              StartsWith(op + "lse is f32 [3, 2]"));
}

TEST(MergeAttentionStatesFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("merge_attention_states")) {
    SCOPED_TRACE(c.name());
    TypedArray out_a = c.array("out_a").array();
    TypedArray lse_a = c.array("lse_a").array();
    TypedArray out_b = c.array("out_b").array();
    TypedArray lse_b = c.array("lse_b").array();
    TypedArray out(out_a.dtype(), out_a.shape());
    TypedArray lse(DType::kF32, lse_a.shape());
    const Args args = {.out_a = out_a.View(),
                       .lse_a = lse_a.View(),
                       .out_b = out_b.View(),
                       .lse_b = lse_b.View(),
                       .out = out.View(),
                       .lse = lse.View()};
    ASSERT_TRUE(merge_attention_states::Run(cpu.Context("reference"), args).ok());
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), ToleranceOf(out.dtype())), "");
    EXPECT_EQ(Mismatch(lse.Values(), c.array("lse").floats(), {1e-6, 1e-6}), "");
  }
}

// Sequences that share a prefix: attention over the prefix by the rows of all of them at once,
// merged with attention over the keys of each, is attention over the whole.
class Cascade : public testing::Test {
 protected:
  static constexpr int64_t kHeads = 4;
  static constexpr int64_t kKvHeads = 2;
  static constexpr int64_t kDim = 32;
  static constexpr int32_t kPrefix = 300;

  // Attention of all rows; sequence b has the keys key_start[b] .. [b + 1] of `keys`.
  void Attend(const std::vector<float>& keys, const std::vector<float>& values,
              std::vector<int32_t> query_start, std::vector<int32_t> key_start, bool causal,
              std::vector<float>& out, std::vector<float>& lse) {
    const int64_t tokens = query_start.back();
    const auto count = static_cast<int64_t>(query_start.size());
    const int64_t num_keys = static_cast<int64_t>(keys.size()) / (kKvHeads * kDim);
    out.assign(static_cast<size_t>(tokens * kHeads * kDim), NAN);
    lse.assign(static_cast<size_t>(tokens * kHeads), NAN);
    flash_attention::Args args;
    args.query = {query_.data(), DType::kF32, {tokens, kHeads, kDim}};
    args.query_start = {query_start.data(), DType::kI32, {count}};
    args.key = {const_cast<float*>(keys.data()), DType::kF32, {num_keys, kKvHeads, kDim}};
    args.value = {const_cast<float*>(values.data()), DType::kF32, {num_keys, kKvHeads, kDim}};
    args.key_start = {key_start.data(), DType::kI32, {count}};
    args.out = {out.data(), DType::kF32, {tokens, kHeads, kDim}};
    args.lse = {lse.data(), DType::kF32, {tokens, kHeads}};
    args.scale = 0.2f;
    args.causal = causal;
    const Status status = flash_attention::Run(cpu_.Context(), args);
    EXPECT_TRUE(status.ok()) << status.message();
  }

  // The prefix before the `lengths[b]` keys of each sequence's own.
  std::vector<float> WithPrefix(const std::vector<float>& prefix, const std::vector<float>& own,
                                const std::vector<int32_t>& lengths) const {
    std::vector<float> all;
    auto from = own.begin();
    for (const int32_t length : lengths) {
      all.insert(all.end(), prefix.begin(), prefix.end());
      all.insert(all.end(), from, from + length * kKvHeads * kDim);
      from += length * kKvHeads * kDim;
    }
    return all;
  }

  CpuFixture cpu_{2};
  std::vector<float> query_;
};

TEST_F(Cascade, OfASharedPrefixIsAttentionOverTheWhole) {
  const std::vector<int32_t> lengths = {40, 5, 1, 130};
  const std::vector<int32_t> rows = {1, 5, 1, 16};
  std::mt19937_64 rng(8);
  std::vector<int32_t> query_start = {0};
  std::vector<int32_t> own_start = {0};
  std::vector<int32_t> whole_start = {0};
  for (size_t b = 0; b < lengths.size(); ++b) {
    query_start.push_back(query_start.back() + rows[b]);
    own_start.push_back(own_start.back() + lengths[b]);
    whole_start.push_back(whole_start.back() + lengths[b] + kPrefix);
  }
  const int64_t tokens = query_start.back();
  query_ = RandomFloats(rng, tokens * kHeads * kDim);
  const std::vector<float> prefix_k = RandomFloats(rng, kPrefix * kKvHeads * kDim);
  const std::vector<float> prefix_v = RandomFloats(rng, kPrefix * kKvHeads * kDim);
  const std::vector<float> own_k = RandomFloats(rng, own_start.back() * kKvHeads * kDim);
  const std::vector<float> own_v = RandomFloats(rng, own_start.back() * kKvHeads * kDim);
  std::vector<float> whole, whole_lse, shared, shared_lse, own, own_lse;
  Attend(WithPrefix(prefix_k, own_k, lengths), WithPrefix(prefix_v, own_v, lengths), query_start,
         whole_start, true, whole, whole_lse);
  Attend(prefix_k, prefix_v, {0, query_start.back()}, {0, kPrefix}, false, shared, shared_lse);
  Attend(own_k, own_v, query_start, own_start, true, own, own_lse);
  const Args args = {.out_a = {shared.data(), DType::kF32, {tokens, kHeads, kDim}},
                     .lse_a = {shared_lse.data(), DType::kF32, {tokens, kHeads}},
                     .out_b = {own.data(), DType::kF32, {tokens, kHeads, kDim}},
                     .lse_b = {own_lse.data(), DType::kF32, {tokens, kHeads}},
                     .out = {own.data(), DType::kF32, {tokens, kHeads, kDim}},
                     .lse = {own_lse.data(), DType::kF32, {tokens, kHeads}}};
  ASSERT_TRUE(merge_attention_states::Run(cpu_.Context(), args).ok());
  EXPECT_EQ(Mismatch(own, whole, {1e-5, 1e-6}), "");
  EXPECT_EQ(Mismatch(own_lse, whole_lse, {1e-6, 1e-6}), "");
}

}  // namespace
}  // namespace quire::ops::merge_attention_states
