#include "ops/linear/linear.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/test_seed.h"
#include "ops/linear/linear_cases.h"
#include "platform/cpu/cpu_device.h"

namespace quire::ops::linear {
namespace {

const Implementations& CpuList() {
  return ImplementationsOf(PlatformKind::kCpu);
}

// x as an 8-bit product sees it: rounded per 32 features, or as it is.
std::vector<double> Seen(std::span<const float> x, bool rounded) {
  std::vector<double> seen(x.begin(), x.end());
  for (size_t start = 0; rounded && start < x.size(); start += 32) {
    float max = 0;
    for (size_t i = start; i < start + 32; ++i) {
      max = std::max(max, std::abs(x[i]));
    }
    for (size_t i = start; i < start + 32; ++i) {
      seen[i] = max == 0 ? 0 : double{max / 127.0f} * std::nearbyint(x[i] * (127.0f / max));
    }
  }
  return seen;
}

// x * W^T in double from the unpacked weights, row after row; `scale` gets the sums of magnitudes.
struct Expected {
  std::vector<float> values;
  double largest_sum = 0;
};
Expected Multiply(const std::vector<HostWeight>& parts, const std::vector<float>& x, int64_t m,
                  ActivationMode mode) {
  int64_t n = 0;
  for (const HostWeight& part : parts) {
    n += part.n;
  }
  const int64_t k = parts[0].k;
  Expected expected;
  expected.values.resize(static_cast<size_t>(m * n));
  int64_t column = 0;
  for (const HostWeight& part : parts) {
    const bool rounded = mode == ActivationMode::kBlock8 && IsQuantized(part.dtype);
    std::vector<double> seen;
    for (int64_t t = 0; t < m; ++t) {
      const std::vector<double> row = Seen(std::span(x).subspan(t * k, k), rounded);
      seen.insert(seen.end(), row.begin(), row.end());
    }
    for (int64_t feature = 0; feature < part.n; ++feature, ++column) {
      const std::vector<float> w = part.Row(feature);
      for (int64_t t = 0; t < m; ++t) {
        double sum = 0;
        double magnitude = 0;
        for (int64_t i = 0; i < k; ++i) {
          sum += w[i] * seen[t * k + i];
          magnitude += std::abs(w[i] * seen[t * k + i]);
        }
        expected.values[t * n + column] = static_cast<float>(sum);
        expected.largest_sum = std::max(expected.largest_sum, magnitude);
      }
    }
  }
  return expected;
}

class LinearTest : public ::testing::Test {
 protected:
  std::vector<float> Run(CpuFixture& cpu, std::string_view implementation, const Packed& packed,
                         const std::vector<float>& x, int64_t m) {
    const int64_t k = packed.weight->k();
    const int64_t n = packed.weight->n();
    std::vector<float> out(static_cast<size_t>(m * n), NAN);
    Args args;
    args.x = TensorView(const_cast<float*>(x.data()), DType::kF32, {m, k});
    args.weight = packed.weight.get();
    args.out = TensorView(out.data(), DType::kF32, {m, n});
    const Status status = linear::Run(cpu.Context(implementation), args);
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  }

