#include "ops/linear/split_activations.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "ops/linear/quantize_activations.h"
#include "platform/cpu/cpu_device.h"

namespace quire::ops::linear {

namespace {

// coarse = `count` elements of x rounded to the codes of their group, fine = x - coarse.
void SplitGroup(const float* x, int64_t count, float* coarse, float* fine) {
  uint32_t max_bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    max_bits = std::max(max_bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  }
  const GroupScale scale = ScaleOf(max_bits);
  for (int64_t i = 0; i < count; ++i) {
    coarse[i] = std::nearbyint(x[i] * scale.inverse) * scale.scale;
    fine[i] = x[i] - coarse[i];
  }
}

}  // namespace

SplitProblem SplitActivations(const OpContext& context, const Args& args) {
  const int64_t m = args.x.dim(0);
  const int64_t k = args.weight->k();
  const int64_t n = args.weight->n();
  const TensorView x(context.workspace.Allocate<float>(static_cast<size_t>(2 * m * k)), DType::kF32,
                     {2 * m, k});
  const TensorView out(context.workspace.Allocate<float>(static_cast<size_t>(2 * m * n)),
                       DType::kF32, {2 * m, n});
  for (int64_t t = 0; t < m; ++t) {
    const float* source = args.x.as<float>() + t * args.x.stride(0);
    float* coarse = x.as<float>() + 2 * t * k;
    for (int64_t i = 0; i < k; i += kGroup) {
      SplitGroup(source + i, std::min<int64_t>(kGroup, k - i), coarse + i, coarse + k + i);
    }
  }
  return {{.x = x, .weight = args.weight, .bias = {}, .out = out}};
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
    float* out = args.out.as<float>() + t * args.out.stride(0);
    for (int64_t i = begin; i < end; ++i) {
      const float sum = coarse[i] + fine[i] + (bias != nullptr ? bias[i] : 0.0f);
      out[i] = args.accumulate ? out[i] + sum : sum;
    }
  });
}

}  // namespace quire::ops::linear
