#include "ops/act_and_mul/cuda_activated.cuh"
#include "ops/act_and_mul/inputs.h"
#include "ops/cuda_rows.cuh"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::act_and_mul {

namespace {

constexpr int kThreads = 256;

template <typename T>
struct Job {
  const T* gate;
  const T* up;  // or null
  T* out;
  int64_t gate_stride;
  int64_t up_stride;
  int64_t out_stride;
  int64_t elements;
};

template <typename T, Activation kActivation, bool kWhole>
__global__ void __launch_bounds__(kThreads) ActPacks(Job<T> job) {
  constexpr int kPack = kPackOf<T>;
  const int64_t row = blockIdx.x;
  const int64_t at = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * kPack;
  if (at >= job.elements) {
    return;
  }
  Pack<T, kPack> pack = LoadPack<kWhole, kPack>(job.gate + row * job.gate_stride, at, job.elements);
  Pack<T, kPack> up = {};
  if (job.up != nullptr) {
    up = LoadPack<kWhole, kPack>(job.up + row * job.up_stride, at, job.elements);
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const float value = Activated(Widen(pack.values[i]), kActivation);
    Narrow(job.up != nullptr ? value * Widen(up.values[i]) : value, pack.values[i]);
  }
  StorePack<kWhole>(pack, job.out + row * job.out_stride, at, job.elements);
}

template <typename Body>
void WithActivation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::kSilu: return body(std::integral_constant<Activation, Activation::kSilu>());
    case Activation::kGelu: return body(std::integral_constant<Activation, Activation::kGelu>());
    case Activation::kGeluTanh:
      return body(std::integral_constant<Activation, Activation::kGeluTanh>());
  }
}

Status RunActPacks(const OpContext& context, const Args& args) {
  const int64_t rows = args.out.dim(0);
  const int64_t elements = args.out.dim(1);
  if (rows == 0 || elements == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const Inputs inputs(args);
  const bool gated = IsGiven(inputs.up);
  const bool aligned =
      IsAligned(inputs.gate) && IsAligned(args.out) && (!gated || IsAligned(inputs.up));
  WithPlainType(args.out.dtype(), [&](auto type) {
    using T = decltype(type);
    const Job<T> job = {.gate = inputs.gate.as<T>(),
                        .up = gated ? inputs.up.as<T>() : nullptr,
                        .out = args.out.as<T>(),
                        .gate_stride = inputs.gate.stride(0),
                        .up_stride = gated ? inputs.up.stride(0) : 0,
                        .out_stride = args.out.stride(0),
                        .elements = elements};
    const int64_t packs = (elements + kPackOf<T> - 1) / kPackOf<T>;
    const dim3 blocks(static_cast<unsigned>(rows),
                      static_cast<unsigned>((packs + kThreads - 1) / kThreads));
    WithActivation(args.activation, [&](auto activation) {
      WithConstant(aligned && elements % kPackOf<T> == 0, [&](auto whole) {
        ActPacks<T, activation.value, whole.value><<<blocks, kThreads, 0, stream>>>(job);
      });
    });
  });
  return LaunchStatus("act_and_mul");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"packed_rows", [](const OpContext&, const Args&) { return true; }, RunActPacks}};
}

}  // namespace quire::ops::act_and_mul
