#include "ops/cuda_overlapped_launch.cuh"
#include "ops/rms_norm/cuda_normed.cuh"
#include "ops/rms_norm/rms_norm.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::rms_norm {

namespace {

// A step with so few rows is a chain of short kernels: each starts early. With more, kernels that
// overlap only share memory that the longer one was using anyway.
constexpr int64_t kFewRows = 16;

template <typename X, typename W>
struct Job {
  const X* x;
  X* residual;  // or null
  const W* weight;
  X* out;
  RowLayout x_layout;
  RowLayout residual_layout;
  RowLayout out_layout;
  int64_t rows;
  int elements;
  float epsilon;
  float weight_offset;
  bool accumulate;
};

// What is normed: x, or the residual with x added, which becomes the residual.
template <bool kWhole, int kPack, typename X>
__device__ Pack<X, kPack> Input(const X* x, X* residual, int at, int elements) {
  Pack<X, kPack> pack = LoadPack<kWhole, kPack>(x, at, elements);
  if (residual != nullptr) {
    const Pack<X, kPack> before = LoadPack<kWhole, kPack>(residual, at, elements);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      Narrow(Widen(before.values[i]) + Widen(pack.values[i]), pack.values[i]);
    }
    StorePack<kWhole>(pack, residual, at, elements);
  }
  return pack;
}

template <bool kWhole, int kPack, typename X, typename W>
__device__ void WriteScaled(const Job<X, W>& job, Pack<X, kPack> pack, float scale, X* out,
                            int at) {
  const Pack<W, kPack> weight = LoadPack<kWhole, kPack>(job.weight, at, job.elements);
  Pack<X, kPack> before = {};
  if (job.accumulate) {
    before = LoadPack<kWhole, kPack>(out, at, job.elements);
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const float value =
        Scaled(Widen(pack.values[i]), scale, Widen(weight.values[i]) + job.weight_offset);
    Narrow(job.accumulate ? Widen(before.values[i]) + value : value, pack.values[i]);
  }
  StorePack<kWhole>(pack, out, at, job.elements);
}

template <typename X, typename W, bool kWhole>
__global__ void __launch_bounds__(1024) NormRows(Job<X, W> job, int threads, int rows_per_block) {
  constexpr int kPack = kPackOf<X>;
  if (job.rows <= kFewRows) {
    LetNextKernelStart();
  }
  WaitForLastKernel();
  const int64_t row = int64_t{blockIdx.x} * rows_per_block + threadIdx.x / threads;
  const bool active = row < job.rows;  // all threads take part in the sum
  const int elements = active ? job.elements : 0;
  const X* x = job.x + (active ? OffsetOf(job.x_layout, row) : 0);
  X* residual = nullptr;
  if (job.residual != nullptr) {
    residual = job.residual + (active ? OffsetOf(job.residual_layout, row) : 0);
  }
  const int first = static_cast<int>(threadIdx.x) % threads * kPack;
  const int step = threads * kPack;
  Pack<X, kPack> cached[kCached];
  float sum = 0;
#pragma unroll
  for (int c = 0; c < kCached; ++c) {
    if (const int at = first + c * step; at < elements) {
      cached[c] = Input<kWhole, kPack>(x, residual, at, elements);
      sum = SquareSum(cached[c], sum);
    }
  }
  for (int at = first + kCached * step; at < elements; at += step) {
    sum = SquareSum(Input<kWhole, kPack>(x, residual, at, elements), sum);
  }
  sum = GroupSum(sum, threads);
  const float scale = ScaleOf(sum, job.elements, job.epsilon);
  X* out = job.out + (active ? OffsetOf(job.out_layout, row) : 0);
#pragma unroll
  for (int c = 0; c < kCached; ++c) {
    if (const int at = first + c * step; at < elements) {
      WriteScaled<kWhole>(job, cached[c], scale, out, at);
    }
  }
  const X* again = residual != nullptr ? residual : x;
  for (int at = first + kCached * step; at < elements; at += step) {
    WriteScaled<kWhole>(job, LoadPack<kWhole, kPack>(again, at, elements), scale, out, at);
  }
}

Status RunNormRows(const OpContext& context, const Args& args) {
  const int64_t rows = RowsOf(args.x);
  if (rows == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const bool fused = IsGiven(args.residual);
  const bool aligned = IsAligned(args.x) && IsAligned(args.out) && IsAligned(args.weight) &&
                       (!fused || IsAligned(args.residual));
  cudaError_t error = cudaSuccess;
  WithRowAndWeightType(args.x.dtype(), args.weight.dtype(), [&](auto x, auto weight) {
    using X = decltype(x);
    using W = decltype(weight);
    const auto elements = static_cast<int>(LastDim(args.x));
    const Job<X, W> job = {.x = args.x.as<X>(),
                           .residual = fused ? args.residual.as<X>() : nullptr,
                           .weight = args.weight.as<W>(),
                           .out = args.out.as<X>(),
                           .x_layout = RowLayout(args.x),
                           .residual_layout = fused ? RowLayout(args.residual) : RowLayout(),
                           .out_layout = RowLayout(args.out),
                           .rows = rows,
                           .elements = elements,
                           .epsilon = args.epsilon,
                           .weight_offset = args.weight_offset,
                           .accumulate = args.accumulate};
    const RowGroups groups(rows, (elements + kPackOf<X> - 1) / kPackOf<X>, kCached);
    WithConstant(aligned && elements % kPackOf<X> == 0, [&](auto whole) {
      error = LaunchOverlapped(NormRows<X, W, whole.value>, rows <= kFewRows, groups.blocks,
                               groups.block_threads(), 0, stream, job, groups.threads,
                               groups.rows_per_block);
    });
  });
  return CudaStatus(error, "rms_norm");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"packed_rows", [](const OpContext&, const Args&) { return true; }, RunNormRows}};
}

}  // namespace quire::ops::rms_norm
