// Both activations are x / (1 + e^-z): z = x for SiLU; for GELU, (1 + tanh(y)) / 2 = 1 / (1 +
// e^-2y), which has no cancellation where tanh(y) is near -1.
#include <algorithm>

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::act_and_mul {

namespace {

// Rows of an expensive function: fewer elements than usual are worth waking the threads.
constexpr int64_t kElementCost = 8;

struct Job {
  const float* gate_up;
  float* out;
  int64_t gate_up_stride;  // elements
  int64_t out_stride;      // elements
  int64_t features;
};

template <Activation kActivation, int kLanes>
[[gnu::always_inline]] inline void ActAndMul(const typename Lanes<kLanes>::Float& gate,
                                             const typename Lanes<kLanes>::Float& up,
                                             typename Lanes<kLanes>::Float& out) {
  using Float = typename Lanes<kLanes>::Float;
  constexpr float kTwiceSqrtTwoOverPi = 1.5957691216057308f;
  Float minus_z = -gate;
  if constexpr (kActivation == Activation::kGeluTanh) {
    minus_z = minus_z * ((gate * gate * 0.044715f + 1.0f) * kTwiceSqrtTwoOverPi);
  }
  Float power;
  Exp<kLanes>(minus_z, power);
  out = gate / (power + 1.0f) * up;
}

template <Activation kActivation, int kLanes>
[[gnu::always_inline]] inline void ActivateRows(const Job& job, int64_t begin, int64_t end) {
  typename Lanes<kLanes>::Float gate;
  typename Lanes<kLanes>::Float up;
  typename Lanes<kLanes>::Float out;
  for (int64_t row = begin; row < end; ++row) {
    const float* gates = job.gate_up + row * job.gate_up_stride;
    const float* ups = gates + job.features;
    float* outs = job.out + row * job.out_stride;
    int64_t i = 0;
    for (; i + kLanes <= job.features; i += kLanes) {
      Load(gates + i, gate);
      Load(ups + i, up);
      ActAndMul<kActivation, kLanes>(gate, up, out);
      Store(out, outs + i);
    }
    const int64_t rest = job.features - i;
    if (rest > 0) {  // the same vector code: an element's bits must not depend on its place
      LoadPart(gates + i, rest, gate);
      LoadPart(ups + i, rest, up);
      ActAndMul<kActivation, kLanes>(gate, up, out);
      StorePart(out, rest, outs + i);
    }
  }
}

template <Activation kActivation>
void RowsBaseline(const Job& job, int64_t begin, int64_t end) {
  ActivateRows<kActivation, kBaselineLanes>(job, begin, end);
}

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
void SiluRowsAvx2(const Job& job, int64_t begin, int64_t end) {
  ActivateRows<Activation::kSilu, kAvx2Lanes>(job, begin, end);
}
void GeluRowsAvx2(const Job& job, int64_t begin, int64_t end) {
  ActivateRows<Activation::kGeluTanh, kAvx2Lanes>(job, begin, end);
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
void SiluRowsAvx512(const Job& job, int64_t begin, int64_t end) {
  ActivateRows<Activation::kSilu, kAvx512Lanes>(job, begin, end);
}
void GeluRowsAvx512(const Job& job, int64_t begin, int64_t end) {
  ActivateRows<Activation::kGeluTanh, kAvx512Lanes>(job, begin, end);
}
QUIRE_END_TARGET
#endif

using RowsFunction = void (*)(const Job&, int64_t begin, int64_t end);

template <RowsFunction kSilu, RowsFunction kGelu>
Status RunRows(const OpContext& context, const Args& args) {
  const RowsFunction rows = args.activation == Activation::kSilu ? kSilu : kGelu;
  const Job job = {.gate_up = args.gate_up.as<float>(),
                   .out = args.out.as<float>(),
                   .gate_up_stride = args.gate_up.stride(0),
                   .out_stride = args.out.stride(0),
                   .features = args.out.dim(1)};
  ForRowRanges(context, args.out.dim(0), job.features * kElementCost,
               [&](int64_t begin, int64_t end) { rows(job, begin, end); });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunRows<SiluRowsAvx512, GeluRowsAvx512>},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunRows<SiluRowsAvx2, GeluRowsAvx2>},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>,
       RunRows<RowsBaseline<Activation::kSilu>, RowsBaseline<Activation::kGeluTanh>>},
  };
}

}  // namespace quire::ops::act_and_mul
