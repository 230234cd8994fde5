// What is particular to single weight formats: special values, extremes, errors of PackWeight().
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <list>

#include "base/test_seed.h"
#include "ops/linear/weight_sources.h"

namespace quire::ops::linear {
namespace {

using ::testing::HasSubstr;

class WeightFormatTest : public ::testing::Test {
 protected:
  std::shared_ptr<const PackedWeight> Pack(const WeightSource& source, ActivationMode mode) {
    auto packed = PackWeight(cpu_.Context(), std::span(&source, 1), mode);
    EXPECT_TRUE(packed.ok()) << packed.status().message();
    return packed.ok() ? *packed : nullptr;
  }

  // x [m, K] times the weight by every implementation that takes it, by name.
  std::vector<std::pair<std::string, std::vector<float>>> Results(const PackedWeight& weight,
                                                                  std::vector<float> x,
                                                                  bool split = false) {
    const int64_t m = static_cast<int64_t>(x.size()) / weight.k();
    std::vector<float> out(static_cast<size_t>(m * weight.n()));
    const Args args = {.x = TensorView(x.data(), DType::kF32, {m, weight.k()}),
                       .weight = &weight,
                       .bias = {},
                       .out = TensorView(out.data(), DType::kF32, {m, weight.n()}),
                       .split_activations = split};
    std::vector<std::pair<std::string, std::vector<float>>> results;
    ForEachImplementation(cpu_, ImplementationsOf(PlatformKind::kCpu), args,
                          [&](const OpContext& context) {
                            EXPECT_TRUE(linear::Run(context, args).ok());
                            results.emplace_back(context.implementation, out);
                          });
    return results;
  }

  std::string PackError(const std::vector<WeightSource>& sources, StatusCode code,
                        ActivationMode mode = ActivationMode::kBlock8) {
    const auto packed = PackWeight(cpu_.Context(), sources, mode);
    EXPECT_EQ(packed.status().code(), code);
    return packed.status().message();
  }

  CpuFixture cpu_{2};
  std::mt19937_64 rng_{TestSeed()};
};

// Each of the 256 codes of f8e4m3 alone: subnormals and both zeros exactly, NaN as NaN.
TEST_F(WeightFormatTest, EveryFloat8HasItsValue) {
  std::vector<uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), 0);
  const WeightSource source = {.weight = TensorView(codes.data(), DType::kF8E4M3, {256, 1})};
  for (const ActivationMode mode : {ActivationMode::kFp32, ActivationMode::kBf16}) {
    const auto packed = Pack(source, mode);
    for (const auto& [name, result] : Results(*packed, {1.0f})) {
      for (size_t code = 0; code < 256; ++code) {
        const float expected = Float8ToFloat(static_cast<uint8_t>(code));
        EXPECT_TRUE(result[code] == expected || (std::isnan(result[code]) && std::isnan(expected)))
            << name << " code " << code << ": " << result[code];
      }
    }
  }
}

// The largest magnitudes of 8-bit codes, where narrow sums would saturate.
TEST_F(WeightFormatTest, ExtremeI8ProductsAreExact) {
  constexpr int64_t kFeatures = 4096;
  for (const int8_t code : {-128, -127, 127, 1}) {
    std::vector<int8_t> codes(16 * kFeatures, code);
    const WeightSource source = {.weight = TensorView(codes.data(), DType::kI8, {16, kFeatures})};
    const auto packed = Pack(source, ActivationMode::kBlock8);
    for (const float x : {127.0f, -127.0f}) {
      for (const auto& [name, result] : Results(*packed, std::vector<float>(kFeatures, x))) {
        if (name != "reference") {  // which adds in fp32
          EXPECT_EQ(result[5], x * static_cast<float>(code) * kFeatures) << name;
        }
      }
    }
  }
}

