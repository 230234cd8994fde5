// What the conformance tests and benchmarks of all operators share: a CPU context, arrays between
// guard bytes, seeded values, comparison with a tolerance, and the walk over all implementations.
// No product code includes this.
//
// A suite of an operator runs each implementation of each platform on each case as a test of its
// own:
//
//   class RmsNormConformance : public ConformanceTest<Case> {};  // platform_conformance.h
//   INSTANTIATE_TEST_SUITE_P(All, RmsNormConformance,
//                            testing::ValuesIn(ConformanceParams(ConformanceCases(),
//                                                                ImplementationsOf)),
//                            ConformanceName());
//   TEST_P(RmsNormConformance, AgreesWithTheReference) {
//     TypedArray out(DType::kF16, {rows, 64}, 72);    // rows 72 elements apart, the gaps guarded
//     if (!Accepts(ImplementationsOf, args)) GTEST_SKIP();
//     ... Run(Reference(), args) ... RunOnDevice(Context(), args) ...
//     EXPECT_EQ(Mismatch(out.Values(), expected, ToleranceOf(DType::kF16)), "");
//     EXPECT_EQ(out.Damage(), "");
//   }
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/strcat.h"
#include "ops/device_arrays.h"
#include "ops/implementation.h"
#include "platform/cpu/cpu_device.h"
#include "tensor/element.h"
#include "tensor/tensor_view.h"

namespace quire::ops {

// A CPU device of `threads` threads, its stream and a workspace.
class CpuFixture {
 public:
  explicit CpuFixture(int threads, CpuIsa isa = DetectCpuIsa())
      : device_(Make(threads, isa)), stream_(*device_), workspace_(*device_) {}

  // The context that asks for `implementation`; empty for the best. The name must outlive the
  // context.
  OpContext Context(std::string_view implementation = {}) {
    return {stream_, workspace_, implementation};
  }
  CpuDevice& device() { return *device_; }
  CpuStream& stream() { return stream_; }
  Workspace& workspace() { return workspace_; }

 private:
  static std::unique_ptr<CpuDevice> Make(int threads, CpuIsa isa) {
    Result<std::unique_ptr<CpuDevice>> device = CpuDevice::Create(threads, isa);
    QUIRE_CHECK(device.ok()) << device.status().message();
    return *std::move(device);
  }

  std::unique_ptr<CpuDevice> device_;
  CpuStream stream_;
  Workspace workspace_;
};

// The levels of instruction set that this machine can run, lowest first.
inline std::vector<CpuIsa> AvailableIsas() {
  std::vector<CpuIsa> isas;
  for (const CpuIsa isa : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    if (isa <= DetectCpuIsa()) {
      isas.push_back(isa);
    }
  }
  return isas;
}

// Calls body(context) once for every implementation in `list` that takes `args` on the fixture's
// stream, "reference" last. Returns how many that were.
template <typename Fixture, typename Args, typename Body>
int ForEachImplementation(Fixture& fixture, const ImplementationList<Args>& list, const Args& args,
                          const Body& body) {
  int count = 0;
  for (const Implementation<Args>& implementation : list) {
    const OpContext context = fixture.Context(implementation.name);
    if (implementation.accepts(context, args)) {
      body(context);
      ++count;
    }
  }
  return count;
}

// A conformance test runs one implementation, by name, on one case. Case has a `std::string name`.
template <typename Case>
struct ConformanceParam {
  std::string implementation;
  Case problem;
  PlatformKind platform = PlatformKind::kCpu;
};

// How GoogleTest shows it.
template <typename Case>
void PrintTo(const ConformanceParam<Case>& param, std::ostream* out) {
  *out << param.implementation << " on " << param.problem.name;
}

// Every implementation of the list but the reference, on every case: what a suite is instantiated
// with. The first two cases and the last are also the smoke form of the suite:
// --gtest_filter='*Conformance*smoke*'.
template <typename Case, typename Args>
std::vector<ConformanceParam<Case>> ConformanceParams(const std::vector<Case>& cases,
                                                      const ImplementationList<Args>& list) {
  std::vector<ConformanceParam<Case>> params;
  for (const Implementation<Args>& implementation : list) {
    for (size_t i = 0; i < cases.size() && implementation.name != "reference"; ++i) {
      params.push_back({std::string(implementation.name), cases[i]});
      if (i < 2 || i + 1 == cases.size()) {
        params.back().problem.name += "_smoke";
      }
    }
  }
  return params;
}

// The same of all platforms of this build.
template <typename Case, typename Args>
std::vector<ConformanceParam<Case>> ConformanceParams(
    const std::vector<Case>& cases,
    const ImplementationList<Args>& (*implementations_of)(PlatformKind)) {
  std::vector<ConformanceParam<Case>> params;
  for (const PlatformEntry& platform : EnabledPlatforms()) {
    for (ConformanceParam<Case>& param :
         ConformanceParams(cases, implementations_of(platform.kind))) {
      param.platform = platform.kind;
      params.push_back(std::move(param));
    }
  }
  return params;
}

// The name of such a test: "avx2_decode_page_16"; on other platforms than the CPU with theirs
// before it.
struct ConformanceName {
  template <typename ParamInfo>
  std::string operator()(const ParamInfo& info) const {
    const PlatformKind platform = info.param.platform;
    return StrCat(platform == PlatformKind::kCpu ? "" : PlatformName(platform),
                  platform == PlatformKind::kCpu ? "" : "_", info.param.implementation, "_",
                  info.param.problem.name);
  }
};

// The implementation called `name`. REQUIRES: the list has it.
template <typename Args>
const Implementation<Args>& Named(const ImplementationList<Args>& list, std::string_view name) {
  for (const Implementation<Args>& implementation : list) {
    if (implementation.name == name) {
      return implementation;
    }
  }
  QUIRE_CHECK(false) << "no implementation " << name;
  return list.front();
}

// A host array whose rows may lie apart. Everything that is not an element (before, between, after)
// is filled with a pattern that Damage() checks; elements start as `fill` bytes, for floats a NaN.
template <typename T>
class GuardedArray {
 public:
  // Contiguous.
  explicit GuardedArray(const Shape& shape) : GuardedArray(shape, shape[shape.rank() - 1]) {}
  // Rows along the last axis start `row_stride` elements apart. REQUIRES: row_stride >= the last
  // extent.
  GuardedArray(const Shape& shape, int64_t row_stride)
      : shape_(shape), columns_(shape[shape.rank() - 1]), row_stride_(row_stride) {
    QUIRE_CHECK_GE(row_stride_, columns_);
    rows_ = columns_ == 0 ? 0 : shape_.elements() / columns_;
    bytes_.assign(
        2 * kGuardBytes + static_cast<size_t>(rows_ * row_stride_) * sizeof(T) + kAlignment,
        kGuard);
    const size_t misaligned = reinterpret_cast<uintptr_t>(bytes_.data()) % kAlignment;
    start_ = kGuardBytes + (kAlignment - misaligned) % kAlignment;
    for (int64_t row = 0; row < rows_; ++row) {
      std::memset(Row(row), 0xff, static_cast<size_t>(columns_) * sizeof(T));
    }
  }

