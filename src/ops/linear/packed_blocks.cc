#include "ops/linear/packed_blocks.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "ops/linear/int4_groups.h"
#include "ops/linear/pack_plain.h"
#include "platform/cpu/cpu_device.h"
#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace quire::ops::linear {

namespace {

Result<PanelKind> KindOf(const WeightSource& source, ActivationMode mode) {
  const bool fp32 = mode == ActivationMode::kFp32;
  const bool bf16 = mode == ActivationMode::kBf16;
  const bool fp8 = mode == ActivationMode::kFp8;
  if (source.format != WeightFormat::kPlain) {
    return fp32                                   ? PanelKind::kF32
           : source.scales.dtype() == DType::kF16 ? PanelKind::kU4Zero
                                                  : PanelKind::kU4MinF32;
  }
  switch (source.weight.dtype()) {
    case DType::kF32: return PanelKind::kF32;
    case DType::kF16: return PanelKind::kF16;
    case DType::kBF16: return bf16 || fp8 ? PanelKind::kBF16Pairs : PanelKind::kBF16;
    case DType::kF8E4M3: return bf16 ? PanelKind::kF8Pairs : PanelKind::kF8;
    case DType::kI8: return fp32 ? PanelKind::kF32 : PanelKind::kI8;
    case DType::kQ4_0: return fp32 ? PanelKind::kF32 : PanelKind::kU4;
    case DType::kQ4_1: return fp32 ? PanelKind::kF32 : PanelKind::kU4Min;
    case DType::kQ4_K: return fp32 ? PanelKind::kF32 : PanelKind::kU4MinF32;
    case DType::kQ5_0:
    case DType::kQ8_0: return fp32 ? PanelKind::kF32 : PanelKind::kU8;
    case DType::kQ5_1: return fp32 ? PanelKind::kF32 : PanelKind::kU8Min;
    case DType::kQ5_K: return fp32 ? PanelKind::kF32 : PanelKind::kU8MinF32;
    case DType::kQ6_K: return fp32 ? PanelKind::kF32 : PanelKind::kU8Sub16;
    default:
      return Unsupported("linear: weights of type ", InfoOf(source.weight.dtype()).name,
                         " are not supported");
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

// The blocks of a GGUF type.
void PackBlocks(DType dtype, PanelKind kind, const SourceRows& source, int64_t k, uint8_t* panel) {
  if (kind == PanelKind::kF32) {
    return PackDequantized(dtype, source, k, panel);
  }
  switch (dtype) {
    case DType::kQ4_0: return PackNibbleBlocks<BlockQ4_0>(source, k / kGroup, panel);
    case DType::kQ4_1: return PackNibbleBlocks<BlockQ4_1>(source, k / kGroup, panel);
    case DType::kQ5_0: return PackQ5Blocks<BlockQ5_0>(source, k / kGroup, panel);
    case DType::kQ5_1: return PackQ5Blocks<BlockQ5_1>(source, k / kGroup, panel);
    case DType::kQ8_0: return PackQ8_0(source, k / kGroup, panel);
    default: return PackUnpacked(dtype, kind, source, k, panel);
  }
}

// Rows that expand() gives in fp32.
template <typename Expand>
void PackExpanded(int64_t first, int64_t features, int64_t k, uint8_t* panel,
                  const Expand& expand) {
  std::vector<float> row(static_cast<size_t>(k));
  for (int64_t r = 0; r < kPanelWidth && first + r < features; ++r) {
    expand(first + r, row.data());
    for (int64_t i = 0; i < k; ++i) {
      std::memcpy(panel + (i * kPanelWidth + r) * 4, &row[static_cast<size_t>(i)], 4);
    }
  }
}

// A source on its way into a segment.
class SegmentPacker {
 public:
  SegmentPacker(const WeightSource& source, int64_t k, const Segment& segment)
      : source_(source), k_(k), segment_(segment) {
    if (source.format != WeightFormat::kPlain) {
      int4_.emplace(source);
    }
  }

  const std::vector<int32_t>* input_order() const {
    return int4_ && segment_.kind != PanelKind::kF32 ? &int4_->input_order() : nullptr;
  }

  void Pack(int64_t panel, uint8_t* out) const {
    const int64_t first = panel * kPanelWidth;
    const PanelFormat format = FormatOf(segment_.kind);
    const DType dtype = source_.weight.dtype();
    if (int4_ || format.IsPlain() || first + kPanelWidth > segment_.features) {
      std::memset(out, 0, static_cast<size_t>(segment_.panel_bytes));
    }
    if (int4_ && segment_.kind != PanelKind::kF32) {
      int4_->PackPanel(segment_.kind == PanelKind::kU4Zero, panel, segment_.features, out);
    } else if (int4_) {
      PackExpanded(first, segment_.features, k_, out,
                   [&](int64_t feature, float* row) { int4_->Expand(feature, row); });
    } else if (segment_.kind == PanelKind::kF32 && dtype == DType::kI8) {
      PackExpanded(first, segment_.features, k_, out,
                   [&](int64_t feature, float* row) { ExpandI8(source_, feature, k_, row); });
    } else if (IsQuantized(dtype)) {
      PackBlocks(dtype, segment_.kind, RowsOfPanel(source_.weight, panel), k_, out);
    } else {
      PackPlain(segment_.kind, RowsOfPanel(source_.weight, panel), k_, out);
    }
    if (segment_.scale_blocks > 0) {
      PackScales(segment_, source_, panel,
                 const_cast<float*>(segment_.scales) + panel * segment_.scale_blocks * kPanelWidth);
    }
  }

 private:
  const WeightSource& source_;
  int64_t k_;
  const Segment& segment_;
  std::optional<Int4Groups> int4_;
};

// The extents of the segment that `source` becomes; its memory is not set.
Result<Segment> PlanSegment(const WeightSource& source, ActivationMode mode) {
  Segment segment;
  QUIRE_ASSIGN_OR_RETURN(segment.kind, KindOf(source, mode));
  const PanelFormat format = FormatOf(segment.kind);
  const bool fp8 = mode == ActivationMode::kFp8 && segment.kind == PanelKind::kF8;
  segment.form = fp8 ? ActivationForm::kFp8 : format.form;
  const WeightExtents extents = ExtentsOf(source);
  const int64_t groups = format.GroupsOf(extents.k);
  segment.features = extents.n;
  segment.panels = (extents.n + kPanelWidth - 1) / kPanelWidth;
  segment.panel_bytes = groups * format.GroupBytes();
  if (segment.kind == PanelKind::kF8 || segment.kind == PanelKind::kF8Pairs ||
      segment.kind == PanelKind::kI8) {
    segment.scale_steps = HasSquareScales(source) ? kScaleSquare / format.depth : groups;
    segment.scale_blocks = (groups + segment.scale_steps - 1) / segment.scale_steps;
  }
  return segment;
}

int64_t ScaleFloats(const Segment& segment) {
  return segment.panels * segment.scale_blocks * kPanelWidth;
}

}  // namespace

bool PanelWeight::Wants(ActivationForm form) const {
  return std::any_of(segments_.begin(), segments_.end(),
                     [&](const Segment& segment) { return segment.form == form; });
}

Result<std::shared_ptr<const PackedWeight>> PanelWeight::Pack(const OpContext& context,
                                                              std::span<const WeightSource> weights,
                                                              ActivationMode mode) {
  const int64_t k = ExtentsOf(weights[0]).k;
  std::vector<Segment> segments;
  int64_t features = 0;
  int64_t panels = 0;
  int64_t bytes = 0;
  for (const WeightSource& source : weights) {
    QUIRE_ASSIGN_OR_RETURN(Segment segment, PlanSegment(source, mode));
    segment.first_feature = features;
    features += segment.features;
    panels += segment.panels;
    bytes += segment.panels * segment.panel_bytes + ScaleFloats(segment) * 4;
    segments.push_back(segment);
  }

  std::shared_ptr<PanelWeight> packed(new PanelWeight(features, k));
  QUIRE_ASSIGN_OR_RETURN(packed->buffer_,
                         context.stream.device().Allocate(static_cast<size_t>(bytes)));
  packed->panels_ = panels;
  auto* data = static_cast<uint8_t*>(packed->buffer_.data());
  for (size_t s = 0; s < segments.size(); ++s) {
    Segment& segment = segments[s];
    uint8_t* const begin = data;
    data += segment.panels * segment.panel_bytes;
    segment.data = begin;
    segment.scales = reinterpret_cast<float*>(data);
    data += ScaleFloats(segment) * 4;
    const SegmentPacker packer(weights[s], k, segment);
    const std::vector<int32_t>* order = packer.input_order();
    const bool same = s == 0 || (order == nullptr ? packed->input_order_.empty()
                                                  : packed->input_order_ == *order);
    if (!same) {
      return InvalidArgument("linear: weight ", s,
                             " of a stack has another group_index than the "
                             "one before; pack them apart");
    }
    if (order != nullptr) {
      packed->input_order_ = *order;
    }
    AsCpuStream(context.stream).threads().ParallelFor(segment.panels, [&](int64_t panel, int) {
      packer.Pack(panel, begin + panel * segment.panel_bytes);
    });
  }
  packed->segments_ = std::move(segments);
  return std::shared_ptr<const PackedWeight>(std::move(packed));
}

}  // namespace quire::ops::linear