TEST_F(WeightFormatTest, I8RowsOfZerosAndSpecialValues) {
  SourceWeight weight(rng_, KindNamed("i8_feature"), 16, 70);
  const auto packed = Pack(weight.source(), ActivationMode::kBlock8);
  std::vector<float> x(3 * 70, 0.0f);
  x[70 + 3] = 1e-42f;
  x[140 + 69] = NAN;
  for (const auto& [name, result] : Results(*packed, x)) {
    EXPECT_EQ(result[0], 0.0f) << name;
    EXPECT_EQ(result[16], 0.0f) << name;
    EXPECT_TRUE(std::isnan(result[32 + 7])) << name;
  }
}

TEST_F(WeightFormatTest, Bf16ProductsRoundTheActivations) {
  std::vector<uint16_t> one(16, FloatToBFloat16(1.0f));
  const WeightSource source = {.weight = TensorView(one.data(), DType::kBF16, {16, 1})};
  const float x = 1.0f + 0x1p-8f + 0x1p-12f;  // above the middle of two bf16 numbers
  for (const auto& [name, result] : Results(*Pack(source, ActivationMode::kBf16), {x})) {
    EXPECT_EQ(result[0], 1.0f + 0x1p-7f) << name;
  }
  for (const auto& [name, result] : Results(*Pack(source, ActivationMode::kFp32), {x})) {
    EXPECT_EQ(result[0], x) << name;
  }
}

// Two terms come much nearer to the product of unrounded activations than one.
TEST_F(WeightFormatTest, SplitActivationsWorkForEveryRounding) {
  for (const auto& [kind, mode] :
       {std::pair("i8_feature", ActivationMode::kBlock8), std::pair("bf16", ActivationMode::kBf16),
        std::pair("f8_feature", ActivationMode::kBf16),
        std::pair("gptq2_act_order", ActivationMode::kBlock8)}) {
    SourceWeight weight(rng_, KindNamed(kind), 48, 192);
    const auto packed = Pack(weight.source(), mode);
    const std::vector<float> x = RandomFloats(rng_, 192);
    const auto plain = Results(*packed, x);
    const auto split = Results(*packed, x, true);
    for (size_t i = 0; i < split.size(); ++i) {
      double plain_error = 0;
      double split_error = 0;
      for (int64_t feature = 0; feature < 48; ++feature) {
        const std::vector<double> w = weight.Row(feature);
        const double exact = std::inner_product(w.begin(), w.end(), x.begin(), 0.0);
        const auto at = static_cast<size_t>(feature);
        plain_error = std::max(plain_error, std::abs(plain[i].second[at] - exact));
        split_error = std::max(split_error, std::abs(split[i].second[at] - exact));
      }
      EXPECT_LT(split_error, plain_error / 20) << kind << " " << split[i].first;
    }
  }
}

TEST_F(WeightFormatTest, PackedBytesStayNearTheFile) {
  const auto bits = [&](std::string_view kind, ActivationMode mode) {
    SourceWeight weight(rng_, KindNamed(kind), 256, 512);
    return static_cast<double>(Pack(weight.source(), mode)->bytes()) * 8 / (256 * 512);
  };
  EXPECT_EQ(bits("awq", ActivationMode::kBlock8), 5.0);
  EXPECT_EQ(bits("bf16", ActivationMode::kBf16), 16.0);
  EXPECT_LT(bits("i8_feature", ActivationMode::kBlock8), 8.1);
  EXPECT_LT(bits("f8_square", ActivationMode::kBf16), 8.3);
}

TEST_F(WeightFormatTest, StacksShareOneGroupIndex) {
  const SourceKind kind = KindNamed("gptq2_act_order");
  SourceWeight first(rng_, kind, 16, 192, 1);
  SourceWeight same(rng_, kind, 8, 192, 1);
  SourceWeight other(rng_, kind, 16, 192, 2);
  EXPECT_TRUE(PackWeight(cpu_.Context(), std::vector{first.source(), same.source()},
                         ActivationMode::kBlock8)
                  .ok());
  EXPECT_THAT(PackError({first.source(), other.source()}, StatusCode::kInvalidArgument),
              HasSubstr("another group_index"));
  EXPECT_TRUE(
      PackWeight(cpu_.Context(), std::vector{first.source(), other.source()}, ActivationMode::kFp32)
          .ok());
}

