// SiLU and the GELU of tanh are x / (1 + e^-z): z = x for SiLU; for GELU, (1 + tanh(y)) / 2 = 1 /
// (1 + e^-2y), which has no cancellation where tanh(y) is near -1. The GELU of erf is x Phi(x) with
// the tail of the normal distribution e^(-x^2 / 2) P(t), t = 1 / (1 + 0.21 |x|) (the form of
// Abramowitz & Stegun 7.1.26; P is a weighted minimax fit of our own, relative error 2e-8).
#include <type_traits>

#include "ops/act_and_mul/inputs.h"
#include "ops/cpu_rows.h"
#include "ops/lanes.h"

namespace quire::ops::act_and_mul {

namespace {

// Rows of an expensive function: fewer elements than usual are worth waking the threads.
constexpr int64_t kElementCost = 8;

// out = x Phi(x), Phi the standard normal distribution function.
template <int kLanes>
[[gnu::always_inline]] inline void Gelu(const typename Lanes<kLanes>::Float& x,
                                        typename Lanes<kLanes>::Float& out) {
  using Float = typename Lanes<kLanes>::Float;
  const Float magnitude = x < 0.0f ? -x : x;
  const Float t = 1.0f / (magnitude * 0x1.ae147ap-3f + 1.0f);
  Float p = t * -0x1.240622p-4f + 0x1.20917cp-2f;
  p = p * t - 0x1.4e546cp-2f;
  p = p * t + 0x1.614454p-2f;
  p = p * t - 0x1.73ce3ep-4f;
  p = p * t + 0x1.f9bdf4p-4f;
  p = p * t + 0x1.1cf52ap-4f;
  p = p * t + 0x1.5c3600p-4f;
  p = p * t + 0x1.56e5b2p-4f;
  Float power;
  Exp<kLanes>(x * x * -0.5f, power);
  const Float tail = power * (p * t);
  out = x * (x < 0.0f ? tail : 1.0f - tail);
}

template <Activation kActivation, int kLanes>
[[gnu::always_inline]] inline void Activate(const typename Lanes<kLanes>::Float& gate,
                                            typename Lanes<kLanes>::Float& out) {
  using Float = typename Lanes<kLanes>::Float;
  if constexpr (kActivation == Activation::kGelu) {
    Gelu<kLanes>(gate, out);
  } else {
    constexpr float kTwiceSqrtTwoOverPi = 1.5957691216057308f;
    Float minus_z = -gate;
    if constexpr (kActivation == Activation::kGeluTanh) {
      minus_z = minus_z * ((gate * gate * 0.044715f + 1.0f) * kTwiceSqrtTwoOverPi);
    }
    Float power;
    Exp<kLanes>(minus_z, power);
    out = gate / (power + 1.0f);
  }
}

template <Activation kActivation, typename X>
struct ActivateRows {
  struct Job {
    const X* gate;
    const X* up;  // or null
    X* out;
    int64_t gate_stride;  // elements
    int64_t up_stride;
    int64_t out_stride;
    int64_t features;
  };

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    typename Lanes<kLanes>::Float gate, up, value;
    for (int64_t row = begin; row < end; ++row) {
      const X* gates = job.gate + row * job.gate_stride;
      const X* ups = job.up == nullptr ? nullptr : job.up + row * job.up_stride;
      X* outs = job.out + row * job.out_stride;
      int64_t i = 0;
      for (; i + kLanes <= job.features; i += kLanes) {
        LoadLanes<kLanes>(gates + i, gate);
        Activate<kActivation, kLanes>(gate, value);
        if (ups != nullptr) {
          LoadLanes<kLanes>(ups + i, up);
          value = value * up;
        }
        StoreLanes<kLanes>(value, outs + i);
      }
      const int64_t rest = job.features - i;
      if (rest > 0) {  // the same vector code: an element's bits must not depend on its place
        LoadPart(gates + i, rest, gate);
        Activate<kActivation, kLanes>(gate, value);
        if (ups != nullptr) {
          LoadPart(ups + i, rest, up);
          value = value * up;
        }
        StorePart(value, rest, outs + i);
      }
    }
  }
};

// Calls body with the activation as a constant.
template <typename Body>
void WithActivation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::kSilu: return body(std::integral_constant<Activation, Activation::kSilu>());
    case Activation::kGeluTanh:
      return body(std::integral_constant<Activation, Activation::kGeluTanh>());
    case Activation::kGelu: return body(std::integral_constant<Activation, Activation::kGelu>());
  }
}

struct ActAndMul {
  template <CpuIsa kIsa>
  static Status Run(const OpContext& context, const Args& args) {
    const Inputs inputs(args);
    const bool multiplies = IsGiven(inputs.up);
    const int64_t features = args.out.dim(1);
    WithRowType(args.out.dtype(), [&](auto type) {
      using X = decltype(type);
      WithActivation(args.activation, [&](auto activation) {
        RunRows<kIsa, ActivateRows<decltype(activation)::value, X>>(
            context, args.out.dim(0), features * kElementCost,
            {.gate = inputs.gate.template as<X>(),
             .up = multiplies ? inputs.up.template as<X>() : nullptr,
             .out = args.out.as<X>(),
             .gate_stride = inputs.gate.stride(0),
             .up_stride = multiplies ? inputs.up.stride(0) : 0,
             .out_stride = args.out.stride(0),
             .features = features});
      });
    });
    return OkStatus();
  }
};

}  // namespace

Implementations CpuImplementations() {
  return RowImplementations<ActAndMul, Args>();
}

}  // namespace quire::ops::act_and_mul
