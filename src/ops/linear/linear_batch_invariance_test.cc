// The bits of a row, whatever the number of rows beside it, on every platform: what deterministic
// engines count on.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_seed.h"
#include "ops/linear/weight_sources.h"
#include "ops/platform_conformance.h"

namespace quire::ops::linear {
namespace {

enum class Form : uint8_t { kPlain, kAccumulated, kFused };

// Rows of random numbers and their product with a weight, alone or together: in f32, added to rows
// of bf16, or between a norm and an activation.
class Product {
 public:
  Product(const OpContext& context, const SourceKind& kind, ActivationMode mode, int64_t m,
          int64_t n, int64_t k, Form form = Form::kPlain)
      : context_(context),
        form_(form),
        weight_(rng_, kind, n, k),
        x_(mode == ActivationMode::kFp32 ? DType::kF32 : DType::kBF16, {m, k}),
        out_(form == Form::kAccumulated ? DType::kBF16 : DType::kF32,
             {m, form == Form::kFused ? n / 2 : n}),
        norm_weight_(DType::kF32, {k}) {
    auto packed = PackWeight(context, std::span(&weight_.source(), 1), mode);
    QUIRE_CHECK(packed.ok()) << packed.status().message();
    packed_ = *packed;
    x_.Assign(RandomFloats(rng_, m * k));
    before_ = RandomFloats(rng_, out_.shape().elements());
    norm_weight_.Assign(RandomFloats(rng_, k));
  }

  int64_t m() const { return x_.shape()[0]; }
  int64_t columns() const { return out_.shape()[1]; }

  // The rows [begin, end) in one call.
  std::vector<float> Rows(int64_t begin, int64_t end) {
    Args args = {.x = x_.View().Rows(begin, end),
                 .weight = packed_.get(),
                 .bias = {},
                 .out = out_.View().Rows(begin, end),
                 .accumulate = form_ == Form::kAccumulated};
    if (form_ == Form::kFused) {
      args.norm.weight = norm_weight_.View();
      args.activation = act_and_mul::Activation::kSilu;
    }
    out_.Assign(before_);
    const Status status = RunOnDevice(context_, args);
    EXPECT_TRUE(status.ok()) << status.message();
    const std::vector<float> all = out_.Values();
    return {all.begin() + begin * columns(), all.begin() + end * columns()};
  }

 private:
  std::mt19937_64 rng_{TestSeed()};
  OpContext context_;
  Form form_;
  SourceWeight weight_;
  TypedArray x_;
  TypedArray out_;
  TypedArray norm_weight_;
  std::vector<float> before_;
  std::shared_ptr<const PackedWeight> packed_;
};

// All rows at once against parts of them, of each length that takes another way somewhere.
void ExpectSameBits(Product& product) {
  const std::vector<float> whole = product.Rows(0, product.m());
  for (const int64_t rows : {1, 2, 8, 9, 16, 17, 33, 64, 65, 129, 300, 600}) {
    if (rows >= product.m()) {
      break;
    }
    const int64_t begin = (product.m() - rows) / 2;
    const std::vector<float> expected(whole.begin() + begin * product.columns(),
                                      whole.begin() + (begin + rows) * product.columns());
    EXPECT_EQ(BitMismatch(product.Rows(begin, begin + rows), expected), "") << rows << " rows";
  }
}

class LinearBatchInvariance : public testing::TestWithParam<PlatformKind> {
 protected:
  void SetUp() override {
    if (!device_.missing().empty()) {
      GTEST_SKIP() << device_.missing();
    }
  }

  OpContext Context() {
    OpContext context = device_.Context();
    context.batch_invariant = true;
    return context;
  }

 private:
  PlatformFixture device_{GetParam()};
};

std::vector<PlatformKind> Platforms() {
  std::vector<PlatformKind> kinds;
  for (const PlatformEntry& entry : EnabledPlatforms()) {
    kinds.push_back(entry.kind);
  }
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(All, LinearBatchInvariance, testing::ValuesIn(Platforms()),
                         [](const auto& param) { return std::string(PlatformName(param.param)); });

TEST_P(LinearBatchInvariance, OfEveryFormat) {
  for (const SourceKind& kind : SourceKinds()) {
    for (const ActivationMode mode :
         {ActivationMode::kFp32, ActivationMode::kBf16, ActivationMode::kFp8}) {
      if (mode == ActivationMode::kFp8 && kind.dtype != DType::kF8E4M3) {
        continue;
      }
      SCOPED_TRACE(StrCat(kind.name, ", mode ", static_cast<int>(mode)));
      Product product(Context(), kind, mode, 700, 136, 768);
      ExpectSameBits(product);
    }
  }
}

TEST_P(LinearBatchInvariance, OfAwkwardFeatures) {
  for (const std::string_view name : {"f32", "f16", "bf16", "q8_0", "i8_feature"}) {
    SCOPED_TRACE(name);
    Product product(Context(), KindNamed(name), ActivationMode::kBf16, 140, 37, 96);
    ExpectSameBits(product);
  }
}

TEST_P(LinearBatchInvariance, OfWhatIsAdded) {
  for (const std::string_view name : {"f32", "f16", "bf16", "q4_1"}) {
    SCOPED_TRACE(name);
    Product product(Context(), KindNamed(name), ActivationMode::kBf16, 140, 136, 768,
                    Form::kAccumulated);
    ExpectSameBits(product);
  }
}

TEST_P(LinearBatchInvariance, OfWhatIsFused) {
  for (const std::string_view name : {"f16", "bf16", "q4_k", "q8_0"}) {
    SCOPED_TRACE(name);
    Product product(Context(), KindNamed(name), ActivationMode::kBf16, 140, 136, 768, Form::kFused);
    ExpectSameBits(product);
  }
}

TEST_P(LinearBatchInvariance, OfManyFeatures) {
  for (const std::string_view name : {"bf16", "q4_1"}) {
    SCOPED_TRACE(name);
    Product product(Context(), KindNamed(name), ActivationMode::kBf16, 70, 16400, 192);
    ExpectSameBits(product);
  }
}

TEST_P(LinearBatchInvariance, OfManyInputs) {
  for (const std::string_view name : {"bf16", "q4_k", "q6_k"}) {
    SCOPED_TRACE(name);
    Product product(Context(), KindNamed(name), ActivationMode::kBf16, 140, 264, 5120);
    ExpectSameBits(product);
  }
}

}  // namespace
}  // namespace quire::ops::linear