  std::mt19937_64 rng_{TestSeed()};
};

// Two 8-bit terms come as near to the double product of unrounded activations as 16 bits would.
TEST_F(LinearTest, SplitActivationsLoseAlmostNothing) {
  CpuFixture cpu(2);
  const int64_t m = 5;
  const Packed packed(cpu.Context(), rng_, {{{DType::kQ8_0, 48}}, 96}, ActivationMode::kBlock8);
  const std::vector<float> x = RandomFloats(rng_, m * 96);
  const Expected exact = Multiply(packed.parts, x, m, ActivationMode::kFp32);
  std::vector<float> out(static_cast<size_t>(m * 48), 1.0f);
  Args args{.x = TensorView(const_cast<float*>(x.data()), DType::kF32, {m, 96}),
            .weight = packed.weight.get(),
            .bias = {},
            .out = TensorView(out.data(), DType::kF32, {m, 48}),
            .accumulate = true,
            .split_activations = true};
  ASSERT_TRUE(linear::Run(cpu.Context(), args).ok());
  double split_error = 0;
  double plain_error = 0;
  const std::vector<float> plain = Run(cpu, "", packed, x, m);
  for (size_t i = 0; i < out.size(); ++i) {
    split_error = std::max<double>(split_error, std::abs(out[i] - 1.0f - exact.values[i]));
    plain_error = std::max<double>(plain_error, std::abs(plain[i] - exact.values[i]));
  }
  EXPECT_LT(split_error, plain_error / 50);
}

// The second term goes to the outputs whose 16 neighbours hold one near the row's largest, the bits
// of the others are those of one term: in every implementation, with several segments, part panels.
TEST_F(LinearTest, TheSecondTermIsAddedNearTheLargest) {
  const Problem problem{{{DType::kQ8_0, 200}, {DType::kQ4_1, 40}, {DType::kQ8_0, 5}}, 64};
  const int64_t m = 6;
  const int64_t n = 245;
  CpuFixture cpu(2);
  const Packed packed(cpu.Context(), rng_, problem, ActivationMode::kBlock8);
  const std::vector<float> x = RandomFloats(rng_, m * problem.k);
  for (const Implementation<Args>& implementation : CpuList()) {
    std::vector<float> split(static_cast<size_t>(m * n));
    Args args{.x = TensorView(const_cast<float*>(x.data()), DType::kF32, {m, problem.k}),
              .weight = packed.weight.get(),
              .bias = {},
              .out = TensorView(split.data(), DType::kF32, {m, n}),
              .split_activations = true};
    if (!implementation.accepts(cpu.Context(), args)) {
      continue;
    }
    ASSERT_TRUE(linear::Run(cpu.Context(implementation.name), args).ok());
    const std::vector<float> plain = Run(cpu, implementation.name, packed, x, m);
    std::vector<float> near(split.size());
    args.out = TensorView(near.data(), DType::kF32, {m, n});
    args.near_largest = 1.0f;
    ASSERT_TRUE(linear::Run(cpu.Context(implementation.name), args).ok());
    for (int64_t t = 0; t < m; ++t) {
      const float* row = &plain[static_cast<size_t>(t * n)];
      const float least = *std::max_element(row, row + n) - args.near_largest;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t first = i < 240 ? i - (i < 200 ? i : i - 200) % 16 : 240;
        const int64_t last = std::min<int64_t>(first + 16, i < 200 ? 200 : i < 240 ? 240 : n);
        const bool touched = *std::max_element(row + first, row + last) >= least;
        EXPECT_EQ(near[static_cast<size_t>(t * n + i)],
                  (touched ? split : plain)[static_cast<size_t>(t * n + i)])
            << implementation.name << " row " << t << " feature " << i;
      }
    }
  }
}

TEST_F(LinearTest, NearLargestNeedsFloatsToCompare) {
  CpuFixture cpu(1);
  const Packed packed(cpu.Context(), rng_, {{{DType::kQ8_0, 16}}, 32}, ActivationMode::kBlock8);
  TypedArray x(DType::kF32, {1, 32});
  TypedArray out(DType::kBF16, {1, 16});
  Args args{.x = x.View(), .weight = packed.weight.get(), .bias = {}, .out = out.View()};
  args.near_largest = 1.0f;
  for (const bool split : {false, true}) {
    args.split_activations = split;
    EXPECT_EQ(linear::Run(cpu.Context(), args).code(), StatusCode::kInvalidArgument);
  }
}

TEST_F(LinearTest, ARowDoesNotDependOnItsNeighboursOrTheThreads) {
  const Problem problem{
      {{DType::kQ4_1, 40}, {DType::kQ6_K, 17}, {DType::kF16, 33}, {DType::kQ5_K, 16}}, 512};
  constexpr int64_t kRows = 64;
  CpuFixture one(1);
  const Packed packed(one.Context(), rng_, problem, ActivationMode::kBlock8);
  const int64_t n = packed.weight->n();
  const std::vector<float> x = RandomFloats(rng_, kRows * problem.k);
  for (const Implementation<Args>& implementation : CpuList()) {
    if (!implementation.accepts(one.Context(),
                                {.x = {}, .weight = packed.weight.get(), .bias = {}, .out = {}})) {
      continue;
    }
    const std::vector<float> whole = Run(one, implementation.name, packed, x, kRows);
    for (const int threads : {1, 2, 3}) {
      CpuFixture cpu(threads);
      for (int64_t begin = 0, rows = 1; begin < kRows; begin += rows) {
        rows = std::min<int64_t>(1 + static_cast<int64_t>(rng_() % 30), kRows - begin);
        const std::vector<float> part(x.begin() + begin * problem.k,
                                      x.begin() + (begin + rows) * problem.k);
        EXPECT_EQ(BitMismatch(Run(cpu, implementation.name, packed, part, rows),
                              std::span(whole).subspan(begin * n, rows * n)),
                  "")
            << implementation.name << " rows " << begin << " + " << rows << ", threads " << threads;
      }
    }
  }
}

TEST_F(LinearTest, LargeProductsAreCutWithoutAnyEffect) {
  const Problem problem{{{DType::kQ4_0, 80}, {DType::kQ8_0, 16}}, 2048};
  CpuFixture cpu(3);
  const Packed packed(cpu.Context(), rng_, problem, ActivationMode::kBlock8);
  constexpr int64_t kRows = 700;  // more than one block of rows
  const std::vector<float> x = RandomFloats(rng_, kRows * problem.k);
  const std::vector<float> whole = Run(cpu, {}, packed, x, kRows);
  for (const int64_t row : {int64_t{0}, int64_t{204}, int64_t{205}, kRows - 1}) {
    const std::vector<float> part(x.begin() + row * problem.k, x.begin() + (row + 1) * problem.k);
    EXPECT_EQ(BitMismatch(Run(cpu, {}, packed, part, 1), std::span(whole).subspan(row * 96, 96)),
              "");
  }
}

TEST_F(LinearTest, QuantizedProductsHaveTheSameBitsInEverySet) {
  CpuFixture cpu(2);
  for (const DType dtype : kWeightTypes) {
    if (!IsQuantized(dtype)) {
      continue;
    }
    const Packed packed(cpu.Context(), rng_, {{{dtype, 50}}, 768}, ActivationMode::kBlock8);
    const std::vector<float> x = RandomFloats(rng_, 15 * 768, 0.0f, 3.0f);
    const std::vector<float> baseline = Run(cpu, "baseline", packed, x, 15);
    for (const Implementation<Args>& implementation : CpuList()) {
      if (implementation.name != "reference" &&
          implementation.accepts(cpu.Context(),
                                 {.x = {}, .weight = packed.weight.get(), .bias = {}, .out = {}})) {
        EXPECT_EQ(BitMismatch(Run(cpu, implementation.name, packed, x, 15), baseline), "")
            << implementation.name << " " << InfoOf(dtype).name;
      }
    }
  }
}

TEST_F(LinearTest, DenseProductsHaveTheSameBitsWhereFmaIsFast) {
  if (DetectCpuIsa() < CpuIsa::kAvx512) {
    GTEST_SKIP() << "needs two sets to compare";
  }
  CpuFixture cpu(2);
  for (const DType dtype : kWeightTypes) {
    const Packed packed(cpu.Context(), rng_, {{{dtype, 50}}, 256}, ActivationMode::kFp32);
    const std::vector<float> x = RandomFloats(rng_, 15 * 256);
    EXPECT_EQ(BitMismatch(Run(cpu, "avx2", packed, x, 15), Run(cpu, "avx512_vnni", packed, x, 15)),
              "")
        << InfoOf(dtype).name;
  }
}

// Codes and activations at their extremes, where narrow sums would saturate.
TEST_F(LinearTest, ExtremeCodesDoNotSaturate) {
  CpuFixture cpu(1);
  for (const DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kQ5_1, DType::kQ6_K}) {
    for (const uint8_t code : {0x00, 0x80, 0xff, 0x7f}) {
      Packed packed(cpu.Context(), rng_, {{{dtype, 16}}, 256}, ActivationMode::kBlock8);
      HostWeight& weight = packed.parts[0];
      std::fill(weight.bytes.begin(), weight.bytes.end(), code);
      const uint16_t one = FloatToHalf(1.0f);
      const auto block_bytes = static_cast<size_t>(InfoOf(dtype).block_bytes);
      for (size_t block = 0; block < weight.bytes.size(); block += block_bytes) {
        const size_t d_at = dtype == DType::kQ6_K ? offsetof(BlockQ6K, d) : 0;
        std::memcpy(&weight.bytes[block + d_at], &one, 2);
        if (GroupInfoOf(dtype).has_min) {
          std::memcpy(&weight.bytes[block + 2], &one, 2);
        }
      }
      const TensorView view = weight.View();
      packed.weight = *PackWeight(cpu.Context(), {&view, 1}, ActivationMode::kBlock8);
      for (const float value : {127.0f, -127.0f}) {
        const std::vector<float> x(256, value);
        const Expected expected = Multiply(packed.parts, x, 1, ActivationMode::kBlock8);
        for (const std::string_view name : {"", "baseline", "reference"}) {
          EXPECT_EQ(Mismatch(Run(cpu, name, packed, x, 1), expected.values, {.rtol = 1e-5}), "");
        }
        for (const CpuIsa isa : AvailableIsas()) {
          CpuFixture limited(1, isa);
          EXPECT_EQ(Mismatch(Run(limited, {}, packed, x, 1), expected.values, {.rtol = 1e-5}), "")
              << CpuIsaName(isa) << " " << InfoOf(dtype).name << " code " << int{code};
        }
      }
    }
  }
}

