#include "ops/linear/split_activations.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "ops/linear/packed_blocks.h"
#include "ops/linear/quantize_activations.h"
#include "platform/cpu/cpu_device.h"
#include "tensor/element.h"
#include "tensor/float8.h"

namespace quire::ops::linear {

namespace {

// How a row is rounded: runs of `run` features, in the order of the panels, to 8-bit codes or
// floats, or every feature to bf16.
struct Rounding {
  int64_t run = kGroup;
  bool bf16 = false;
  bool fp8 = false;
  std::span<const int32_t> order;
};

Rounding RoundingOf(const PackedWeight& weight) {
  Rounding rounding;
  if (weight.layout() == kPanelLayout) {
    const auto& panels = static_cast<const PanelWeight&>(weight);
    rounding.order = panels.input_order();
    rounding.bf16 = panels.Wants(ActivationForm::kBf16);
    rounding.fp8 = !rounding.bf16 && panels.Wants(ActivationForm::kFp8);
    rounding.run = rounding.fp8                          ? kFp8Group
                   : panels.Wants(ActivationForm::kRow8) ? weight.k()
                                                         : kGroup;
  }
  return rounding;
}

// x as `rounding` has it, `scale` that of its run.
float Coarse(const Rounding& rounding, const GroupScale& scale, float x) {
  if (rounding.bf16) {
    return BFloat16ToFloat(FloatToBFloat16(x));
  }
  const float code = x * scale.inverse;
  return scale.scale * (rounding.fp8 ? Float8ToFloat(FloatToFloat8(code)) : std::nearbyint(code));
}

// fine = row - rounded, row = rounded, for the features [begin, end) of the panels.
void SplitRun(const Rounding& rounding, int64_t begin, int64_t end, float* row, float* fine) {
  const auto at = [&](int64_t i) {
    return rounding.order.empty() ? i : rounding.order[static_cast<size_t>(i)];
  };
  uint32_t max_bits = 0;
  for (int64_t i = begin; i < end; ++i) {
    max_bits = std::max(max_bits, std::bit_cast<uint32_t>(row[at(i)]) & 0x7fffffff);
  }
  const GroupScale scale = ScaleOf(max_bits, rounding.fp8 ? kFloat8Max : 127.0f);
  for (int64_t i = begin; i < end; ++i) {
    const float x = row[at(i)];
    const float coarse = Coarse(rounding, scale, x);
    row[at(i)] = coarse;
    fine[at(i)] = x - coarse;
  }
}

// row [k] = row t of args.x, rounded; fine [k] = what that lost.
void SplitRow(const Args& args, const Rounding& rounding, int64_t t, float* row, float* fine) {
  const int64_t k = args.weight->k();
  WithElementType(args.x.dtype(), [&](auto type) {
    const auto* in = args.x.as<decltype(type)>() + t * args.x.stride(0);
    std::transform(in, in + k, row, [](auto element) { return ToFloat(element); });
  });
  for (int64_t i = 0; i < k; i += rounding.run) {
    SplitRun(rounding, i, std::min(i + rounding.run, k), row, fine);
  }
}

TensorView AllocateRows(Workspace& workspace, int64_t rows, int64_t columns) {
  return {
      workspace.Allocate<float>(static_cast<size_t>(rows * columns)), DType::kF32, {rows, columns}};
}

}  // namespace

SplitProblem SplitActivations(const OpContext& context, const Args& args) {
  const int64_t m = args.x.dim(0);
  const int64_t k = args.weight->k();
  const TensorView x = AllocateRows(context.workspace, 2 * m, k);
  const Rounding rounding = RoundingOf(*args.weight);
  for (int64_t t = 0; t < m; ++t) {
    float* row = x.as<float>() + 2 * t * k;
    SplitRow(args, rounding, t, row, row + k);
  }
  return {{.x = x,
           .weight = args.weight,
           .bias = {},
           .out = AllocateRows(context.workspace, 2 * m, args.weight->n())}};
}

Args SecondTerms(const OpContext& context, const Args& args) {
  const int64_t m = args.x.dim(0);
  const int64_t k = args.weight->k();
  const TensorView x = AllocateRows(context.workspace, m, k);
  auto* rounded = context.workspace.Allocate<float>(static_cast<size_t>(k));
  const Rounding rounding = RoundingOf(*args.weight);
  for (int64_t t = 0; t < m; ++t) {
    SplitRow(args, rounding, t, rounded, x.as<float>() + t * k);
  }
  return {.x = x,
          .weight = args.weight,
          .bias = {},
          .out = args.out,
          .accumulate = true,
          .near_largest = args.near_largest};
}

void SumTerms(const OpContext& context, const SplitProblem& split, const Args& args) {
  constexpr int64_t kColumnsPerTask = 8192;
  const int64_t n = args.weight->n();
  const int64_t parts = (n + kColumnsPerTask - 1) / kColumnsPerTask;
  const float* bias = args.bias.defined() ? args.bias.as<float>() : nullptr;
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  threads.ParallelFor(args.x.dim(0) * parts, [&](int64_t task, int) {
    const int64_t t = task / parts;
    const int64_t begin = task % parts * kColumnsPerTask;
    const int64_t end = std::min(n, begin + kColumnsPerTask);
    const float* coarse = split.args.out.as<float>() + 2 * t * n;
    const float* fine = coarse + n;
    WithElementType(args.out.dtype(), [&](auto type) {
      auto* out = args.out.as<decltype(type)>() + t * args.out.stride(0);
      for (int64_t i = begin; i < end; ++i) {
        const float sum = coarse[i] + fine[i] + (bias != nullptr ? bias[i] : 0.0f);
        FromFloat(args.accumulate ? ToFloat(out[i]) + sum : sum, out[i]);
      }
    });
  });
}

}  // namespace quire::ops::linear
