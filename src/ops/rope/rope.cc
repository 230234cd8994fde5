#include "ops/rope/rope.h"

#include <cmath>
#include <vector>

#include "ops/rope/cos_sin.h"
#include "ops/row_views.h"

namespace quire::ops::rope {

namespace {

constexpr std::string_view kOp = "rope";

Status ValidateAngles(const Angles& angles, Place place) {
  const TensorView& positions = angles.positions;
  const TensorView& frequency = angles.inverse_frequency;
  if (positions.dtype() != DType::kI32 || positions.rank() < 1 || positions.rank() > 2 ||
      positions.place() != place || !positions.IsContiguous()) {
    return InvalidArgument("rope: positions is ", Describe(positions),
                           "; it must be contiguous i32 [T] or [S, T] on ", PlaceName(place));
  }
  if (frequency.dtype() != DType::kF32 || frequency.rank() != 1 || frequency.place() != place ||
      !frequency.IsContiguous()) {
    return InvalidArgument("rope: inverse_frequency is ", Describe(frequency),
                           "; it must be contiguous f32 [r / 2] on ", PlaceName(place));
  }
  const int64_t count = positions.rank() == 2 ? positions.dim(0) : 0;
  if (count > kMaxSections || (positions.rank() == 2 && count < 1)) {
    return InvalidArgument("rope: positions is ", Describe(positions), "; there must be 1 to ",
                           kMaxSections, " sections");
  }
  int64_t pairs = 0;
  for (int s = 0; s < kMaxSections; ++s) {
    if (angles.sections[s] < 0 || (s >= count && angles.sections[s] != 0)) {
      return InvalidArgument("rope: section ", s, " has ", angles.sections[s],
                             " pairs for positions ", ShapeName(positions.shape()),
                             "; it must have 0 or more, and 0 past the positions");
    }
    pairs += angles.sections[s];
  }
  if (count > 0 && pairs != frequency.dim(0)) {
    return InvalidArgument("rope: the sections have ", pairs, " pairs for inverse_frequency ",
                           ShapeName(frequency.shape()), "; it must be as many");
  }
  return OkStatus();
}

Status ValidateTable(const TensorView& table, const TensorView& x) {
  if (table.dtype() != DType::kF32 || table.rank() != 3 || table.place() != x.place() ||
      !table.IsContiguous()) {
    return InvalidArgument("rope: cos_sin is ", Describe(table),
                           "; it must be contiguous f32 [T, r / 2, 2] on ", PlaceName(x.place()));
  }
  if (table.dim(0) != x.dim(0) || table.dim(2) != 2 || 2 * table.dim(1) > x.dim(2)) {
    return InvalidArgument("rope: cos_sin is ", ShapeName(table.shape()), " for x ",
                           ShapeName(x.shape()), "; it must be [T, r / 2, 2] with r <= D");
  }
  return OkStatus();
}

}  // namespace

Status Validate(const Args& args, Place place) {
  const TensorView& x = args.x;
  QUIRE_RETURN_IF_ERROR(ValidateRows(kOp, "x", x, place));
  if (x.rank() != 3) {
    return InvalidArgument("rope: x is ", Describe(x), "; it must be [T, H, D]");
  }
  if (IsGiven(args.out)) {
    QUIRE_RETURN_IF_ERROR(ValidateLike(kOp, "out", args.out, "x", x));
  }
  const bool table = IsGiven(args.cos_sin);
  if (table == IsGiven(args.angles.positions)) {
    return InvalidArgument("rope: ", table ? "both" : "neither", " of cos_sin and angles ",
                           table ? "are" : "is", " given; give one");
  }
  if (table) {
    return ValidateTable(args.cos_sin, x);
  }
  QUIRE_RETURN_IF_ERROR(ValidateAngles(args.angles, place));
  if (LastDim(args.angles.positions) != x.dim(0) ||
      2 * args.angles.inverse_frequency.dim(0) > x.dim(2)) {
    return InvalidArgument("rope: positions is ", ShapeName(args.angles.positions.shape()),
                           " and inverse_frequency ",
                           ShapeName(args.angles.inverse_frequency.shape()), " for x ",
                           ShapeName(x.shape()), "; they must be [.., T] and [r / 2], r <= D");
  }
  return OkStatus();
}

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

Status ComputeCosSin(const Angles& angles, float* out) {
  QUIRE_RETURN_IF_ERROR(ValidateAngles(angles, Place::Host()));
  const Sections sections(angles);
  const auto* positions = angles.positions.as<int32_t>();
  const auto* frequency = angles.inverse_frequency.as<float>();
  const int64_t pairs = angles.inverse_frequency.dim(0);
  std::vector<float> cosines(static_cast<size_t>(pairs));
  std::vector<float> sines(static_cast<size_t>(pairs));
  for (int64_t t = 0; t < LastDim(angles.positions); ++t) {
    CosSinOfPairs<kBaselineLanes>(positions, sections, frequency, angles.attention_factor, t, 0,
                                  pairs, cosines.data(), sines.data());
    for (int64_t i = 0; i < pairs; ++i) {
      *out++ = cosines[static_cast<size_t>(i)];
      *out++ = sines[static_cast<size_t>(i)];
    }
  }
  return OkStatus();
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::rope
