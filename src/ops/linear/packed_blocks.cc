#include "ops/linear/packed_blocks.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "platform/cpu/cpu_device.h"
#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace quire::ops::linear {

namespace {

// The rows of a view that make one panel; the last may have fewer than 16.
struct SourceRows {
  std::array<const uint8_t*, kPanelWidth> row = {};
  int count = 0;
};

SourceRows RowsOfPanel(const TensorView& view, int64_t panel) {
  SourceRows source;
  const int64_t first = panel * kPanelWidth;
  source.count = static_cast<int>(std::min<int64_t>(kPanelWidth, view.dim(0) - first));
  for (int r = 0; r < source.count; ++r) {
    source.row[r] = static_cast<const uint8_t*>(view.data()) +
                    BytesOf(view.dtype(), (first + r) * view.stride(0));
  }
  return source;
}

Result<PanelKind> KindOf(DType dtype, ActivationMode mode) {
  const bool fp32 = mode == ActivationMode::kFp32;
  switch (dtype) {
    case DType::kF32: return PanelKind::kF32;
    case DType::kF16: return PanelKind::kF16;
    case DType::kBF16: return PanelKind::kBF16;
    case DType::kQ4_0: return fp32 ? PanelKind::kF32 : PanelKind::kU4;
    case DType::kQ4_1: return fp32 ? PanelKind::kF32 : PanelKind::kU4Min;
    case DType::kQ4_K: return fp32 ? PanelKind::kF32 : PanelKind::kU4MinF32;
    case DType::kQ5_0:
    case DType::kQ8_0: return fp32 ? PanelKind::kF32 : PanelKind::kU8;
    case DType::kQ5_1: return fp32 ? PanelKind::kF32 : PanelKind::kU8Min;
    case DType::kQ5_K: return fp32 ? PanelKind::kF32 : PanelKind::kU8MinF32;
    case DType::kQ6_K: return fp32 ? PanelKind::kF32 : PanelKind::kU8Sub16;
    default:
      return Unsupported("linear: weights of type ", InfoOf(dtype).name, " are not supported");
  }
}

// Q4_0, Q4_1: their nibbles are already in the panel's order, so 4-byte pieces move.
template <typename Block>
void PackNibbleBlocks(const SourceRows& source, int64_t groups, uint8_t* panel) {
  constexpr bool kHasMin = sizeof(Block) == sizeof(BlockQ4_1);
  constexpr int kGroupBytes = FormatOf(kHasMin ? PanelKind::kU4Min : PanelKind::kU4).GroupBytes();
  for (int64_t g = 0; g < groups; ++g, panel += kGroupBytes) {
    auto* halves = reinterpret_cast<uint8_t*>(panel + 256);
    for (int r = 0; r < source.count; ++r) {
      const uint8_t* block = source.row[r] + g * static_cast<int64_t>(sizeof(Block));
      std::memcpy(halves + 2 * r, block, 2);
      if (kHasMin) {
        std::memcpy(halves + 32 + 2 * r, block + 2, 2);
      }
      const uint8_t* codes = block + sizeof(Block) - 16;
      for (int j = 0; j < 4; ++j) {
        std::memcpy(panel + 64 * j + 4 * r, codes + 4 * j, 4);
      }
    }
  }
}

uint32_t LoadWord(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

void PackQ8_0(const SourceRows& source, int64_t groups, uint8_t* panel) {
  constexpr int kGroupBytes = FormatOf(PanelKind::kU8).GroupBytes();
  for (int64_t g = 0; g < groups; ++g, panel += kGroupBytes) {
    for (int r = 0; r < source.count; ++r) {
      const uint8_t* block = source.row[r] + g * static_cast<int64_t>(sizeof(BlockQ8_0));
      std::memcpy(panel + 512 + 2 * r, block, 2);
      for (int j = 0; j < 8; ++j) {
        const uint32_t codes = LoadWord(block + 2 + 4 * j) ^ 0x80808080u;  // q + 128
        std::memcpy(panel + 64 * j + 4 * r, &codes, 4);
      }
    }
  }
}

// Q5_0, Q5_1: four codes at a time from their nibbles and fifth bits.
template <typename Block>
void PackQ5Blocks(const SourceRows& source, int64_t groups, uint8_t* panel) {
  constexpr bool kHasMin = sizeof(Block) == sizeof(BlockQ5_1);
  constexpr int kGroupBytes = FormatOf(kHasMin ? PanelKind::kU8Min : PanelKind::kU8).GroupBytes();
  constexpr uint32_t kShift = kHasMin ? 0 : (128 - 16) * 0x01010101u;  // offset 16 becomes 128
  for (int64_t g = 0; g < groups; ++g, panel += kGroupBytes) {
    for (int r = 0; r < source.count; ++r) {
      const uint8_t* block = source.row[r] + g * static_cast<int64_t>(sizeof(Block));
      std::memcpy(panel + 512 + 2 * r, block, 2);
      if (kHasMin) {
        std::memcpy(panel + 544 + 2 * r, block + 2, 2);
      }
      const uint32_t fifth_bits = LoadWord(block + sizeof(Block) - 20);
      for (int j = 0; j < 8; ++j) {
        const uint32_t nibbles = LoadWord(block + sizeof(Block) - 16 + j % 4 * 4) >> (j / 4 * 4);
        // The product copies bit b of the four to bit 8b.
        const uint32_t bits = ((fifth_bits >> (4 * j) & 15) * 0x00204081u) & 0x01010101u;
        const uint32_t codes = ((nibbles & 0x0f0f0f0fu) | bits << 4) + kShift;
        std::memcpy(panel + 64 * j + 4 * r, &codes, sizeof(codes));
      }
    }
  }
}

void StoreScale(bool half, float value, uint8_t* scales, int r) {
  if (half) {
    const uint16_t bits = FloatToHalf(value);
    std::memcpy(scales + 2 * r, &bits, 2);
  } else {
    std::memcpy(scales + 4 * r, &value, 4);
  }
}

// One group of one row, from its codes, scales and mins; `shift` is added to 8-bit codes.
void PackGroup(const PanelFormat& format, uint8_t shift, const uint8_t* codes, const float* scales,
               float min, int r, uint8_t* group) {
  const bool pairs = format.bits == 4;
  for (int j = 0; j < (pairs ? 4 : 8); ++j) {
    // Codes plus shift fit 8 bits, so four add at once.
    const uint32_t word = pairs ? LoadWord(codes + 4 * j) | LoadWord(codes + 16 + 4 * j) << 4
                                : LoadWord(codes + 4 * j) + shift * 0x01010101u;
    std::memcpy(group + 64 * j + 4 * r, &word, sizeof(word));
  }
  uint8_t* parameters = group + format.CodeBytes();
  for (int s = 0; s < format.subgroups; ++s, parameters += format.ScaleBytes()) {
    StoreScale(format.half_scales, scales[s], parameters, r);
  }
  if (format.has_min) {
    StoreScale(format.half_scales, min, parameters, r);
  }
}

// Any quantized type, through its unpacked codes, 256 elements at a time.
void PackUnpacked(DType dtype, PanelKind kind, const SourceRows& source, int64_t k,
                  uint8_t* panel) {
  constexpr int64_t kChunk = 256;
  const PanelFormat format = FormatOf(kind);
  const GroupQuantInfo info = GroupInfoOf(dtype);
  const auto shift = static_cast<uint8_t>(format.Offset() - info.offset);
  const int scales_per_group = kGroup / info.group;
  uint8_t codes[kChunk];
  float scales[kChunk / 16];
  float mins[kChunk / 16];
  for (int64_t start = 0; start < k; start += kChunk) {
    const int64_t count = std::min(kChunk, k - start);
    for (int r = 0; r < source.count; ++r) {
      UnpackGroups(dtype, source.row[r] + BytesOf(dtype, start), count, codes, scales, mins);
      for (int64_t g = 0; g < count / kGroup; ++g) {
        PackGroup(format, shift, codes + g * kGroup, scales + g * scales_per_group,
                  mins[g * scales_per_group], r,
                  panel + (start / kGroup + g) * format.GroupBytes());
      }
    }
  }
}

template <typename T>
void PackDense(const SourceRows& source, int64_t k, uint8_t* panel) {
  auto* out = reinterpret_cast<T*>(panel);
  for (int r = 0; r < source.count; ++r) {
    const auto* row = reinterpret_cast<const T*>(source.row[r]);
    for (int64_t i = 0; i < k; ++i) {
      out[i * kPanelWidth + r] = row[i];
    }
  }
}

void PackDequantized(DType dtype, const SourceRows& source, int64_t k, uint8_t* panel) {
  constexpr int64_t kChunk = 256;
  float values[kChunk];
  for (int64_t start = 0; start < k; start += kChunk) {
    const int64_t count = std::min(kChunk, k - start);
    auto* out = reinterpret_cast<float*>(panel) + start * kPanelWidth;
    for (int r = 0; r < source.count; ++r) {
      DequantizeRow(dtype, source.row[r] + BytesOf(dtype, start), count, values);
      for (int64_t i = 0; i < count; ++i) {
        out[i * kPanelWidth + r] = values[i];
      }
    }
  }
}

void PackPanel(DType dtype, PanelKind kind, const SourceRows& source, int64_t k, uint8_t* panel) {
  if (kind == PanelKind::kF32) {
    return dtype == DType::kF32 ? PackDense<float>(source, k, panel)
                                : PackDequantized(dtype, source, k, panel);
  }
  switch (dtype) {
    case DType::kF16:
    case DType::kBF16: return PackDense<uint16_t>(source, k, panel);
    case DType::kQ4_0: return PackNibbleBlocks<BlockQ4_0>(source, k / kGroup, panel);
    case DType::kQ4_1: return PackNibbleBlocks<BlockQ4_1>(source, k / kGroup, panel);
    case DType::kQ5_0: return PackQ5Blocks<BlockQ5_0>(source, k / kGroup, panel);
    case DType::kQ5_1: return PackQ5Blocks<BlockQ5_1>(source, k / kGroup, panel);
    case DType::kQ8_0: return PackQ8_0(source, k / kGroup, panel);
    default: return PackUnpacked(dtype, kind, source, k, panel);
  }
}

}  // namespace

Result<std::shared_ptr<const PackedWeight>> PanelWeight::Pack(const OpContext& context,
                                                              std::span<const TensorView> weights,
                                                              ActivationMode mode) {
  const int64_t k = weights[0].dim(1);
  std::vector<Segment> segments;
  int64_t features = 0;
  int64_t panels = 0;
  int64_t bytes = 0;
  for (const TensorView& view : weights) {
    Segment segment;
    QUIRE_ASSIGN_OR_RETURN(segment.kind, KindOf(view.dtype(), mode));
    const PanelFormat format = FormatOf(segment.kind);
    segment.first_feature = features;
    segment.features = view.dim(0);
    segment.panels = (segment.features + kPanelWidth - 1) / kPanelWidth;
    segment.panel_bytes = k / format.Depth() * format.GroupBytes();
    features += segment.features;
    panels += segment.panels;
    bytes += segment.panels * segment.panel_bytes;
    segments.push_back(segment);
  }

  std::shared_ptr<PanelWeight> packed(new PanelWeight(features, k));
  QUIRE_ASSIGN_OR_RETURN(packed->buffer_,
                         context.stream.device().Allocate(static_cast<size_t>(bytes)));
  packed->panels_ = panels;
  auto* data = static_cast<uint8_t*>(packed->buffer_.data());
  for (size_t s = 0; s < segments.size(); ++s) {
    Segment& segment = segments[s];
    const TensorView& view = weights[s];
    segment.data = data;
    uint8_t* const begin = data;
    AsCpuStream(context.stream).threads().ParallelFor(segment.panels, [&](int64_t panel, int) {
      uint8_t* const out = begin + panel * segment.panel_bytes;
      const SourceRows source = RowsOfPanel(view, panel);
      if (source.count < kPanelWidth) {
        std::memset(out, 0, static_cast<size_t>(segment.panel_bytes));
      }
      PackPanel(view.dtype(), segment.kind, source, k, out);
    });
    data += segment.panels * segment.panel_bytes;
  }
  packed->segments_ = std::move(segments);
  return std::shared_ptr<const PackedWeight>(std::move(packed));
}

namespace {

float ReadScale(bool half, const uint8_t* scales, int column) {
  if (half) {
    uint16_t bits;
    std::memcpy(&bits, scales + 2 * column, 2);
    return HalfToFloat(bits);
  }
  float value;
  std::memcpy(&value, scales + 4 * column, 4);
  return value;
}

float DenseElement(PanelKind kind, const uint8_t* group, int column) {
  if (kind == PanelKind::kF32) {
    return ReadScale(false, group, column);
  }
  uint16_t bits;
  std::memcpy(&bits, group + 2 * column, 2);
  return kind == PanelKind::kF16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
}

void ExpandGroup(const PanelFormat& format, const uint8_t* group, int column, float* out) {
  const uint8_t* scales = group + format.CodeBytes();
  const float min =
      format.has_min
          ? ReadScale(format.half_scales, scales + format.subgroups * format.ScaleBytes(), column)
          : 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    int code;
    if (format.bits == 4) {
      const uint8_t pair = group[64 * (i % 16 / 4) + 4 * column + i % 4];
      code = i < 16 ? pair & 15 : pair >> 4;
    } else {
      code = group[64 * (i / 4) + 4 * column + i % 4];
    }
    const int subgroup = i * format.subgroups / kGroup;
    const float scale =
        ReadScale(format.half_scales, scales + subgroup * format.ScaleBytes(), column);
    out[i] = scale * static_cast<float>(code - format.Offset()) + min;
  }
}

}  // namespace

void ExpandFeature(const Segment& segment, int64_t feature, int64_t k, float* out) {
  const PanelFormat format = FormatOf(segment.kind);
  const uint8_t* group = segment.data + feature / kPanelWidth * segment.panel_bytes;
  const int column = static_cast<int>(feature % kPanelWidth);
  for (int64_t i = 0; i < k; i += format.Depth(), group += format.GroupBytes()) {
    if (format.IsDense()) {
      out[i] = DenseElement(segment.kind, group, column);
    } else {
      ExpandGroup(format, group, column, out + i);
    }
  }
}

}  // namespace quire::ops::linear
