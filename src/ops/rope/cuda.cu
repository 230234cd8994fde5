#include <algorithm>

#include "ops/cuda_rows.cuh"
#include "ops/rope/cuda_rotate.cuh"
#include "ops/rope/sections.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::rope {

namespace {

constexpr int kThreads = 128;
constexpr int64_t kMaxPairs = 4096;  // whose cosines and sines a block keeps, 32 KiB

template <typename T>
struct Job {
  const T* x;
  T* out;
  RowLayout x_layout;
  RowLayout out_layout;
  int64_t heads;
  int64_t elements;       // D
  int64_t pairs;          // r / 2
  const float2* cos_sin;  // [T, pairs], or null: by angles
  const int32_t* positions;
  const float* inverse_frequency;
  int64_t position_stride;            // from one section to the next
  int64_t section_end[kMaxSections];  // pairs; the last is `pairs`
  float factor;
};

// CosSin() of cos_sin.h, for one angle, with its bits: each operation rounds for itself.
__device__ float2 CosSinOf(int32_t position, float inverse_frequency, float factor) {
  const auto times = [](double a, double b) { return __dmul_rn(a, b); };
  const auto plus = [](double a, double b) { return __dadd_rn(a, b); };
  constexpr double kRound = 0x1.8p52;
  const double angle = times(inverse_frequency, position);
  const double shifted = plus(times(angle, 0x1.45f306dc9c883p-1), kRound);
  const double n = plus(shifted, -kRound);
  const double r = plus(plus(angle, -times(n, 0x1.921fbp+0)), -times(n, 0x1.5110b4611a626p-22));
  const double square = times(r, r);
  double c = plus(times(square, 1.0 / 479001600), -1.0 / 3628800);
  c = plus(times(c, square), 1.0 / 40320);
  c = plus(times(c, square), -1.0 / 720);
  c = plus(times(c, square), 1.0 / 24);
  c = plus(times(c, square), -0.5);
  c = plus(times(c, square), 1.0);
  double s = plus(times(square, -1.0 / 39916800), 1.0 / 362880);
  s = plus(times(s, square), -1.0 / 5040);
  s = plus(times(s, square), 1.0 / 120);
  s = plus(times(s, square), -1.0 / 6);
  s = plus(times(s, times(square, r)), r);
  const long long quadrant = __double_as_longlong(shifted);
  double cos_part = (quadrant & 1) != 0 ? s : c;
  double sin_part = (quadrant & 1) != 0 ? c : s;
  cos_part = ((quadrant + 1) & 2) != 0 ? -cos_part : cos_part;
  sin_part = (quadrant & 2) != 0 ? -sin_part : sin_part;
  return {__fmul_rn(static_cast<float>(cos_part), factor),
          __fmul_rn(static_cast<float>(sin_part), factor)};
}

template <typename T>
__device__ float2 CosSinOfPair(const Job<T>& job, int64_t token, int64_t pair) {
  if (job.cos_sin != nullptr) {
    return job.cos_sin[token * job.pairs + pair];
  }
  int section = 0;
  while (pair >= job.section_end[section]) {
    ++section;
  }
  return CosSinOf(job.positions[section * job.position_stride + token], job.inverse_frequency[pair],
                  job.factor);
}

// Elements [at, at + kPack) of the first half and those of the second half that turn with them.
template <bool kWhole, typename T>
__device__ void RotateHalves(const Job<T>& job, const float2* cos_sin, const T* x, T* out,
                             int64_t at) {
  constexpr int kPack = kPackOf<T>;
  Pack<T, kPack> first = LoadPack<kWhole, kPack>(x, at, job.pairs);
  Pack<T, kPack> second = LoadPack<kWhole, kPack>(x + job.pairs, at, job.pairs);
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if (kWhole || at + i < job.pairs) {
      Rotate(cos_sin[at + i], first.values[i], second.values[i]);
    }
  }
  StorePack<kWhole>(first, out, at, job.pairs);
  StorePack<kWhole>(second, out + job.pairs, at, job.pairs);
}

// Elements [2 at, 2 at + kPack): whole pairs.
template <bool kWhole, typename T>
__device__ void RotateNeighbours(const Job<T>& job, const float2* cos_sin, const T* x, T* out,
                                 int64_t at) {
  constexpr int kPack = kPackOf<T>;
  Pack<T, kPack> pack = LoadPack<kWhole, kPack>(x, 2 * at, 2 * job.pairs);
#pragma unroll
  for (int i = 0; i < kPack / 2; ++i) {
    if (kWhole || at + i < job.pairs) {
      Rotate(cos_sin[at + i], pack.values[2 * i], pack.values[2 * i + 1]);
    }
  }
  StorePack<kWhole>(pack, out, 2 * at, 2 * job.pairs);
}

