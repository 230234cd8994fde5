// Every implementation on every weight format, mode, type of activations and number of rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <list>

#include "base/test_seed.h"
#include "ops/linear/packed_blocks.h"
#include "ops/linear/weight_sources.h"
#include "ops/platform_conformance.h"

namespace quire::ops::linear {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

struct Case {
  std::string name;
  std::vector<SourceKind> stack;  // each of n features; empty for a random problem
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  ActivationMode mode = ActivationMode::kFp32;
  DType x = DType::kF32;
  DType out = DType::kF32;
  bool bias = false;
  bool accumulate = false;
};

std::string_view NameOf(ActivationMode mode) {
  switch (mode) {
    case ActivationMode::kFp32: return "fp32";
    case ActivationMode::kBlock8: return "block8";
    case ActivationMode::kBf16: return "bf16";
    case ActivationMode::kFp8: return "fp8";
  }
  return "";
}

// Whether `mode` treats the kind otherwise than the modes before it.
bool Differs(const SourceKind& kind, ActivationMode mode) {
  const bool plain = kind.format == WeightFormat::kPlain;
  const bool bf16 = plain && (kind.dtype == DType::kBF16 || kind.dtype == DType::kF8E4M3);
  const bool codes = !plain || kind.dtype == DType::kI8 || IsQuantized(kind.dtype);
  switch (mode) {
    case ActivationMode::kFp32: return true;
    case ActivationMode::kBlock8: return codes;
    case ActivationMode::kBf16: return bf16;
    case ActivationMode::kFp8: return kind.dtype == DType::kF8E4M3;
  }
  return false;
}

// Features and inputs that are awkward where the kind allows.
void SetExtents(Case& c) {
  const SourceKind& kind = c.stack[0];
  const int64_t block = InfoOf(kind.dtype).block_elements;
  c.n = kind.format != WeightFormat::kPlain ? 40 : kind.scaling == Scaling::kSquare ? 145 : 37;
  c.k = kind.format != WeightFormat::kPlain ? 192
        : kind.scaling == Scaling::kSquare  ? 301
        : block > 1                         ? block * (block > 32 ? 1 : 3)
        : kind.dtype == DType::kI8          ? 147
                                            : 77;
}

std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  size_t index = 0;
  for (const SourceKind& kind : SourceKinds()) {
    for (const ActivationMode mode : {ActivationMode::kFp32, ActivationMode::kBlock8,
                                      ActivationMode::kBf16, ActivationMode::kFp8}) {
      for (const int64_t m : {0, 1, 2, 5, 17, 33}) {
        if (!Differs(kind, mode)) {
          continue;
        }
        Case c{.name = StrCat(kind.name, "_", NameOf(mode), "_m", m), .stack = {kind}, .m = m};
        SetExtents(c);
        c.mode = mode;
        c.x = kTypes[index % 3];
        c.out = kTypes[index / 3 % 3];
        c.bias = index % 2 == 1;
        c.accumulate = index % 5 < 2;
        cases.push_back(c);
        ++index;
      }
      index += 2;
    }
  }
  for (const std::string_view name : {"f8", "f8_tensor", "f8_feature", "f8_square"}) {
    for (const int64_t m : {1, 17, 40, 70, 130}) {
      cases.push_back({.name = StrCat(name, "_fp8_whole_m", m),
                       .stack = {KindNamed(name), KindNamed(name)},
                       .m = m,
                       .n = m % 2 == 0 ? 128 : 272,
                       .k = m == 40 ? 1300 : 384,
                       .mode = ActivationMode::kFp8,
                       .x = kTypes[m % 3],
                       .out = kTypes[(m + 1) % 3],
                       .bias = m < 20,
                       .accumulate = m < 2});
    }
  }
  for (int i = 0; i < 20; ++i) {
    cases.push_back({.name = StrCat("random_", i), .stack = {}});
  }
  return cases;
}