  T* Row(int64_t row) { return reinterpret_cast<T*>(bytes_.data() + start_) + row * row_stride_; }
  const T* Row(int64_t row) const { return const_cast<GuardedArray*>(this)->Row(row); }
  T* data() { return Row(0); }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

  TensorView View(DType dtype) {
    std::array<int64_t, Shape::kMaxRank> strides = {};
    int64_t stride = row_stride_;
    strides[shape_.rank() - 1] = 1;
    for (int axis = shape_.rank() - 2; axis >= 0; --axis) {
      strides[axis] = stride;
      stride *= shape_[axis];
    }
    return {data(), dtype, shape_, strides};
  }

  // The elements without the gaps, row after row.
  std::vector<T> Values() const {
    std::vector<T> values;
    values.reserve(static_cast<size_t>(rows_ * columns_));
    for (int64_t row = 0; row < rows_; ++row) {
      values.insert(values.end(), Row(row), Row(row) + columns_);
    }
    return values;
  }

  // Sets the elements. REQUIRES: values.size() = rows * columns.
  void Assign(std::span<const T> values) {
    QUIRE_CHECK_EQ(static_cast<int64_t>(values.size()), rows_ * columns_);
    for (int64_t row = 0; row < rows_ && columns_ > 0; ++row) {
      std::memcpy(Row(row), values.data() + row * columns_,
                  static_cast<size_t>(columns_) * sizeof(T));
    }
  }

  // "" if nothing outside the elements was written, else where the first such byte is.
  std::string Damage() const {
    for (size_t i = 0; i < bytes_.size(); ++i) {
      const int64_t offset = static_cast<int64_t>(i) - static_cast<int64_t>(start_);
      const int64_t row_bytes = row_stride_ * static_cast<int64_t>(sizeof(T));
      const bool inside = offset >= 0 && offset < rows_ * row_bytes &&
                          offset % row_bytes < columns_ * static_cast<int64_t>(sizeof(T));
      if (!inside && bytes_[i] != kGuard) {
        return StrCat("byte ", offset, " from the start of the array was written");
      }
    }
    return "";
  }

 private:
  static constexpr uint8_t kGuard = 0xa5;
  static constexpr size_t kGuardBytes = 256;
  static constexpr size_t kAlignment = 64;

