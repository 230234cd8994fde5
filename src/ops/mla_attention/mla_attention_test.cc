#include "ops/mla_attention/mla_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ops/attention/attention_conformance.h"
#include "ops/flash_attention/flash_attention.h"
#include "ops/mla_attention/mla_attention_cases.h"

namespace quire::ops::mla_attention {

namespace {

using attention::Memory;
using attention::SequenceData;

const Implementations& All() {
  return ImplementationsOf(PlatformKind::kCpu);
}

class MlaAttentionConformance : public testing::TestWithParam<ConformanceParam<Case>> {};

INSTANTIATE_TEST_SUITE_P(All, MlaAttentionConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(MlaAttentionConformance, AgreesWithTheReference) {
  attention::ExpectAgreement(GetParam(), ImplementationsOf, ArgsOf);
}

TEST(MlaAttentionExactness, ThreadsCompanyAndPages) {
  std::vector<Case> cases = {DecodeCase("decode"), VerifyCase("verify"), VerifyCase("fp8")};
  cases[1].query_dtype = DType::kBF16;
  cases[2].dtype = DType::kF8E4M3;
  cases[2].scaling = KvScaling::kPerTensor;
  for (const std::string_view name : attention::ExactNames(All())) {
    for (const Case& c : cases) {
      attention::ExpectExactInAnyCompany(name, c, ArgsOf);
      attention::ExpectExactAnywhere(name, c, ArgsOf);
    }
  }
}

TEST(MlaAttentionExactness, Avx2HasTheBitsOfAvx512) {
  attention::ExpectAvx2HasTheBitsOfAvx512(ConformanceCases(), ArgsOf);
}

// out = rows of `x` [n, inner] times the transposed `w` [outer, inner].
std::vector<float> TimesTransposed(const std::vector<float>& x, const std::vector<float>& w,
                                   size_t inner) {
  std::vector<float> out;
  for (size_t row = 0; row < x.size(); row += inner) {
    for (size_t column = 0; column < w.size(); column += inner) {
      double sum = 0;
      for (size_t i = 0; i < inner; ++i) {
        sum += double{x[row + i]} * w[column + i];
      }
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

// A small model's attention: heads of 48 = 32 + 16 rotated for queries and keys and of 32 for
// values, latents of 64.
class AbsorbedAndDecompressed : public testing::Test {
 protected:
  static constexpr size_t kHeads = 3;
  static constexpr size_t kNope = 32;
  static constexpr size_t kRope = 16;
  static constexpr size_t kValue = 32;
  static constexpr size_t kLatent = 64;
  static constexpr size_t kRow = kLatent + kRope;
  static constexpr int32_t kTokens = 150;
  static constexpr float kScale = 0.14433757f;  // 1 / sqrt(48)

  AbsorbedAndDecompressed() {
    for (size_t head = 0; head < kHeads; ++head) {
      w_uk_.push_back(RandomFloats(rng_, kNope * kLatent, 0, 0.125f));   // [nope, latent]
      w_uv_.push_back(RandomFloats(rng_, kValue * kLatent, 0, 0.125f));  // [value, latent]
    }
    query_ = RandomFloats(rng_, kTokens * kHeads * (kNope + kRope));
    rows_ = RandomFloats(rng_, kTokens * kRow);
  }

  // Every token's [value of each head] by mla_attention over the rows and W_uv after it.
  std::vector<float> Absorbed() {
    const Case c =
        Latent({.name = "absorbed", .dtype = DType::kF32, .lengths = {kTokens}, .rows = {kTokens}},
               kHeads, kLatent, kRope);
    Memory memory(c, {{.query = AbsorbedQueries(),
                       .key = rows_,
                       .value = {},
                       .key_scale = {},
                       .value_scale = {}}});
    Args args = ArgsOf(c, memory);
    args.scale = kScale;
    EXPECT_TRUE(mla_attention::Run(cpu_.Context(), args).ok());
    const std::vector<float> latents = memory.Out();
    std::vector<float> out;
    for (size_t i = 0; i < latents.size(); i += kLatent) {
      const std::vector<float> latent(latents.begin() + static_cast<int64_t>(i),
                                      latents.begin() + static_cast<int64_t>(i + kLatent));
      const std::vector<float> value =
          TimesTransposed(latent, w_uv_[i / kLatent % kHeads], kLatent);
      out.insert(out.end(), value.begin(), value.end());
    }
    return out;
  }

  // W_uk^T times the first part of each query head, then the rotated part.
  std::vector<float> AbsorbedQueries() const {
    std::vector<float> out;
    for (size_t i = 0; i < query_.size(); i += kNope + kRope) {
      const std::vector<float>& w = w_uk_[i / (kNope + kRope) % kHeads];
      for (size_t l = 0; l < kLatent; ++l) {
        double sum = 0;
        for (size_t n = 0; n < kNope; ++n) {
          sum += double{query_[i + n]} * w[n * kLatent + l];
        }
        out.push_back(static_cast<float>(sum));
      }
      out.insert(out.end(), query_.begin() + static_cast<int64_t>(i + kNope),
                 query_.begin() + static_cast<int64_t>(i + kNope + kRope));
    }
    return out;
  }

  // The same by flash_attention over keys and values of every head.
  std::vector<float> Decompressed() {
    std::vector<float> keys;
    std::vector<float> values;
    for (size_t t = 0; t < kTokens; ++t) {
      const auto row = rows_.begin() + static_cast<int64_t>(t * kRow);
      const std::vector<float> latent(row, row + kLatent);
      for (size_t head = 0; head < kHeads; ++head) {
        const std::vector<float> key = TimesTransposed(latent, w_uk_[head], kLatent);
        const std::vector<float> value = TimesTransposed(latent, w_uv_[head], kLatent);
        keys.insert(keys.end(), key.begin(), key.end());
        keys.insert(keys.end(), row + kLatent, row + kRow);
        values.insert(values.end(), value.begin(), value.end());
      }
    }
    std::vector<float> out(kTokens * kHeads * kValue);
    int32_t start[2] = {0, kTokens};
    flash_attention::Args args;
    args.query = {query_.data(), DType::kF32, {kTokens, kHeads, kNope + kRope}};
    args.key = {keys.data(), DType::kF32, {kTokens, kHeads, kNope + kRope}};
    args.value = {values.data(), DType::kF32, {kTokens, kHeads, kValue}};
    args.query_start = {start, DType::kI32, {2}};
    args.key_start = args.query_start;
    args.out = {out.data(), DType::kF32, {kTokens, kHeads, kValue}};
    args.scale = kScale;
    EXPECT_TRUE(flash_attention::Run(cpu_.Context(), args).ok());
    return out;
  }

  std::mt19937_64 rng_{4};
  CpuFixture cpu_{2};
  std::vector<std::vector<float>> w_uk_;
  std::vector<std::vector<float>> w_uv_;
  std::vector<float> query_;  // [T, heads, nope + rope]
  std::vector<float> rows_;   // [T, latent + rope]
};

TEST_F(AbsorbedAndDecompressed, AreTheSameAttention) {
  EXPECT_EQ(Mismatch(Absorbed(), Decompressed(), {1e-4, 1e-5}), "");
}

TEST(MlaAttention, NoKeysGiveZeros) {
  const Case c = Latent({.name = "none", .lengths = {0}, .rows = {1}}, 2, 64, 16);
  CpuFixture cpu(2);
  Memory memory(c, attention::MakeSequences(c, 1));
  ForEachImplementation(cpu, All(), ArgsOf(c, memory), [&](const OpContext& context) {
    memory.Spoil();
    ASSERT_TRUE(mla_attention::Run(context, ArgsOf(c, memory)).ok());
    EXPECT_THAT(memory.Out(), testing::Each(0.0f)) << context.implementation;
    EXPECT_THAT(memory.Lse(), testing::Each(-std::numeric_limits<float>::infinity()))
        << context.implementation;
  });
}

// The message of the error that `change` to a valid call causes.
template <typename Change>
std::string ErrorOf(const Change& change) {
  const Case c = VerifyCase("errors");
  CpuFixture cpu(1);
  Memory memory(c, attention::MakeSequences(c, 1));
  Args args = ArgsOf(c, memory);
  change(args);
  const Status status = mla_attention::Run(cpu.Context(), args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(MlaAttentionErrors, NameWhatIsWrong) {
  using testing::StartsWith;
  const std::string op = "invalid_argument: mla_attention: ";
  EXPECT_THAT(ErrorOf([](Args& args) { args.cache.rope_dim = 32; }),
              StartsWith(op + "query has head dim 80, the rows of the cache 64 + 32"));
  EXPECT_THAT(ErrorOf([](Args& args) {
                args.cache.latent_dim = 72;
                args.cache.rope_dim = 8;
                args.out = args.out.Columns(0, 64);
              }),
              StartsWith(op + "out is f32 [31, 5, 64] on cpu:0; it must be f32 [31, 5, 72]"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.query_start = TensorView(); }),
              StartsWith(op + "31 query rows for 7 sequences"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.cache.dtype = DType::kF8E4M3; }),
              StartsWith(op + "a cache of f8e4m3 comes without scales"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.cache.page_size = 5; }),
              StartsWith(op + "page size 5 is not a power of two"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.cache.num_pages = 1; }),
              StartsWith(op + "page 0 of sequence 0 is"));
  EXPECT_THAT(ErrorOf([](Args& args) { args.lse = args.lse.Rows(0, 1); }),
              StartsWith(op + "lse is f32 [1, 5]"));
}

}  // namespace

}  // namespace quire::ops::mla_attention
