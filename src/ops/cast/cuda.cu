#include "ops/cast/cast.h"
#include "ops/cuda_rows.cuh"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::cast {

namespace {

constexpr int kThreads = 256;
constexpr int kPack = 8;  // elements that a thread converts

template <typename From, typename To>
struct Job {
  const From* x;
  To* out;
  const float* scale;  // or null
  int64_t x_stride;
  int64_t out_stride;
  int64_t elements;
};

template <typename From, typename To>
__device__ void Convert(From from, const float* scale, To& to) {
  if constexpr (std::is_same_v<From, To>) {
    if (scale == nullptr) {  // a NaN keeps its payload
      to = from;
      return;
    }
  }
  const float value = Widen(from);
  Narrow(scale != nullptr ? KeepNaN(value, value * *scale) : value, to);
}

template <typename From, typename To, bool kWhole>
__global__ void __launch_bounds__(kThreads) CastPacks(Job<From, To> job) {
  const int64_t row = blockIdx.x;
  const int64_t at = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kPack;
  if (at >= job.elements) {
    return;
  }
  const Pack<From, kPack> pack =
      LoadPack<kWhole, kPack>(job.x + row * job.x_stride, at, job.elements);
  Pack<To, kPack> out;
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    Convert(pack.values[i], job.scale, out.values[i]);
  }
  StorePack<kWhole>(out, job.out + row * job.out_stride, at, job.elements);
}

// Calls body(T{}) with the type that stores `dtype`.
template <typename Body>
void WithCastType(DType dtype, const Body& body) {
  if (dtype == DType::kF8E4M3) {
    body(Float8{});
  } else {
    WithPlainType(dtype, body);
  }
}

Status RunCastPacks(const OpContext& context, const Args& args) {
  const int64_t rows = args.x.dim(0);
  const int64_t elements = args.x.dim(1);
  if (rows == 0 || elements == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const int64_t packs = (elements + kPack - 1) / kPack;
  const dim3 blocks(static_cast<unsigned>(rows),
                    static_cast<unsigned>((packs + kThreads - 1) / kThreads));
  WithCastType(args.x.dtype(), [&](auto from) {
    WithCastType(args.out.dtype(), [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const Job<From, To> job = {.x = args.x.as<From>(),
                                 .out = args.out.as<To>(),
                                 .scale = args.scale.defined() ? args.scale.as<float>() : nullptr,
                                 .x_stride = args.x.stride(0),
                                 .out_stride = args.out.stride(0),
                                 .elements = elements};
      const bool aligned = IsAligned(args.x, alignof(Pack<From, kPack>)) &&
                           IsAligned(args.out, alignof(Pack<To, kPack>));
      WithConstant(aligned && elements % kPack == 0, [&](auto whole) {
        CastPacks<From, To, whole.value><<<blocks, kThreads, 0, stream>>>(job);
      });
    });
  });
  return LaunchStatus("cast");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"packed_rows", [](const OpContext&, const Args&) { return true; }, RunCastPacks,
           "f32, f16, bf16, f8e4m3"}};
}

}  // namespace quire::ops::cast
