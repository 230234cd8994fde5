#include "ops/linear/int4_groups.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops/linear/packed_blocks.h"
#include "tensor/element.h"

namespace quire::ops::linear {

namespace {

constexpr int kCodesPerWord = 8;
// The nibble of a word that belongs to output feature 8j + i.
constexpr int kAwqNibble[kCodesPerWord] = {0, 4, 1, 5, 2, 6, 3, 7};

int Nibble(const TensorView& words, int64_t row, int64_t column, int nibble) {
  const auto word =
      static_cast<uint32_t>(words.as<const int32_t>()[row * words.stride(0) + column]);
  return static_cast<int>(word >> (4 * nibble) & 15);
}

Status CheckMatrix(std::string_view name, const TensorView& view, int64_t rows, int64_t columns) {
  if (view.rank() != 2 || view.dim(0) != rows || view.dim(1) != columns || view.stride(1) != 1) {
    return InvalidArgument("linear: ", name, " of int4 groups are ", Describe(view), ", need ",
                           ShapeName({rows, columns}), " with contiguous rows");
  }
  return OkStatus();
}

Status CheckGroupIndex(const WeightSource& source, int64_t k, int64_t groups) {
  const TensorView& index = source.group_index;
  if (index.rank() != 1 || index.dtype() != DType::kI32 || index.dim(0) != k ||
      !index.IsContiguous() || source.format == WeightFormat::kAwq) {
    return InvalidArgument("linear: group_index is ", Describe(index), ", needs contiguous i32 ",
                           ShapeName({k}), " and a GPTQ format");
  }
  std::vector<int64_t> members(static_cast<size_t>(groups), 0);
  for (int64_t i = 0; i < k; ++i) {
    const int32_t group = index.as<int32_t>()[i];
    if (group < 0 || group >= groups) {
      return InvalidArgument("linear: group_index[", i, "] is ", group, ", not one of the ", groups,
                             " groups that have scales");
    }
    ++members[static_cast<size_t>(group)];
  }
  for (int64_t g = 0; g < groups; ++g) {
    if (members[static_cast<size_t>(g)] != k / groups) {
      return InvalidArgument("linear: group ", g, " of group_index has ",
                             members[static_cast<size_t>(g)], " members; each needs ", k / groups);
    }
  }
  return OkStatus();
}

}  // namespace

WeightExtents ExtentsOf(const WeightSource& source) {
  const TensorView& weight = source.weight;
  switch (source.format) {
    case WeightFormat::kPlain: break;
    case WeightFormat::kAwq: return {weight.dim(1) * kCodesPerWord, weight.dim(0)};
    case WeightFormat::kGptq:
    case WeightFormat::kGptq2: return {weight.dim(1), weight.dim(0) * kCodesPerWord};
  }
  return {weight.dim(0), weight.dim(1)};
}

Status CheckInt4Groups(const WeightSource& source) {
  const WeightExtents extents = ExtentsOf(source);
  const TensorView& scales = source.scales;
  if (source.weight.dtype() != DType::kI32 || extents.n % kCodesPerWord != 0) {
    return InvalidArgument("linear: int4 codes are ", Describe(source.weight),
                           "; need i32 and output features in whole words of 8");
  }
  if (!scales.defined() || scales.rank() != 2 || scales.dim(0) < 1 ||
      extents.k % scales.dim(0) != 0) {
    return InvalidArgument("linear: scales of int4 groups are ", Describe(scales), ", need [G, ",
                           extents.n, "] with G a divisor of ", extents.k);
  }
  const int64_t groups = scales.dim(0);
  QUIRE_RETURN_IF_ERROR(CheckMatrix("scales", scales, groups, extents.n));
  if (source.zeros.defined()) {
    QUIRE_RETURN_IF_ERROR(CheckMatrix("zeros", source.zeros, groups, extents.n / kCodesPerWord));
    if (source.zeros.dtype() != DType::kI32) {
      return InvalidArgument("linear: zeros of int4 groups are ", Describe(source.zeros),
                             ", need i32");
    }
  }
  if (extents.k / groups % kGroup != 0) {
    return Unsupported("linear: int4 groups of ", extents.k / groups,
                       " input features; they must be multiples of ", kGroup);
  }
  return source.group_index.defined() ? CheckGroupIndex(source, extents.k, groups) : OkStatus();
}

Int4Groups::Int4Groups(const WeightSource& source)
    : source_(source), k_(ExtentsOf(source).k), group_(k_ / source.scales.dim(0)) {
  if (!source.group_index.defined()) {
    return;
  }
  const auto* group = source.group_index.as<const int32_t>();
  if (std::is_sorted(group, group + k_)) {
    return;
  }
  input_order_.resize(static_cast<size_t>(k_));
  std::iota(input_order_.begin(), input_order_.end(), 0);
  std::sort(input_order_.begin(), input_order_.end(), [&](int32_t a, int32_t b) {
    return group[a] != group[b] ? group[a] < group[b] : a < b;
  });
}

int Int4Groups::Code(int64_t k, int64_t feature) const {
  if (source_.format == WeightFormat::kAwq) {
    return Nibble(source_.weight, k, feature / kCodesPerWord, kAwqNibble[feature % kCodesPerWord]);
  }
  return Nibble(source_.weight, k / kCodesPerWord, feature, static_cast<int>(k % kCodesPerWord));
}

int64_t Int4Groups::GroupOf(int64_t k) const {
  return source_.group_index.defined() ? source_.group_index.as<int32_t>()[k] : k / group_;
}

int Int4Groups::Zero(int64_t group, int64_t feature) const {
  if (!source_.zeros.defined()) {
    return 8;
  }
  const int column = static_cast<int>(feature % kCodesPerWord);
  const bool awq = source_.format == WeightFormat::kAwq;
  const int stored =
      Nibble(source_.zeros, group, feature / kCodesPerWord, awq ? kAwqNibble[column] : column);
  return source_.format == WeightFormat::kGptq ? stored + 1 : stored;
}

float Int4Groups::Scale(int64_t group, int64_t feature) const {
  const TensorView& scales = source_.scales;
  return LoadElement(scales.data(), scales.dtype(), group * scales.stride(0) + feature);
}

void Int4Groups::Expand(int64_t feature, float* out) const {
  for (int64_t k = 0; k < k_; ++k) {
    const int64_t group = GroupOf(k);
    out[k] = Scale(group, feature) * static_cast<float>(Code(k, feature) - Zero(group, feature));
  }
}

void Int4Groups::PackPanel(bool zero_points, int64_t panel, int64_t features, uint8_t* out) const {
  const PanelFormat format = FormatOf(zero_points ? PanelKind::kU4Zero : PanelKind::kU4MinF32);
  const int64_t first = panel * kPanelWidth;
  const int64_t count = std::min<int64_t>(kPanelWidth, features - first);
  for (int64_t start = 0; start < k_; start += kGroup, out += format.GroupBytes()) {
    uint8_t* scales = out + format.CodeBytes();
    uint8_t* mins = scales + format.ScaleBytes();
    for (int64_t r = 0; r < count; ++r) {
      const int64_t group = start / group_;
      for (int64_t i = 0; i < kGroup; ++i) {
        const int64_t k = input_order_.empty() ? start + i : input_order_[start + i];
        const int64_t byte = 64 * (i % 16 / 4) + 4 * r + i % 4;
        out[byte] = static_cast<uint8_t>(out[byte] | Code(k, first + r) << (i < 16 ? 0 : 4));
      }
      const float scale = Scale(group, first + r);
      const auto minus_zero = static_cast<float>(-Zero(group, first + r));
      if (zero_points) {
        StoreElement(scale, scales, DType::kF16, r);
        StoreElement(minus_zero, mins, DType::kF16, r);
      } else {
        StoreElement(scale, scales, DType::kF32, r);
        StoreElement(scale * minus_zero, mins, DType::kF32, r);
      }
    }
  }
}

}  // namespace quire::ops::linear