TEST_F(LinearTest, ZeroTinyAndNonFiniteActivations) {
  CpuFixture cpu(1);
  const Packed packed(cpu.Context(), rng_, {{{DType::kQ4_1, 16}}, 64}, ActivationMode::kBlock8);
  for (const Implementation<Args>& implementation : CpuList()) {
    if (implementation.name == "avx512_bf16") {
      continue;  // not for this weight
    }
    std::vector<float> x(64, 0.0f);
    EXPECT_EQ(Run(cpu, implementation.name, packed, x, 1)[3], 0.0f) << implementation.name;
    x[1] = 1e-42f;
    EXPECT_EQ(Run(cpu, implementation.name, packed, x, 1)[3], 0.0f) << implementation.name;
    for (const float bad : {std::numeric_limits<float>::infinity(), NAN}) {
      x[40] = bad;
      EXPECT_TRUE(std::isnan(Run(cpu, implementation.name, packed, x, 1)[3]))
          << implementation.name;
    }
  }
}

TEST_F(LinearTest, NoRowsDoNothing) {
  CpuFixture cpu(2);
  const Packed packed(cpu.Context(), rng_, {{{DType::kQ8_0, 48}}, 64}, ActivationMode::kBlock8);
  EXPECT_THAT(Run(cpu, {}, packed, {}, 0), ::testing::IsEmpty());
}