// A stack that all modes can pack, of any kinds. With act-order, of such weights alone.
Case RandomCase(std::mt19937_64& rng) {
  const std::vector<SourceKind> kinds = SourceKinds();
  Case c{.name = "random",
         .stack = {},
         .m = static_cast<int64_t>(rng() % 40),
         .n = 8 * static_cast<int64_t>(1 + rng() % 9),
         .k = 256 * static_cast<int64_t>(1 + rng() % 2),
         .mode = static_cast<ActivationMode>(rng() % 4),
         .x = kTypes[rng() % 3],
         .out = kTypes[rng() % 3],
         .bias = rng() % 2 == 0,
         .accumulate = rng() % 2 == 0};
  const auto parts = static_cast<size_t>(1 + rng() % 4);
  while (c.stack.size() < parts) {
    const SourceKind& kind = kinds[rng() % kinds.size()];
    if (c.stack.empty() || c.stack[0].act_order == kind.act_order) {
      c.stack.push_back(kind);
    }
  }
  return c;
}

// How the rows of x enter a product with a weight of this kind.
ActivationForm FormOf(const SourceKind& kind, ActivationMode mode) {
  if (mode == ActivationMode::kFp32) {
    return ActivationForm::kFp32;
  }
  if (kind.format != WeightFormat::kPlain || IsQuantized(kind.dtype)) {
    return ActivationForm::kBlock8;
  }
  if (kind.dtype == DType::kI8) {
    return ActivationForm::kRow8;
  }
  if (mode == ActivationMode::kFp8 && kind.dtype == DType::kF8E4M3) {
    return ActivationForm::kFp8;
  }
  const bool bf16 = kind.dtype == DType::kBF16 || kind.dtype == DType::kF8E4M3;
  return bf16 && mode != ActivationMode::kBlock8 ? ActivationForm::kBf16 : ActivationForm::kFp32;
}

// Whether an implementation of another platform than the CPU multiplies in f8e4m3.
bool MultipliesFp8(const Case& c, const SourceKind& kind, std::string_view implementation) {
  return c.mode == ActivationMode::kFp8 && kind.dtype == DType::kF8E4M3 &&
         kind.scaling != Scaling::kFeature &&
         (implementation == "fp8_rows" || (implementation == "matmul" && c.n % 16 == 0));
}

// How the rows of x, and elements of weights that are not stored as they are, enter a product on
// other platforms than the CPU.
struct DeviceRounding {
  DType x = DType::kF32;
  bool expands = false;  // elements of weights are rounded to bf16
};

DeviceRounding RoundingOf(const Case& c, const SourceKind& kind, std::string_view implementation) {
  if (c.mode == ActivationMode::kFp32 || MultipliesFp8(c, kind, implementation)) {
    return {};
  }
  const bool plain = kind.format == WeightFormat::kPlain && kind.scaling == Scaling::kNone;
  if (plain && (kind.dtype == DType::kF32 || kind.dtype == DType::kF16)) {
    return {.x = kind.dtype};
  }
  const bool dense = plain && kind.dtype == DType::kBF16;
  return {.x = DType::kBF16, .expands = !dense && implementation == "matmul"};
}

double Rounded(double value, DType type) {
  const auto narrow = static_cast<float>(value);
  return type == DType::kBF16  ? BFloat16ToFloat(FloatToBFloat16(narrow))
         : type == DType::kF16 ? HalfToFloat(FloatToHalf(narrow))
                               : value;
}

// A run of features rounded to 8-bit integers, or floats, with one scale.
void RoundRun(std::span<const float> x, const std::vector<size_t>& run, bool floats,
              std::vector<double>& seen) {
  const float most = floats ? 448.0f : 127.0f;
  float max = 0;
  for (const size_t i : run) {
    max = std::max(max, std::abs(x[i]));
  }
  for (const size_t i : run) {
    const float code = x[i] * (most / max);
    const double rounded = floats ? Float8ToFloat(FloatToFloat8(code)) : std::nearbyint(code);
    seen[i] = max == 0 ? 0 : double{max / most} * rounded;
  }
}

// A row as the product sees it.
std::vector<double> Seen(std::span<const float> x, ActivationForm form,
                         const TensorView& group_index) {
  std::vector<double> seen(x.begin(), x.end());
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  if (form == ActivationForm::kBf16) {
    for (double& value : seen) {
      value = BFloat16ToFloat(FloatToBFloat16(static_cast<float>(value)));
    }
  } else if (form != ActivationForm::kFp32) {
    if (group_index.defined()) {
      const auto* group = group_index.as<int32_t>();
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return group[a] != group[b] ? group[a] < group[b] : a < b;
      });
    }
    const bool floats = form == ActivationForm::kFp8;
    const size_t run = form == ActivationForm::kRow8 ? x.size() : floats ? 128 : 32;
    for (size_t start = 0; start < order.size(); start += run) {
      RoundRun(x, {order.begin() + start, order.begin() + std::min(start + run, order.size())},
               floats, seen);
    }
  }
  return seen;
}

