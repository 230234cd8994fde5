// The oracle: every weight expanded to fp32, every sum in fp32 and ascending k. Activations are
// rounded first as the weight's mode has it, the way the fast implementations do.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "ops/linear/linear.h"
#include "ops/linear/packed_blocks.h"
#include "ops/linear/quantize_activations.h"
#include "tensor/element.h"
#include "tensor/float8.h"

namespace quire::ops::linear {

namespace {

bool Accepts(const OpContext&, const Args& args) {
  return args.weight->layout() == kPanelLayout && !IsFused(args);
}

// Row t of x in fp32, in the order of the panels.
std::vector<float> RowOf(const TensorView& x, std::span<const int32_t> order, int64_t t) {
  std::vector<float> row(static_cast<size_t>(x.dim(1)));
  for (int64_t i = 0; i < x.dim(1); ++i) {
    const int64_t from = order.empty() ? i : order[static_cast<size_t>(i)];
    row[static_cast<size_t>(i)] = LoadElement(x.data(), x.dtype(), t * x.stride(0) + from);
  }
  return row;
}

// `row` rounded to 8 bits per group and expanded again.
void RoundBlocks(std::vector<float>& row) {
  for (size_t start = 0; start < row.size(); start += kGroup) {
    uint8_t words[kTileWordsPerRow * 4];
    int32_t offsets[kOffsetWordsPerRow];
    QuantizeTile(&row[start], kGroup, 1, 1, {words, offsets});
    float scale;
    std::memcpy(&scale, words + kGroup, sizeof(scale));
    for (size_t i = 0; i < kGroup; ++i) {
      row[start + i] = scale * static_cast<float>(static_cast<int8_t>(words[i]));
    }
  }
}

// `row` rounded to 8 bits with one scale.
void RoundRow(std::vector<float>& row) {
  uint32_t max_bits = 0;
  for (const float value : row) {
    max_bits = std::max(max_bits, std::bit_cast<uint32_t>(value) & 0x7fffffffu);
  }
  const GroupScale scale = ScaleOf(max_bits);
  for (float& value : row) {
    value =
        scale.inverse == 0.0f ? scale.scale : scale.scale * std::nearbyint(value * scale.inverse);
  }
}

// `row` rounded to 8-bit floats, each 128 with one scale.
void RoundFp8(std::vector<float>& row) {
  for (size_t start = 0; start < row.size(); start += 128) {
    const std::span<float> group(&row[start], std::min<size_t>(128, row.size() - start));
    uint32_t max_bits = 0;
    for (const float value : group) {
      max_bits = std::max(max_bits, std::bit_cast<uint32_t>(value) & 0x7fffffffu);
    }
    const float max = std::bit_cast<float>(max_bits);
    for (float& value : group) {
      if (!std::isfinite(max)) {
        value = std::numeric_limits<float>::quiet_NaN();
      } else if (max < 0x1p-100f) {
        value = 0.0f;
      } else {
        value = max / kFloat8Max * Float8ToFloat(FloatToFloat8(value * (kFloat8Max / max)));
      }
    }
  }
}

void Round(ActivationForm form, std::vector<float>& row) {
  switch (form) {
    case ActivationForm::kFp32: break;
    case ActivationForm::kBf16:
      for (float& value : row) {
        value = BFloat16ToFloat(FloatToBFloat16(value));
      }
      break;
    case ActivationForm::kBlock8: RoundBlocks(row); break;
    case ActivationForm::kRow8: RoundRow(row); break;
    case ActivationForm::kFp8: RoundFp8(row); break;
  }
}

// Which outputs of each row args.near_largest leaves as they are.
std::vector<std::vector<bool>> KeptOutputs(const Args& args, const PanelWeight& weight) {
  std::vector<std::vector<bool>> kept;
  for (int64_t t = 0; t < args.out.dim(0); ++t) {
    kept.emplace_back(static_cast<size_t>(weight.n()), false);
    if (!std::isfinite(args.near_largest)) {
      continue;
    }
    const float* row = args.out.as<const float>() + t * args.out.stride(0);
    const auto largest = [&](int64_t begin, int64_t end) {
      float most = -std::numeric_limits<float>::infinity();
      for (int64_t i = begin; i < end; ++i) {
        most = row[i] > most ? row[i] : most;
      }
      return most;
    };
    const float least = largest(0, weight.n()) - args.near_largest;
    for (const Segment& segment : weight.segments()) {
      for (int64_t first = 0; first < segment.features; first += kPanelWidth) {
        const int64_t begin = segment.first_feature + first;
        const int64_t end = begin + std::min<int64_t>(kPanelWidth, segment.features - first);
        std::fill(kept.back().begin() + begin, kept.back().begin() + end,
                  !(largest(begin, end) >= least));
      }
    }
  }
  return kept;
}

void AddFeature(const Args& args, const std::vector<std::vector<float>>& x,
                const std::vector<std::vector<bool>>& kept, const std::vector<float>& w,
                int64_t column) {
  for (size_t t = 0; t < x.size(); ++t) {
    if (kept[t][static_cast<size_t>(column)]) {
      continue;
    }
    float sum = 0.0f;
    for (size_t i = 0; i < w.size(); ++i) {
      sum += x[t][i] * w[i];
    }
    if (args.bias.defined()) {
      sum += args.bias.as<float>()[column];
    }
    const int64_t index = static_cast<int64_t>(t) * args.out.stride(0) + column;
    if (args.accumulate) {
      sum = LoadElement(args.out.data(), args.out.dtype(), index) + sum;
    }
    StoreElement(sum, args.out.data(), args.out.dtype(), index);
  }
}

Status RunReference(const OpContext&, const Args& args) {
  const auto& weight = static_cast<const PanelWeight&>(*args.weight);
  std::vector<float> row(static_cast<size_t>(weight.k()));
  const std::vector<std::vector<bool>> kept = KeptOutputs(args, weight);
  for (const Segment& segment : weight.segments()) {
    std::vector<std::vector<float>> x;
    for (int64_t t = 0; t < args.x.dim(0); ++t) {
      x.push_back(RowOf(args.x, weight.input_order(), t));
      Round(segment.form, x.back());
    }
    for (int64_t feature = 0; feature < segment.features; ++feature) {
      ExpandFeature(segment, feature, weight.k(), row.data());
      AddFeature(args, x, kept, row, segment.first_feature + feature);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", Accepts, RunReference,
           "f32, f16, bf16; weights also f8e4m3, i8, int4 groups, GGUF blocks"}};
}

}  // namespace quire::ops::linear
