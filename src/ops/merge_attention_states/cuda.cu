#include "ops/cuda_rows.cuh"
#include "ops/merge_attention_states/merge_attention_states.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::merge_attention_states {

namespace {

template <typename T>
struct Job {
  const T* out_a;
  const T* out_b;
  T* out;
  const float* lse_a;
  const float* lse_b;
  float* lse;
  RowLayout layout_a;
  RowLayout layout_b;
  RowLayout layout_out;
  int64_t rows;
  int64_t elements;
};

template <typename T, bool kWhole>
__global__ void __launch_bounds__(1024) MergeRows(Job<T> job, int threads, int rows_per_block) {
  constexpr int kPack = kPackOf<T>;
  const int64_t row = int64_t{blockIdx.x} * rows_per_block + threadIdx.x / threads;
  const bool active = row < job.rows;
  const float a = active ? job.lse_a[row] : 0;
  const float b = active ? job.lse_b[row] : 0;
  __syncthreads();  // lse may be lse_a or lse_b
  if (!active) {
    return;
  }
  const bool any = isfinite(a) || isfinite(b);
  const float lse = any ? fmaxf(a, b) + log1pf(expf(-fabsf(a - b))) : -INFINITY;
  const float weight_a = isfinite(a) ? expf(a - lse) : 0;
  const float weight_b = isfinite(b) ? expf(b - lse) : 0;
  if (threadIdx.x % threads == 0) {
    job.lse[row] = lse;
  }
  const T* out_a = job.out_a + OffsetOf(job.layout_a, row);
  const T* out_b = job.out_b + OffsetOf(job.layout_b, row);
  T* out = job.out + OffsetOf(job.layout_out, row);
  for (int64_t at = int64_t{threadIdx.x % threads} * kPack; at < job.elements;
       at += int64_t{threads} * kPack) {
    Pack<T, kPack> pack_a = {};
    Pack<T, kPack> pack_b = {};
    if (weight_a > 0) {
      pack_a = LoadPack<kWhole, kPack>(out_a, at, job.elements);
    }
    if (weight_b > 0) {
      pack_b = LoadPack<kWhole, kPack>(out_b, at, job.elements);
    }
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      float value = 0;
      if (weight_a > 0) {
        value = weight_a * Widen(pack_a.values[i]);
      }
      if (weight_b > 0) {
        value += weight_b * Widen(pack_b.values[i]);
      }
      Narrow(value, pack_a.values[i]);
    }
    StorePack<kWhole>(pack_a, out, at, job.elements);
  }
}

Status RunMergeRows(const OpContext& context, const Args& args) {
  const int64_t rows = RowsOf(args.out);
  if (rows == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const bool aligned = IsAligned(args.out_a) && IsAligned(args.out_b) && IsAligned(args.out);
  WithPlainType(args.out.dtype(), [&](auto type) {
    using T = decltype(type);
    const int64_t elements = LastDim(args.out);
    const Job<T> job = {.out_a = args.out_a.as<T>(),
                        .out_b = args.out_b.as<T>(),
                        .out = args.out.as<T>(),
                        .lse_a = args.lse_a.as<const float>(),
                        .lse_b = args.lse_b.as<const float>(),
                        .lse = args.lse.as<float>(),
                        .layout_a = RowLayout(args.out_a),
                        .layout_b = RowLayout(args.out_b),
                        .layout_out = RowLayout(args.out),
                        .rows = rows,
                        .elements = elements};
    const int64_t packs = (elements + kPackOf<T> - 1) / kPackOf<T>;
    const RowGroups groups(rows, std::max<int64_t>(packs, 1), 1);
    WithConstant(aligned && elements % kPackOf<T> == 0, [&](auto whole) {
      MergeRows<T, whole.value><<<groups.blocks, groups.block_threads(), 0, stream>>>(
          job, groups.threads, groups.rows_per_block);
    });
  });
  return LaunchStatus("merge_attention_states");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"packed_rows", [](const OpContext&, const Args&) { return true; }, RunMergeRows}};
}

}  // namespace quire::ops::merge_attention_states