// A case with its data.
struct Problem {
  Problem(const OpContext& context, const Case& problem, std::mt19937_64& rng)
      : c(problem),
        features(c.n * static_cast<int64_t>(c.stack.size())),
        x(c.x, {c.m, c.k}, c.k + 5),
        out(c.out, {c.m, features}, features + 3),
        bias(RandomFloats(rng, features)),
        before(RandomFloats(rng, c.m * features)) {
    std::vector<WeightSource> sources;
    for (const SourceKind& kind : c.stack) {
      weights.emplace_back(rng, kind, c.n, c.k);
      sources.push_back(weights.back().source());
    }
    x.Assign(RandomFloats(rng, c.m * c.k));
    auto made = PackWeight(context, sources, c.mode);
    QUIRE_CHECK(made.ok()) << made.status().message();
    packed = *made;
    args = {.x = x.View(),
            .weight = packed.get(),
            .bias = {},
            .out = out.View(),
            .accumulate = c.accumulate};
    if (c.bias) {
      args.bias = TensorView(bias.data(), DType::kF32, {features});
    }
  }

  std::vector<float> Result(const OpContext& context) {
    out.Assign(before);
    const Status status = RunOnDevice(context, args);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(out.Damage(), "");
    return out.Values();
  }

  // How row `values` of x meets a weight of `kind` in the implementation that `param` names.
  std::vector<double> SeenBy(const ConformanceParam<Case>& param, std::span<const float> values,
                             const SourceWeight& weight) const {
    if (param.platform == PlatformKind::kCpu) {
      return Seen(values, FormOf(weight.kind(), c.mode), weight.source().group_index);
    }
    const DType type = RoundingOf(c, weight.kind(), param.implementation).x;
    std::vector<double> seen(values.begin(), values.end());
    if (c.mode == ActivationMode::kFp8 && weight.kind().dtype == DType::kF8E4M3) {
      seen = Seen(values, ActivationForm::kFp8, {});
    }
    std::transform(seen.begin(), seen.end(), seen.begin(),
                   [&](double value) { return Rounded(value, type); });
    return seen;
  }

  // The elements of a feature as they are multiplied.
  std::vector<double> RowFor(const ConformanceParam<Case>& param, const SourceWeight& weight,
                             int64_t feature) const {
    std::vector<double> row = weight.Row(feature);
    if (param.platform != PlatformKind::kCpu &&
        RoundingOf(c, weight.kind(), param.implementation).expands) {
      std::transform(row.begin(), row.end(), row.begin(),
                     [](double value) { return Rounded(value, DType::kBF16); });
    }
    return row;
  }

  // The product in double; `tolerance` is what fp32 sums and the type of out may lose.
  std::vector<float> Expected(const ConformanceParam<Case>& param, Tolerance& tolerance) {
    out.Assign(before);
    std::vector<float> expected = out.Values();
    const std::vector<float> values = x.Values();
    double largest = 0;
    int64_t column = 0;
    for (const SourceWeight& weight : weights) {
      std::vector<std::vector<double>> rows;
      for (int64_t t = 0; t < c.m; ++t) {
        rows.push_back(SeenBy(
            param,
            std::span(values).subspan(static_cast<size_t>(t * c.k), static_cast<size_t>(c.k)),
            weight));
      }
      for (int64_t feature = 0; feature < c.n; ++feature, ++column) {
        const std::vector<double> w = RowFor(param, weight, feature);
        for (int64_t t = 0; t < c.m; ++t) {
          float& value = expected[static_cast<size_t>(t * features + column)];
          double sum =
              (c.accumulate ? value : 0) + (c.bias ? bias[static_cast<size_t>(column)] : 0);
          double magnitude = std::abs(sum);
          for (size_t i = 0; i < w.size(); ++i) {
            sum += w[i] * rows[static_cast<size_t>(t)][i];
            magnitude += std::abs(w[i] * rows[static_cast<size_t>(t)][i]);
          }
          value = static_cast<float>(sum);
          largest = std::max(largest, magnitude);
        }
      }
    }
    const double rounding = c.out == DType::kF32 ? 1e-6 : c.out == DType::kF16 ? 0x1p-11 : 0x1p-8;
    // In f8e4m3 tensor cores add 32 products at once, with about 14 bits.
    const bool fp8 = std::any_of(weights.begin(), weights.end(), [&](const SourceWeight& weight) {
      return MultipliesFp8(c, weight.kind(), param.implementation);
    });
    tolerance = {.rtol = rounding, .atol = (fp8 ? 5e-4 : 3e-6) * largest + 1e-6};
    return expected;
  }