TEST_F(WeightFormatTest, WrongScalesAreNamed) {
  SourceWeight i8(rng_, KindNamed("i8_feature"), 16, 64);
  SourceWeight f8(rng_, KindNamed("f8_square"), 150, 200);
  SourceWeight f16(rng_, KindNamed("f16"), 16, 64);
  std::vector<float> data(4096);
  const auto with_scales = [&](const SourceWeight& weight, const Shape& shape, DType dtype) {
    WeightSource source = weight.source();
    source.scales = TensorView(data.data(), dtype, shape);
    return PackError({source}, StatusCode::kInvalidArgument);
  };
  EXPECT_THAT(with_scales(i8, {15}, DType::kF32), HasSubstr("scales f32 [15]"));
  EXPECT_THAT(with_scales(i8, {1, 1}, DType::kF32), HasSubstr("scales f32 [1, 1]"));
  EXPECT_THAT(with_scales(f8, {2, 3}, DType::kF32), HasSubstr("scales f32 [2, 3]"));
  EXPECT_THAT(with_scales(f8, {2, 2}, DType::kI32), HasSubstr("scales are i32 [2, 2]"));
  EXPECT_THAT(with_scales(f16, {16}, DType::kF32), HasSubstr("takes no scales"));
  WeightSource zeros = f16.source();
  zeros.zeros = TensorView(data.data(), DType::kI32, {1, 1});
  EXPECT_THAT(PackError({zeros}, StatusCode::kInvalidArgument), HasSubstr("takes no zeros"));
  const TensorView wide(data.data(), DType::kI8, {0, 65537});
  EXPECT_THAT(PackError({{.weight = wide}}, StatusCode::kUnsupported), HasSubstr("could overflow"));
}

TEST_F(WeightFormatTest, WrongInt4GroupsAreNamed) {
  SourceWeight awq(rng_, KindNamed("awq"), 16, 192);
  SourceWeight gptq(rng_, KindNamed("gptq2_act_order"), 16, 192);
  std::vector<int32_t> words(4096);
  const auto error = [&](const SourceWeight& weight, const auto& change,
                         StatusCode code = StatusCode::kInvalidArgument) {
    WeightSource source = weight.source();
    change(source);
    return PackError({source}, code);
  };
  const auto ints = [&](const Shape& shape) {
    return TensorView(words.data(), DType::kI32, shape);
  };
  EXPECT_THAT(
      error(awq,
            [&](WeightSource& s) { s.weight = TensorView(words.data(), DType::kF32, {192, 2}); }),
      HasSubstr("int4 codes are f32"));
  EXPECT_THAT(error(awq, [&](WeightSource& s) { s.scales = {}; }), HasSubstr("scales of int4"));
  EXPECT_THAT(error(awq, [&](WeightSource& s) { s.zeros = ints({3, 3}); }),
              HasSubstr("zeros of int4 groups are i32 [3, 3]"));
  EXPECT_THAT(error(awq, [&](WeightSource& s) { s.group_index = ints({192}); }),
              HasSubstr("GPTQ format"));
  EXPECT_THAT(error(gptq, [&](WeightSource& s) { s.group_index = ints({192}); }),
              HasSubstr("group 0 of group_index has 192 members"));
  words.assign(words.size(), 3);
  EXPECT_THAT(error(gptq, [&](WeightSource& s) { s.group_index = ints({192}); }),
              HasSubstr("group_index[0] is 3"));
  EXPECT_THAT(error(
                  awq,
                  [&](WeightSource& s) {
                    s.scales = TensorView(words.data(), DType::kF16, {12, 16});
                    s.zeros = ints({12, 2});
                  },
                  StatusCode::kUnsupported),
              HasSubstr("groups of 16"));
}

}  // namespace
}  // namespace quire::ops::linear
