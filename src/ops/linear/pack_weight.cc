// The checks of PackWeight(); a platform's Packing does the rest.
#include <algorithm>
#include <vector>

#include "ops/linear/int4_groups.h"
#include "ops/linear/linear.h"
#include "ops/linear/pack_plain.h"
#include "ops/linear/packing.h"

namespace quire::ops::linear {

namespace {

// 255 * 127 * K must fit 32 bits.
constexpr int64_t kMaxI8Features = 65536;

Status CheckHostMatrix(const TensorView& view) {
  if (view.rank() != 2) {
    return InvalidArgument("linear: weight ", Describe(view), " needs two axes");
  }
  if (!view.place().IsHost() || (view.dim(0) > 0 && !view.defined()) || view.stride(1) != 1) {
    return InvalidArgument("linear: weight ", Describe(view),
                           " must be in host memory with contiguous rows");
  }
  return OkStatus();
}

Status CheckPlainScales(const WeightSource& source) {
  const TensorView& weight = source.weight;
  const TensorView& scales = source.scales;
  const bool squares = scales.rank() == 2 && weight.dtype() == DType::kF8E4M3 &&
                       scales.dim(0) == (weight.dim(0) + kScaleSquare - 1) / kScaleSquare &&
                       scales.dim(1) == (weight.dim(1) + kScaleSquare - 1) / kScaleSquare;
  const bool features =
      scales.rank() == 1 && (scales.dim(0) == 1 || scales.dim(0) == weight.dim(0));
  if (weight.dtype() != DType::kF8E4M3 && weight.dtype() != DType::kI8) {
    return InvalidArgument("linear: weight ", Describe(weight),
                           " takes no scales; only f8e4m3 and i8 do");
  }
  if ((!squares && !features) || !scales.IsContiguous()) {
    return InvalidArgument("linear: scales ", Describe(scales), " do not fit weight ",
                           Describe(weight), "; need [1], [N] or, f8e4m3 only, one per square of ",
                           kScaleSquare);
  }
  return OkStatus();
}

Status CheckPlain(const WeightSource& source) {
  const TensorView& weight = source.weight;
  if (weight.dim(1) % InfoOf(weight.dtype()).block_elements != 0) {
    return InvalidArgument("linear: rows of weight ", Describe(weight), " are not whole blocks of ",
                           InfoOf(weight.dtype()).block_elements);
  }
  if (source.zeros.defined() || source.group_index.defined()) {
    return InvalidArgument("linear: weight ", Describe(weight),
                           " takes no zeros or group_index; only int4 groups do");
  }
  if (weight.dtype() == DType::kI8 && weight.dim(1) > kMaxI8Features) {
    return Unsupported("linear: weight ", Describe(weight), " has rows of more than ",
                       kMaxI8Features, " elements, whose integer sums could overflow");
  }
  return source.scales.defined() ? CheckPlainScales(source) : OkStatus();
}

Status CheckSource(const WeightSource& source) {
  QUIRE_RETURN_IF_ERROR(CheckHostMatrix(source.weight));
  for (const TensorView* view : {&source.scales, &source.zeros, &source.group_index}) {
    if (view->defined() && !view->place().IsHost()) {
      return InvalidArgument("linear: ", Describe(*view), " of weight ", Describe(source.weight),
                             " must be in host memory");
    }
  }
  if (source.scales.defined() && source.scales.dtype() != DType::kF32 &&
      source.scales.dtype() != DType::kF16 && source.scales.dtype() != DType::kBF16) {
    return InvalidArgument("linear: scales are ", Describe(source.scales),
                           ", need f32, f16 or bf16");
  }
  return source.format == WeightFormat::kPlain ? CheckPlain(source) : CheckInt4Groups(source);
}

}  // namespace

Result<std::shared_ptr<const PackedWeight>> PackWeight(const OpContext& context,
                                                       std::span<const WeightSource> weights,
                                                       ActivationMode mode) {
  if (weights.empty()) {
    return InvalidArgument("linear: no weight to pack");
  }
  for (const WeightSource& source : weights) {
    QUIRE_RETURN_IF_ERROR(CheckSource(source));
    const WeightExtents extents = ExtentsOf(source);
    if (extents.k < 1 || extents.k != ExtentsOf(weights[0]).k) {
      return InvalidArgument("linear: weight ", Describe(source.weight), " cannot be stacked on ",
                             Describe(weights[0].weight), "; needs [N, K] with one K");
    }
  }
  const Place place = context.stream.device().place();
  const Packing pack = PackingOf(place.platform);
  if (pack == nullptr) {
    return Unsupported("linear: no weight layout for ", PlaceName(place));
  }
  return pack(context, weights, mode);
}

Result<std::shared_ptr<const PackedWeight>> PackWeight(const OpContext& context,
                                                       std::span<const TensorView> weights,
                                                       ActivationMode mode) {
  std::vector<WeightSource> sources(weights.size());
  std::transform(weights.begin(), weights.end(), sources.begin(),
                 [](const TensorView& view) { return WeightSource{.weight = view}; });
  return PackWeight(context, sources, mode);
}

}  // namespace quire::ops::linear