  Case c;
  int64_t features;
  std::list<SourceWeight> weights;
  TypedArray x;
  TypedArray out;
  std::vector<float> bias;
  std::vector<float> before;
  std::shared_ptr<const PackedWeight> packed;
  Args args;
};

class LinearConformance : public ConformanceTest<Case> {
 protected:
  Problem MakeProblem(const OpContext& context) {
    const Case& c = GetParam().problem;
    return Problem(context, c.stack.empty() ? RandomCase(rng_) : c, rng_);
  }

  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(All, LinearConformance,
                         testing::ValuesIn(ConformanceParams(ConformanceCases(),
                                                             ImplementationsOf)),
                         ConformanceName());

TEST_P(LinearConformance, AgreesWithTheReference) {
  const bool on_host = GetParam().platform == PlatformKind::kCpu;
  Problem problem = MakeProblem(Context());
  if (!Accepts(ImplementationsOf, problem.args)) {
    GTEST_SKIP();
  }
  Tolerance tolerance;
  const std::vector<float> expected = problem.Expected(GetParam(), tolerance);
  EXPECT_EQ(Mismatch(problem.Result(Context()), expected, tolerance), "");
  if (on_host) {
    EXPECT_EQ(Mismatch(problem.Result(Reference()), expected, tolerance), "");
  }
  EXPECT_EQ(problem.x.Damage(), "");
}

// A row alone, among others, on other threads: the same bits; but not where a library chooses how
// to add by the number of rows.
TEST_P(LinearConformance, RowsAreIndependent) {
  CpuFixture one(1);
  const bool on_host = GetParam().platform == PlatformKind::kCpu;
  Problem problem = MakeProblem(Context());
  if (!Accepts(ImplementationsOf, problem.args) || GetParam().implementation == "matmul") {
    GTEST_SKIP();
  }
  const std::vector<float> expected = problem.Result(Context());
  problem.out.Assign(problem.before);
  const OpContext other = on_host ? one.Context(GetParam().implementation) : Context();
  for (int64_t begin = 0, rows = 1; begin < problem.c.m; begin += rows) {
    rows = std::min<int64_t>(1 + static_cast<int64_t>(rng_() % 14), problem.c.m - begin);
    Args part = problem.args;
    part.x = part.x.Rows(begin, begin + rows);
    part.out = part.out.Rows(begin, begin + rows);
    ASSERT_TRUE(RunOnDevice(other, part).ok());
  }
  EXPECT_EQ(BitMismatch(problem.out.Values(), expected), "");
}

// Integer products leave nothing to the instruction set; nor do chains of fused products between
// the sets that have them.
TEST(LinearExactnessTest, SetsAgreeBitForBit) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(TestSeed());
  for (const Case& c : ConformanceCases()) {
    if (c.stack.empty() || c.m != 17) {
      continue;
    }
    Problem problem(cpu.Context(), c, rng);
    const ActivationForm form = FormOf(c.stack[0], c.mode);
    const bool integers = form == ActivationForm::kBlock8 || form == ActivationForm::kRow8;
    std::vector<float> expected;
    for (const std::string_view name : {"baseline", "avx2", "avx512_vnni"}) {
      const OpContext context = cpu.Context(name);
      if ((name == "baseline" && !integers) ||
          (name != "baseline" && DetectCpuIsa() < CpuIsa::kAvx2) ||
          (name == "avx512_vnni" && DetectCpuIsa() < CpuIsa::kAvx512)) {
        continue;
      }
      const std::vector<float> result = problem.Result(context);
      expected = expected.empty() ? result : expected;
      EXPECT_EQ(BitMismatch(result, expected), "") << c.name << " " << name;
    }
  }
}

}  // namespace
}  // namespace quire::ops::linear
