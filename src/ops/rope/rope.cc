#include "ops/rope/rope.h"

#include <cmath>

namespace quire::ops::rope {

namespace {

Status Validate(const Args& args, Place place) {
  const TensorView& x = args.x;
  if (x.dtype() != DType::kF32 || x.rank() != 3 || x.place() != place) {
    return InvalidArgument("rope: x is ", Describe(x), "; it must be f32 [T, H, D] on ",
                           PlaceName(place));
  }
  if (x.dim(2) > 1 && x.stride(2) != 1) {
    return InvalidArgument("rope: the last axis of x has stride ", x.stride(2),
                           "; it must be contiguous");
  }
  const TensorView& table = args.cos_sin;
  if (table.dtype() != DType::kF32 || table.rank() != 3 || table.place() != place ||
      !table.IsContiguous()) {
    return InvalidArgument("rope: cos_sin is ", Describe(table),
                           "; it must be contiguous f32 [T, r / 2, 2] on ", PlaceName(place));
  }
  if (table.dim(0) != x.dim(0) || table.dim(2) != 2 || 2 * table.dim(1) > x.dim(2)) {
    return InvalidArgument("rope: cos_sin is ", ShapeName(table.shape()), " for x ",
                           ShapeName(x.shape()), "; it must be [T, r / 2, 2] with r <= D");
  }
  return OkStatus();
}

}  // namespace

void ComputeCosSin(std::span<const int32_t> positions, std::span<const float> inverse_frequency,
                   float scale, float* out) {
  for (const int32_t position : positions) {
    for (const float frequency : inverse_frequency) {
      const float angle = static_cast<float>(position) * frequency;
      *out++ = std::cos(angle) * scale;
      *out++ = std::sin(angle) * scale;
    }
  }
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest("rope", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::rope