__device__ int64_t HeadOffset(const RowLayout& layout, int64_t token, uint32_t head) {
  return token * layout.token_stride + head * layout.head_stride;
}

// A block turns some heads of a token.
template <typename T, bool kNeox, bool kWhole>
__global__ void __launch_bounds__(kThreads) RotateToken(Job<T> job) {
  extern __shared__ float2 cos_sin[];  // [pairs]
  const int64_t token = blockIdx.x;
  for (int64_t pair = threadIdx.x; pair < job.pairs; pair += kThreads) {
    cos_sin[pair] = CosSinOfPair(job, token, pair);
  }
  __syncthreads();
  constexpr int kPairs = kNeox ? kPackOf<T> : kPackOf<T> / 2;  // that a thread turns at a time
  const auto packs = static_cast<uint32_t>((job.pairs + kPairs - 1) / kPairs);
  const auto heads = static_cast<uint32_t>(job.heads);
  const uint32_t step = gridDim.y * kThreads;
  const uint32_t start = blockIdx.y * kThreads + threadIdx.x;
  for (uint32_t index = start; index < heads * packs; index += step) {
    const T* x = job.x + HeadOffset(job.x_layout, token, index / packs);
    T* out = job.out + HeadOffset(job.out_layout, token, index / packs);
    if constexpr (kNeox) {
      RotateHalves<kWhole>(job, cos_sin, x, out, index % packs * kPairs);
    } else {
      RotateNeighbours<kWhole>(job, cos_sin, x, out, index % packs * kPairs);
    }
  }
  if (job.x == job.out) {
    return;
  }
  const auto rest = static_cast<uint32_t>(job.elements - 2 * job.pairs);  // that do not turn
  for (uint32_t index = start; index < heads * rest; index += step) {
    const int64_t at = 2 * job.pairs + index % rest;
    job.out[HeadOffset(job.out_layout, token, index / rest) + at] =
        job.x[HeadOffset(job.x_layout, token, index / rest) + at];
  }
}

template <typename T>
Job<T> JobOf(const Args& args, const TensorView& out) {
  const bool table = IsGiven(args.cos_sin);
  const Angles& angles = args.angles;
  Job<T> job = {.x = args.x.as<T>(),
                .out = out.as<T>(),
                .x_layout = RowLayout(args.x),
                .out_layout = RowLayout(out),
                .heads = args.x.dim(1),
                .elements = args.x.dim(2),
                .pairs = table ? args.cos_sin.dim(1) : angles.inverse_frequency.dim(0),
                .cos_sin = nullptr,
                .positions = nullptr,
                .inverse_frequency = nullptr,
                .position_stride = 0,
                .section_end = {},
                .factor = angles.attention_factor};
  if (table) {
    job.cos_sin = reinterpret_cast<const float2*>(args.cos_sin.as<float>());
    return job;
  }
  const Sections sections(angles);
  job.positions = angles.positions.as<const int32_t>();
  job.inverse_frequency = angles.inverse_frequency.as<const float>();
  job.position_stride = sections.stride;
  std::copy(sections.end.begin(), sections.end.end(), job.section_end);
  return job;
}

Status RunRotateToken(const OpContext& context, const Args& args) {
  const TensorView& x = args.x;
  const TensorView& out = IsGiven(args.out) ? args.out : x;
  if (x.shape().elements() == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  WithPlainType(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const Job<T> job = JobOf<T>(args, out);
    const bool neox = args.style == Style::kNeox;
    const int64_t half = neox ? job.pairs : 2 * job.pairs;  // what must be in whole packs
    const bool whole = IsAligned(x) && IsAligned(out) && half % kPackOf<T> == 0;
    const int64_t packs = job.heads * (2 * job.pairs / kPackOf<T> + 1);
    const dim3 blocks(static_cast<unsigned>(x.dim(0)),
                      static_cast<unsigned>((packs + 2 * kThreads - 1) / (2 * kThreads)));
    const auto shared = static_cast<size_t>(job.pairs) * sizeof(float2);
    WithConstant(neox, [&](auto is_neox) {
      WithConstant(whole, [&](auto is_whole) {
        RotateToken<T, is_neox.value, is_whole.value><<<blocks, kThreads, shared, stream>>>(job);
      });
    });
  });
  return LaunchStatus("rope");
}

bool FitsSharedMemory(const OpContext&, const Args& args) {
  return IsGiven(args.cos_sin) ? args.cos_sin.dim(1) <= kMaxPairs
                               : args.angles.inverse_frequency.dim(0) <= kMaxPairs;
}

}  // namespace

Implementations CudaImplementations() {
  return {{"block_per_token", FitsSharedMemory, RunRotateToken}};
}

}  // namespace quire::ops::rope
