// The oracle: every weight expanded to fp32, every sum in fp32 and ascending k. With quantized
// weights in kBlock8 mode the activations are rounded to 8 bits first, as the fast implementations
// do.
#include <vector>

#include "ops/linear/linear.h"
#include "ops/linear/packed_blocks.h"
#include "ops/linear/quantize_activations.h"

namespace quire::ops::linear {

namespace {

bool Accepts(const OpContext&, const Args& args) {
  return args.weight->layout() == kPanelLayout;
}

// x rounded to 8 bits per group and expanded again, [M, K].
void RoundActivations(const TensorView& x, float* out) {
  const int64_t k = x.dim(1);
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t start = 0; start < k; start += kGroup) {
      const float* in = x.as<float>() + t * x.stride(0) + start;
      uint8_t words[kTileWordsPerRow * 4];
      int32_t offsets[kOffsetWordsPerRow];
      QuantizeTile(in, kGroup, 1, 1, {words, offsets});
      float scale;
      std::memcpy(&scale, words + kGroup, sizeof(scale));
      for (int i = 0; i < kGroup; ++i) {
        out[t * k + start + i] = scale * static_cast<float>(static_cast<int8_t>(words[i]));
      }
    }
  }
}

void AddFeature(const Args& args, const float* x, int64_t x_stride, const float* w,
                int64_t column) {
  for (int64_t t = 0; t < args.x.dim(0); ++t) {
    float sum = 0.0f;
    for (int64_t i = 0; i < args.x.dim(1); ++i) {
      sum += x[t * x_stride + i] * w[i];
    }
    if (args.bias.defined()) {
      sum += args.bias.as<float>()[column];
    }
    float& out = args.out.as<float>()[t * args.out.stride(0) + column];
    out = args.accumulate ? out + sum : sum;
  }
}

Status RunReference(const OpContext& context, const Args& args) {
  const auto& weight = static_cast<const PanelWeight&>(*args.weight);
  const int64_t k = weight.k();
  const Workspace::Scope scope(context.workspace);
  auto* rounded = context.workspace.Allocate<float>(static_cast<size_t>(args.x.dim(0) * k));
  auto* row = context.workspace.Allocate<float>(static_cast<size_t>(k));
  if (k % kGroup == 0) {
    RoundActivations(args.x, rounded);
  }
  for (const Segment& segment : weight.segments()) {
    const bool dense = FormatOf(segment.kind).IsDense();
    const float* x = dense ? args.x.as<float>() : rounded;
    const int64_t x_stride = dense ? args.x.stride(0) : k;
    for (int64_t feature = 0; feature < segment.features; ++feature) {
      ExpandFeature(segment, feature, k, row);
      AddFeature(args, x, x_stride, row, segment.first_feature + feature);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", Accepts, RunReference}};
}

}  // namespace quire::ops::linear