TEST_F(LinearTest, NothingIsAllocatedOnceWarm) {
  CpuFixture cpu(2);
  const Packed packed(cpu.Context(), rng_, {{{DType::kQ4_1, 48}, {DType::kF32, 7}}, 64},
                      ActivationMode::kBlock8);
  const std::vector<float> x = RandomFloats(rng_, 20 * 64);
  Run(cpu, {}, packed, x, 20);
  const size_t capacity = cpu.workspace().capacity();
  for (int i = 0; i < 100; ++i) {
    Run(cpu, {}, packed, x, 20);
  }
  EXPECT_EQ(cpu.workspace().capacity(), capacity);
}

TEST_F(LinearTest, PackedBytesStayNearTheFile) {
  CpuFixture cpu(1);
  const auto bits = [&](DType dtype) {
    const Packed packed(cpu.Context(), rng_, {{{dtype, 64}}, 512}, ActivationMode::kBlock8);
    return static_cast<double>(packed.weight->bytes()) * 8 / (64 * 512);
  };
  EXPECT_EQ(bits(DType::kQ4_0), 4.5);
  EXPECT_EQ(bits(DType::kQ4_1), 5.0);
  EXPECT_EQ(bits(DType::kQ8_0), 8.5);
}

// On every platform: layouts may widen scales or codes by half, but a weight that was left in a
// wider type on its way takes twice its bytes.
TEST_F(LinearTest, DevicesHoldWeightsInTheirOwnType) {
  for (const PlatformEntry& entry : EnabledPlatforms()) {
    PlatformFixture device(entry.kind);
    if (!device.missing().empty()) {
      continue;
    }
    SCOPED_TRACE(PlatformName(entry.kind));
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                              DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
      const Packed packed(device.Context(), rng_, {{{dtype, 256}}, 1024}, ActivationMode::kBf16);
      const auto file = static_cast<double>(BytesOf(dtype, 256 * 1024));
      const double held = static_cast<double>(packed.weight->bytes()) / file;
      EXPECT_GE(held, 0.99) << InfoOf(dtype).name;
      EXPECT_LE(held, 1.6) << InfoOf(dtype).name;
    }
  }
}

