// The one weight layout that all CPU implementations of linear read.
//
// The output features of a segment are cut into panels of 16 (the last padded with zeros), one
// panel after the other, so that a thread that owns consecutive panels reads one stream. Inside a
// panel the input features run in groups, each holding what one step of the inner loop needs:
//   quantized  codes, scales [subgroups][16], mins [16], for 32 input features
//   dense      16 elements, one per output feature, for 1 input feature
// 8-bit codes are [8][16][4]: step j, output feature, input feature 4j .. 4j+3. 4-bit codes are
// [4][16][4] bytes: the low nibbles are step j, the high nibbles step j + 4.
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
inline constexpr int kGroup = 32;  // input features of a group, which share one activation scale

// What the groups of a segment are made of. Codes are unsigned: w = scale * (code - offset) + min,
// where offset is 0 for kinds with mins, else 8 for 4-bit and 128 for 8-bit codes.
enum class PanelKind : uint8_t {
  kU4,        // q4_0
  kU4Min,     // q4_1
  kU4MinF32,  // q4_K
  kU8,        // q5_0, q8_0
  kU8Min,     // q5_1
  kU8MinF32,  // q5_K
  kU8Sub16,   // q6_K
  kF32,
  kF16,
  kBF16,
};
inline constexpr int kPanelKinds = 10;

struct PanelFormat {
  int bits;       // of a stored code or dense element
  int subgroups;  // scales per group and output feature; 0 for dense kinds
  bool has_min;
  bool half_scales;  // scales and mins are f16, else f32

  constexpr bool IsDense() const { return subgroups == 0; }
  // Input features of a group.
  constexpr int Depth() const { return IsDense() ? 1 : kGroup; }
  constexpr int CodeBytes() const { return Depth() * kPanelWidth * bits / 8; }
  // Bytes of one set of 16 scales or mins.
  constexpr int ScaleBytes() const { return kPanelWidth * (half_scales ? 2 : 4); }
  constexpr int GroupBytes() const {
    return IsDense() ? CodeBytes() : CodeBytes() + (subgroups + (has_min ? 1 : 0)) * ScaleBytes();
  }
  constexpr int Offset() const { return has_min ? 0 : bits == 4 ? 8 : 128; }
};

constexpr PanelFormat FormatOf(PanelKind kind) {
  switch (kind) {
    case PanelKind::kU4: return {4, 1, false, true};
    case PanelKind::kU4Min: return {4, 1, true, true};
    case PanelKind::kU4MinF32: return {4, 1, true, false};
    case PanelKind::kU8: return {8, 1, false, true};
    case PanelKind::kU8Min: return {8, 1, true, true};
    case PanelKind::kU8MinF32: return {8, 1, true, false};
    case PanelKind::kU8Sub16: return {8, 2, false, false};
    case PanelKind::kF32: return {32, 0, false, false};
    case PanelKind::kF16:
    case PanelKind::kBF16: return {16, 0, false, false};
  }
  return {};
}

// Stacked views of one kind, or one view: its panels.
struct Segment {
  PanelKind kind = PanelKind::kF32;
  int64_t first_feature = 0;  // column of out that its first feature writes
  int64_t features = 0;
  int64_t panels = 0;
  const uint8_t* data = nullptr;  // panels * panel_bytes
  int64_t panel_bytes = 0;
};

class PanelWeight final : public PackedWeight {
 public:
  // Errors: unsupported (type), resource_exhausted. REQUIRES: views of rank 2 and equal K.
  static Result<std::shared_ptr<const PackedWeight>> Pack(const OpContext& context,
                                                          std::span<const TensorView> weights,
                                                          ActivationMode mode);

  const std::vector<Segment>& segments() const { return segments_; }
  int64_t panels() const { return panels_; }
  size_t bytes() const override { return buffer_.bytes(); }

 private:
  PanelWeight(int64_t n, int64_t k) : PackedWeight(n, k, kPanelLayout) {}

  std::vector<Segment> segments_;
  int64_t panels_ = 0;
  Buffer buffer_;
};

// Expands output feature `feature` of `segment` to fp32 [k], by plain loops.
void ExpandFeature(const Segment& segment, int64_t feature, int64_t k, float* out);

}  // namespace quire::ops::linear
