#include "ops/cuda_rows.cuh"
#include "ops/layer_norm/layer_norm.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::layer_norm {

namespace {

template <typename X, typename W>
struct Job {
  const X* x;
  const W* weight;
  const W* bias;  // or null
  X* out;
  RowLayout x_layout;
  RowLayout out_layout;
  int64_t rows;
  int64_t elements;
  float epsilon;
};

// A row is read three times: after the first it is in the cache.
template <typename X, typename W, bool kWhole>
__global__ void __launch_bounds__(1024) NormRows(Job<X, W> job, int threads, int rows_per_block) {
  constexpr int kPack = kPackOf<X>;
  const int64_t row = int64_t{blockIdx.x} * rows_per_block + threadIdx.x / threads;
  const bool active = row < job.rows;  // all threads take part in the sums
  const int64_t elements = active ? job.elements : 0;
  const X* x = job.x + (active ? OffsetOf(job.x_layout, row) : 0);
  const int64_t first = int64_t{threadIdx.x % threads} * kPack;
  const int64_t step = int64_t{threads} * kPack;
  float sum = 0;
  for (int64_t at = first; at < elements; at += step) {
    const Pack<X, kPack> pack = LoadPack<kWhole, kPack>(x, at, elements);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      sum += Widen(pack.values[i]);
    }
  }
  const auto count = static_cast<float>(job.elements);
  const float mean = GroupSum(sum, threads) / count;
  float squares = 0;
  for (int64_t at = first; at < elements; at += step) {
    const Pack<X, kPack> pack = LoadPack<kWhole, kPack>(x, at, elements);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const float distance = at + i < elements ? Widen(pack.values[i]) - mean : 0.0f;
      squares += distance * distance;
    }
  }
  const float scale = 1.0f / sqrtf(GroupSum(squares, threads) / count + job.epsilon);
  X* out = job.out + (active ? OffsetOf(job.out_layout, row) : 0);
  for (int64_t at = first; at < elements; at += step) {
    Pack<X, kPack> pack = LoadPack<kWhole, kPack>(x, at, elements);
    const Pack<W, kPack> weight = LoadPack<kWhole, kPack>(job.weight, at, elements);
    Pack<W, kPack> bias = {};
    if (job.bias != nullptr) {
      bias = LoadPack<kWhole, kPack>(job.bias, at, elements);
    }
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      const float value = (Widen(pack.values[i]) - mean) * scale * Widen(weight.values[i]);
      Narrow(value + Widen(bias.values[i]), pack.values[i]);
    }
    StorePack<kWhole>(pack, out, at, elements);
  }
}

Status RunNormRows(const OpContext& context, const Args& args) {
  const int64_t rows = RowsOf(args.x);
  if (rows == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const bool biased = IsGiven(args.bias);
  const bool aligned = IsAligned(args.x) && IsAligned(args.out) && IsAligned(args.weight) &&
                       (!biased || IsAligned(args.bias));
  WithRowAndWeightType(args.x.dtype(), args.weight.dtype(), [&](auto x, auto weight) {
    using X = decltype(x);
    using W = decltype(weight);
    const int64_t elements = LastDim(args.x);
    const Job<X, W> job = {.x = args.x.as<X>(),
                           .weight = args.weight.as<W>(),
                           .bias = biased ? args.bias.as<W>() : nullptr,
                           .out = args.out.as<X>(),
                           .x_layout = RowLayout(args.x),
                           .out_layout = RowLayout(args.out),
                           .rows = rows,
                           .elements = elements,
                           .epsilon = args.epsilon};
    const RowGroups groups(rows, (elements + kPackOf<X> - 1) / kPackOf<X>, 2);
    WithConstant(aligned && elements % kPackOf<X> == 0, [&](auto whole) {
      NormRows<X, W, whole.value><<<groups.blocks, groups.block_threads(), 0, stream>>>(
          job, groups.threads, groups.rows_per_block);
    });
  });
  return LaunchStatus("layer_norm");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"packed_rows", [](const OpContext&, const Args&) { return true; }, RunNormRows}};
}

}  // namespace quire::ops::layer_norm