class LinearErrorTest : public LinearTest {
 protected:
  // The message of the error that `change` to a valid call causes.
  template <typename Change>
  std::string ErrorOf(const Change& change) {
    const Packed packed(cpu_.Context(), rng_, {{{DType::kQ8_0, 16}}, 32}, ActivationMode::kBlock8);
    std::vector<float> x(4 * 64);
    std::vector<float> out(4 * 32);
    Args args{.x = TensorView(x.data(), DType::kF32, {4, 32}),
              .weight = packed.weight.get(),
              .bias = {},
              .out = TensorView(out.data(), DType::kF32, {4, 16})};
    change(args);
    const Status status = linear::Run(cpu_.Context(), args);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  }

  CpuFixture cpu_{1};
};

TEST_F(LinearErrorTest, WrongArgumentsAreNamed) {
  using ::testing::HasSubstr;
  float data[64] = {};
  EXPECT_THAT(ErrorOf([](Args& a) { a.weight = nullptr; }), HasSubstr("no weight"));
  EXPECT_THAT(ErrorOf([&](Args& a) { a.x = TensorView(data, DType::kF32, {2, 31}); }),
              HasSubstr("x is f32 [2, 31]"));
  EXPECT_THAT(ErrorOf([&](Args& a) { a.x = TensorView(data, DType::kI8, {4, 32}); }),
              HasSubstr("x is i8"));
  EXPECT_THAT(ErrorOf([&](Args& a) { a.out = TensorView(data, DType::kF32, {3, 16}); }),
              HasSubstr("needs f32, f16 or bf16 [4, 16]"));
  EXPECT_THAT(ErrorOf([&](Args& a) { a.out = TensorView(data, DType::kF32, {4, 16}, {8, 1}); }),
              HasSubstr("must not overlap"));
  EXPECT_THAT(ErrorOf([&](Args& a) { a.bias = TensorView(data, DType::kF32, {15}); }),
              HasSubstr("bias is f32 [15]"));
  EXPECT_THAT(ErrorOf([&](Args& a) { a.norm.weight = TensorView(data, DType::kF32, {31}); }),
              HasSubstr("the norm's weight is f32 [31]"));
  const auto gated = [&](Args& a) {
    a.out = TensorView(data, DType::kF32, {4, 8});
    a.activation = act_and_mul::Activation::kSilu;
  };
  EXPECT_THAT(ErrorOf([&](Args& a) { gated(a), a.accumulate = true; }),
              HasSubstr("an activation is given with 16 features, accumulate true"));
  EXPECT_THAT(ErrorOf([&](Args& a) { gated(a), a.near_largest = 1; }), HasSubstr("near_largest 1"));
  EXPECT_THAT(ErrorOf([](Args& a) { a.activation = act_and_mul::Activation::kSilu; }),
              HasSubstr("needs f32, f16 or bf16 [4, 8]"));
}

TEST_F(LinearErrorTest, WeightsThatCannotBePackedAreNamed) {
  using ::testing::HasSubstr;
  std::vector<uint8_t> data(4096);
  const auto error = [&](std::vector<TensorView> views, StatusCode code) {
    const auto packed = PackWeight(cpu_.Context(), views, ActivationMode::kBlock8);
    EXPECT_EQ(packed.status().code(), code);
    return packed.status().message();
  };
  const TensorView q8(data.data(), DType::kQ8_0, {4, 64});
  EXPECT_THAT(error({}, StatusCode::kInvalidArgument), HasSubstr("no weight"));
  EXPECT_THAT(
      error({q8, TensorView(data.data(), DType::kQ8_0, {4, 32})}, StatusCode::kInvalidArgument),
      HasSubstr("q8_0 [4, 32]"));
  EXPECT_THAT(error({TensorView(data.data(), DType::kQ8_0, {4, 40})}, StatusCode::kInvalidArgument),
              HasSubstr("whole blocks"));
  EXPECT_THAT(error({TensorView(data.data(), DType::kF32, {4})}, StatusCode::kInvalidArgument),
              HasSubstr("f32 [4]"));
  EXPECT_THAT(error({TensorView(data.data(), DType::kI32, {4, 4})}, StatusCode::kUnsupported),
              HasSubstr("i32"));
}

}  // namespace
}  // namespace quire::ops::linear
