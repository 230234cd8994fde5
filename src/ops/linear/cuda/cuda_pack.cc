#include "ops/linear/cuda/cuda_pack.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "ops/linear/int4_groups.h"
#include "ops/linear/pack_plain.h"
#include "tensor/block_formats.h"

namespace quire::ops::linear {

namespace {

Result<DeviceKind> KindOf(const WeightSource& source) {
  if (source.format != WeightFormat::kPlain) {
    return DeviceKind::kU4FloatMin;
  }
  switch (source.weight.dtype()) {
    case DType::kF32: return DeviceKind::kF32;
    case DType::kF16: return DeviceKind::kF16;
    case DType::kBF16: return DeviceKind::kBF16;
    case DType::kF8E4M3: return DeviceKind::kF8;
    case DType::kI8: return DeviceKind::kI8;
    case DType::kQ4_0: return DeviceKind::kU4Half;
    case DType::kQ4_1: return DeviceKind::kU4HalfMin;
    case DType::kQ4_K: return DeviceKind::kU4Super;
    case DType::kQ5_0:
    case DType::kQ8_0: return DeviceKind::kI8Half;
    case DType::kQ5_1: return DeviceKind::kI8HalfMin;
    case DType::kQ5_K: return DeviceKind::kI8Super;
    case DType::kQ6_K: return DeviceKind::kI8Sub16;
    default:
      return Unsupported("linear: weights of type ", InfoOf(source.weight.dtype()).name,
                         " are not supported");
  }
}

// Where in its group of 32 a lane holds element `index`.
struct LanePlace {
  int64_t lane;
  int64_t i;
};
LanePlace PlaceOf(bool sub16, int64_t index) {
  return sub16 ? LanePlace{index % 16 / 4, index % 4 + index / 16 * 4}
               : LanePlace{index / 8, index % 8};
}

// Puts code `code` of element k into a zeroed row.
void PutCode(DeviceKind kind, int64_t k, uint8_t code, uint8_t* row) {
  const LanePlace place = PlaceOf(kind == DeviceKind::kI8Sub16, k % 32);
  const int64_t span = k / SpanOf(kind);
  uint8_t* lane = row + span * kSpanBytes + 16 * place.lane;
  if (!IsU4(kind)) {
    lane[k % 128 / 64 * 64 + k % 64 / 32 * 8 + place.i] = code;
    return;
  }
  const int64_t nibble = place.i / 2 + place.i % 2 * 4;
  lane[k % 256 / 128 * 64 + k % 128 / 32 * 4 + nibble / 2] |=
      static_cast<uint8_t>(code << (4 * (nibble % 2)));
}

uint16_t HalfAt(const void* block, size_t offset) {
  uint16_t half;
  std::memcpy(&half, static_cast<const uint8_t*>(block) + offset, sizeof(half));
  return half;
}

// The scales of a row of q4_0 ... q8_0: the halves that a block begins with.
void PackHalves(DType dtype, const uint8_t* row, int64_t k, uint8_t* scales) {
  const size_t bytes = GroupInfoOf(dtype).has_min ? 4 : 2;
  const int64_t block_bytes = InfoOf(dtype).block_bytes;
  for (int64_t g = 0; g < k / 32; ++g) {
    std::memcpy(scales + static_cast<size_t>(g) * bytes, row + g * block_bytes, bytes);
  }
}

// Those of a row of q4_K, q5_K.
template <typename Block>
void PackSuper(const uint8_t* row, int64_t k, uint8_t* scales, uint8_t* super) {
  const auto* blocks = reinterpret_cast<const Block*>(row);
  for (int64_t b = 0; b < k / 256; ++b) {
    for (int j = 0; j < 8; ++j) {
      const ScaleMin pair = UnpackScaleMinK(blocks[b].scales, j);
      scales[16 * b + 2 * j] = pair.scale;
      scales[16 * b + 2 * j + 1] = pair.min;
    }
    const uint16_t halves[2] = {blocks[b].d, static_cast<uint16_t>(blocks[b].dmin ^ 0x8000)};
    std::memcpy(super + 4 * b, halves, sizeof(halves));
  }
}

// Those of a row of q6_K.
void PackSub16(const uint8_t* row, int64_t k, uint8_t* scales, uint8_t* super) {
  const auto* blocks = reinterpret_cast<const BlockQ6K*>(row);
  for (int64_t b = 0; b < k / 256; ++b) {
    std::memcpy(scales + 16 * b, blocks[b].scales, 16);
    const uint16_t d = HalfAt(&blocks[b], offsetof(BlockQ6K, d));
    std::memcpy(super + 4 * b, &d, sizeof(d));
  }
}

void PackBlockScales(DType dtype, const uint8_t* row, int64_t k, uint8_t* scales, uint8_t* super) {
  switch (dtype) {
    case DType::kQ4_K: return PackSuper<BlockQ4K>(row, k, scales, super);
    case DType::kQ5_K: return PackSuper<BlockQ5K>(row, k, scales, super);
    case DType::kQ6_K: return PackSub16(row, k, scales, super);
    default: return PackHalves(dtype, row, k, scales);
  }
}

// A row of GGUF blocks.
void PackBlockRow(DType dtype, DeviceKind kind, const uint8_t* row, int64_t k,
                  std::vector<uint8_t>& codes, const HostRows& to) {
  const GroupQuantInfo info = GroupInfoOf(dtype);
  std::vector<float> unused(static_cast<size_t>(k / info.group) * 2);
  UnpackGroups(dtype, row, k, codes.data(), unused.data(), unused.data() + unused.size() / 2);
  const int shift = IsU4(kind) ? 0 : 128 - info.offset;
  for (int64_t i = 0; i < k; ++i) {
    PutCode(kind, i, static_cast<uint8_t>(codes[static_cast<size_t>(i)] + shift), to.data);
  }
  PackBlockScales(dtype, row, k, to.scales, to.super);
}

void PutFloat(float value, int64_t index, uint8_t* scales) {
  std::memcpy(scales + 4 * index, &value, sizeof(value));
}

// A row of int4 groups in the order of their groups.
void PackInt4Row(const Int4Groups& groups, const DeviceSegment& segment, int64_t k, int64_t feature,
                 const HostRows& to) {
  const std::vector<int32_t>& order = groups.input_order();
  for (int64_t i = 0; i < k; ++i) {
    const int64_t from = order.empty() ? i : order[static_cast<size_t>(i)];
    PutCode(segment.kind, i, static_cast<uint8_t>(groups.Code(from, feature)), to.data);
  }
  for (int64_t b = 0; b < segment.scale_blocks; ++b) {
    const int64_t at = b << segment.scale_shift;
    const int64_t group = groups.GroupOf(order.empty() ? at : order[static_cast<size_t>(at)]);
    const float scale = groups.Scale(group, feature);
    PutFloat(scale, 2 * b, to.scales);
    PutFloat(-scale * static_cast<float>(groups.Zero(group, feature)), 2 * b + 1, to.scales);
  }
}

// A row of i8 or f8e4m3.
void PackScaledRow(const WeightSource& source, const DeviceSegment& segment, int64_t k,
                   int64_t feature, const HostRows& to) {
  const auto* row = source.weight.as<const uint8_t>() + feature * source.weight.stride(0);
  const uint8_t flip = segment.kind == DeviceKind::kI8 ? 0x80 : 0;
  std::memset(to.data, flip, static_cast<size_t>(segment.RowBytes()));
  for (int64_t i = 0; i < k; ++i) {
    PutCode(segment.kind, i, row[i] ^ flip, to.data);
  }
  for (int64_t b = 0; b < segment.scale_blocks; ++b) {
    PutFloat(ScaleAt(source, feature, b << segment.scale_shift), b, to.scales);
  }
}

// Groups of int4 codes may be any multiple of 32: blocks are the largest power of two that divides
// them.
void PlanScaleBlocks(const WeightSource& source, int64_t k, DeviceSegment& segment) {
  uint64_t block = 0;
  if (source.format != WeightFormat::kPlain) {
    block = static_cast<uint64_t>(k / source.scales.dim(0));
    block &= ~block + 1;
  } else if (HasSquareScales(source)) {
    block = kScaleSquare;
  }
  segment.scale_shift = block == 0 ? 0 : std::countr_zero(block);
  segment.scale_blocks =
      block == 0 ? 1 : (k + static_cast<int64_t>(block) - 1) / static_cast<int64_t>(block);
}

}  // namespace

int64_t DataBytes(const DeviceSegment& segment) {
  return segment.features * segment.RowBytes();
}
int64_t ScaleBytes(const DeviceSegment& segment) {
  const int64_t floats = segment.kind == DeviceKind::kU4FloatMin ? 2 : 1;
  return segment.features * (segment.spans * SpanScaleBytes(segment.kind) +
                             segment.scale_blocks * floats * static_cast<int64_t>(sizeof(float)));
}
int64_t SuperBytes(const DeviceSegment& segment) {
  return HasSuper(segment.kind) ? segment.features * segment.SuperCount() * 4 : 0;
}

Result<DeviceSegment> PlanDeviceSegment(const WeightSource& source) {
  DeviceSegment segment;
  QUIRE_ASSIGN_OR_RETURN(segment.kind, KindOf(source));
  const WeightExtents extents = ExtentsOf(source);
  const int64_t span = SpanOf(segment.kind);
  segment.features = extents.n;
  segment.spans = (extents.k + span - 1) / span;
  if (HasScaleBlocks(segment.kind)) {
    PlanScaleBlocks(source, extents.k, segment);
  }
  return segment;
}

std::vector<float> SquareScales(const WeightSource& source, int64_t stride) {
  const WeightExtents extents = ExtentsOf(source);
  if (source.scales.defined() && !HasSquareScales(source) && source.scales.dim(0) > 1) {
    return {};
  }
  const int64_t rows = (extents.n + kScaleSquare - 1) / kScaleSquare;
  std::vector<float> squares(static_cast<size_t>(rows * stride));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < extents.k; k += kScaleSquare) {
      squares[static_cast<size_t>(row * stride + k / kScaleSquare)] =
          ScaleAt(source, row * kScaleSquare, k);
    }
  }
  return squares;
}

