// The one weight layout that all CPU implementations of linear read.
//
// The output features of a segment are cut into panels of 16 (the last padded with zeros), one
// panel after the other, so that a thread that owns consecutive panels reads one stream. Inside a
// panel the input features run in groups, each holding what one step of the inner loop needs:
//   block-quantized  codes, scales [subgroups][16], mins or zero points [16], for 32 input features
//   plain            [16][depth] elements for `depth` input features (zeros beyond K)
// 8-bit codes of 32 features are [8][16][4]: step j, output feature, input feature 4j .. 4j+3.
// 4-bit codes are [4][16][4] bytes: the low nibbles are step j, the high nibbles step j + 4.
// Scales of plain kinds stand apart, after the panels: f32 [panels][scale blocks][16], where a
// scale block is `scale_steps` groups.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ops/linear/linear.h"
#include "platform/device.h"

namespace quire::ops::linear {

inline constexpr std::string_view kPanelLayout = "panel16";
inline constexpr int kPanelWidth = 16;  // output features of a panel
inline constexpr int kGroup = 32;       // input features of a block-quantized group

// What the groups of a segment are made of. Codes of block-quantized kinds are unsigned:
// w = scale * (code - offset) + min, where offset is 0 for kinds with mins, else 8 for 4-bit and
// 128 for 8-bit codes.
enum class PanelKind : uint8_t {
  kU4,        // q4_0
  kU4Min,     // q4_1
  kU4MinF32,  // q4_K, int4 groups with scales that are not f16
  kU4Zero,    // int4 groups: in place of the min, minus the zero point; min = scale * that
  kU8,        // q5_0, q8_0
  kU8Min,     // q5_1
  kU8MinF32,  // q5_K
  kU8Sub16,   // q6_K
  kF32,
  kF16,
  kBF16,
  kBF16Pairs,  // bf16 for bf16 products
  kF8,         // f8e4m3 with scales
  kF8Pairs,    // the same for bf16 products
  kI8,         // i8 + 128 with scales, for activations of 8 bits per row
};
inline constexpr int kPanelKinds = 15;

// How the rows of x enter a product.
enum class ActivationForm : uint8_t {
  kFp32,
  kBf16,    // rounded to bf16
  kBlock8,  // 8-bit codes, a scale per 32 features
  kRow8,    // 8-bit codes, a scale per row
  kFp8,     // rounded to f8e4m3 times a scale per 128 features, as fp32
};

struct PanelFormat {
  int bits;       // of a stored code or element
  int depth;      // input features of a group
  int subgroups;  // scales per group and output feature; 0 for plain kinds
  bool has_min;
  bool half_scales;  // scales and mins are f16, else f32
  ActivationForm form;

  constexpr bool IsPlain() const { return subgroups == 0; }
  constexpr int CodeBytes() const { return depth * kPanelWidth * bits / 8; }
  // Bytes of one set of 16 scales or mins.
  constexpr int ScaleBytes() const { return kPanelWidth * (half_scales ? 2 : 4); }
  constexpr int GroupBytes() const {
    return IsPlain() ? CodeBytes() : CodeBytes() + (subgroups + (has_min ? 1 : 0)) * ScaleBytes();
  }
  constexpr int Offset() const { return has_min ? 0 : bits == 4 ? 8 : 128; }
  constexpr int64_t GroupsOf(int64_t k) const { return (k + depth - 1) / depth; }
};

constexpr PanelFormat FormatOf(PanelKind kind) {
  constexpr ActivationForm kFp32 = ActivationForm::kFp32;
  constexpr ActivationForm kBf16 = ActivationForm::kBf16;
  constexpr ActivationForm kBlock8 = ActivationForm::kBlock8;
  switch (kind) {
    case PanelKind::kU4: return {4, kGroup, 1, false, true, kBlock8};
    case PanelKind::kU4Min:
    case PanelKind::kU4Zero: return {4, kGroup, 1, true, true, kBlock8};
    case PanelKind::kU4MinF32: return {4, kGroup, 1, true, false, kBlock8};
    case PanelKind::kU8: return {8, kGroup, 1, false, true, kBlock8};
    case PanelKind::kU8Min: return {8, kGroup, 1, true, true, kBlock8};
    case PanelKind::kU8MinF32: return {8, kGroup, 1, true, false, kBlock8};
    case PanelKind::kU8Sub16: return {8, kGroup, 2, false, false, kBlock8};
    case PanelKind::kF32: return {32, 1, 0, false, false, kFp32};
    case PanelKind::kF16:
    case PanelKind::kBF16: return {16, 1, 0, false, false, kFp32};
    case PanelKind::kBF16Pairs: return {16, 2, 0, false, false, kBf16};
    case PanelKind::kF8: return {8, 2, 0, false, false, kFp32};
    case PanelKind::kF8Pairs: return {8, 2, 0, false, false, kBf16};
    case PanelKind::kI8: return {8, 4, 0, false, false, ActivationForm::kRow8};
  }
  return {};
}

// Stacked views of one kind, or one view: its panels.
struct Segment {
  PanelKind kind = PanelKind::kF32;
  ActivationForm form = ActivationForm::kFp32;  // the kind's, or kFp8 where the kind's is kFp32
  int64_t first_feature = 0;                    // column of out that its first feature writes
  int64_t features = 0;
  int64_t panels = 0;
  const uint8_t* data = nullptr;  // panels * panel_bytes
  int64_t panel_bytes = 0;
  const float* scales = nullptr;  // [panels][scale_blocks][16], for kF8, kF8Pairs and kI8
  int64_t scale_blocks = 0;
  int64_t scale_steps = 0;  // groups of a scale block
};

class PanelWeight final : public PackedWeight {
 public:
  // REQUIRES: sources that PackWeight() has checked.
  static Result<std::shared_ptr<const PackedWeight>> Pack(const OpContext& context,
                                                          std::span<const WeightSource> weights,
                                                          ActivationMode mode);

  const std::vector<Segment>& segments() const { return segments_; }
  int64_t panels() const { return panels_; }
  size_t bytes() const override { return buffer_.bytes(); }
  // Feature k of the panels is feature input_order[k] of x; empty if they are the same.
  std::span<const int32_t> input_order() const { return input_order_; }
  // Whether a segment wants its activations so.
  bool Wants(ActivationForm form) const;

 private:
  PanelWeight(int64_t n, int64_t k) : PackedWeight(n, k, kPanelLayout) {}

  std::vector<Segment> segments_;
  int64_t panels_ = 0;
  std::vector<int32_t> input_order_;
  Buffer buffer_;
};

// Expands output feature `feature` of `segment` to fp32 [k] in the order of the panels, by plain
// loops.
void ExpandFeature(const Segment& segment, int64_t feature, int64_t k, float* out);

}  // namespace quire::ops::linear