  Shape shape_;
  int64_t columns_;
  int64_t row_stride_;
  int64_t rows_ = 0;
  size_t start_ = 0;
  std::vector<uint8_t> bytes_;
};

// A guarded array of any plain floating type, filled and read as fp32.
class TypedArray {
 public:
  // Contiguous.
  TypedArray(DType dtype, const Shape& shape) : TypedArray(dtype, shape, shape[shape.rank() - 1]) {}
  // Rows along the last axis start `row_stride` elements apart. REQUIRES: IsFloating(dtype).
  TypedArray(DType dtype, const Shape& shape, int64_t row_stride)
      : dtype_(dtype),
        shape_(shape),
        row_stride_(row_stride),
        bytes_({shape[shape.rank() - 1] == 0 ? 0 : shape.elements() / shape[shape.rank() - 1],
                BytesOf(dtype, shape[shape.rank() - 1])},
               BytesOf(dtype, row_stride)) {}

  TensorView View() {
    std::array<int64_t, Shape::kMaxRank> strides = {};
    int64_t stride = row_stride_;
    strides[shape_.rank() - 1] = 1;
    for (int axis = shape_.rank() - 2; axis >= 0; --axis) {
      strides[axis] = stride;
      stride *= shape_[axis];
    }
    return {bytes_.data(), dtype_, shape_, strides};
  }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }

  // Sets the elements, rounded to the type. REQUIRES: as many values as elements.
  void Assign(std::span<const float> values) {
    QUIRE_CHECK_EQ(static_cast<int64_t>(values.size()), shape_.elements());
    const int64_t columns = shape_[shape_.rank() - 1];
    for (size_t i = 0; i < values.size(); ++i) {
      const auto index = static_cast<int64_t>(i);
      StoreElement(values[i], bytes_.Row(index / columns), dtype_, index % columns);
    }
  }
  // The elements, row after row.
  std::vector<float> Values() const {
    const int64_t columns = shape_[shape_.rank() - 1];
    std::vector<float> values;
    values.reserve(static_cast<size_t>(shape_.elements()));
    for (int64_t i = 0; i < shape_.elements(); ++i) {
      values.push_back(LoadElement(bytes_.Row(i / columns), dtype_, i % columns));
    }
    return values;
  }
  // Their bytes, for comparisons of bits.
  std::vector<uint8_t> Bytes() const { return bytes_.Values(); }
  // "" if nothing outside the elements was written, else where the first such byte is.
  std::string Damage() const { return bytes_.Damage(); }

 private:
  DType dtype_;
  Shape shape_;
  int64_t row_stride_;
  GuardedArray<uint8_t> bytes_;
};

// `count` normally distributed values.
inline std::vector<float> RandomFloats(std::mt19937_64& rng, int64_t count, float mean = 0.0f,
                                       float deviation = 1.0f) {
  std::normal_distribution<float> distribution(mean, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = distribution(rng);
  }
  return values;
}

// `count` integers in [low, high].
inline std::vector<int32_t> RandomInts(std::mt19937_64& rng, int64_t count, int32_t low,
                                       int32_t high) {
  std::uniform_int_distribution<int32_t> distribution(low, high);
  std::vector<int32_t> values(static_cast<size_t>(count));
  for (int32_t& value : values) {
    value = distribution(rng);
  }
  return values;
}

// |actual - expected| <= atol + rtol * |expected|
struct Tolerance {
  double rtol = 0;
  double atol = 0;
};

// The tolerance for results of `dtype` where a case does not say otherwise.
inline Tolerance ToleranceOf(DType dtype) {
  switch (dtype) {
    case DType::kF16: return {.rtol = 1e-3, .atol = 1e-3};
    case DType::kBF16: return {.rtol = 1e-2, .atol = 5e-3};
    case DType::kF8E4M3: return {.rtol = 0.07, .atol = 2e-3};  // half a unit of 3 bits
    default: return {.rtol = 1e-5, .atol = 1e-6};
  }
}

// "" if all elements agree, else the worst one by excess over its bound. A NaN agrees only with a
// NaN.
inline std::string Mismatch(std::span<const float> actual, std::span<const float> expected,
                            Tolerance tolerance) {
  if (actual.size() != expected.size()) {
    return StrCat(actual.size(), " elements, not ", expected.size());
  }
  double worst = 0;
  size_t worst_index = 0;
  size_t bad = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = actual[i];
    const double e = expected[i];
    if (a == e || (std::isnan(a) && std::isnan(e))) {
      continue;
    }
    const double excess = std::abs(a - e) - (tolerance.atol + tolerance.rtol * std::abs(e));
    if (excess <= 0) {  // false when either is a NaN
      continue;
    }
    ++bad;
    const double rank = std::isnan(excess) ? HUGE_VAL : excess;
    if (rank > worst) {
      worst = rank;
      worst_index = i;
    }
  }
  if (bad == 0) {
    return "";
  }
  return StrCat(bad, " of ", actual.size(), " elements differ; worst is [", worst_index,
                "]: ", actual[worst_index], ", expected ", expected[worst_index]);
}

// "" if all elements have the same bits, else the first that differs.
inline std::string BitMismatch(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) {
    return StrCat(actual.size(), " elements, not ", expected.size());
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof(float)) != 0) {
      return StrCat("element ", i, " is ", actual[i], ", expected the bits of ", expected[i]);
    }
  }
  return "";
}

}  // namespace quire::ops