void PackDeviceRows(const WeightSource& source, const DeviceSegment& segment, const HostRows& rows,
                    std::vector<int32_t>& input_order) {
  const int64_t k = ExtentsOf(source).k;
  const DType dtype = source.weight.dtype();
  std::optional<Int4Groups> groups;
  if (source.format != WeightFormat::kPlain) {
    groups.emplace(source);
    input_order = groups->input_order();
  }
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  const int64_t scale_bytes = ScaleBytes(segment) / std::max<int64_t>(segment.features, 1);
  for (int64_t n = 0; n < segment.features; ++n) {
    const HostRows to = {rows.data + n * segment.RowBytes(), rows.scales + n * scale_bytes,
                         rows.super + 4 * n * segment.SuperCount()};
    std::memset(to.data, 0, static_cast<size_t>(segment.RowBytes()));
    const auto* row = static_cast<const uint8_t*>(source.weight.data()) +
                      BytesOf(dtype, n * source.weight.stride(0));
    if (groups) {
      PackInt4Row(*groups, segment, k, n, to);
    } else if (IsDense(segment.kind)) {
      std::memcpy(to.data, row, static_cast<size_t>(BytesOf(dtype, k)));
    } else if (IsQuantized(dtype)) {
      PackBlockRow(dtype, segment.kind, row, k, codes, to);
    } else {
      PackScaledRow(source, segment, k, n, to);
    }
  }
}

}  // namespace quire::ops::linear
