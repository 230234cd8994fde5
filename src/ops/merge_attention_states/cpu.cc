#include <cmath>
#include <limits>

#include "ops/cpu_rows.h"
#include "ops/merge_attention_states/merge_attention_states.h"
#include "ops/row_views.h"

namespace quire::ops::merge_attention_states {

namespace {

struct Weights {
  float a;
  float b;
  float lse;
};

// REQUIRES: neither is minus infinity.
Weights WeightsOf(float a, float b) {
  const float smaller = std::exp(-std::abs(a - b));  // of e^smaller / e^larger
  const float sum = 1.0f + smaller;
  const float lse = std::max(a, b) + std::log1p(smaller);
  return a >= b ? Weights{1.0f / sum, smaller / sum, lse} : Weights{smaller / sum, 1.0f / sum, lse};
}

template <typename X>
struct MergeRows {
  struct Job {
    const X* a;
    const X* b;
    X* out;
    const float* lse_a;
    const float* lse_b;
    float* lse;
    RowLayout a_layout;
    RowLayout b_layout;
    RowLayout out_layout;
    int64_t elements;
  };

  template <int kLanes>
  [[gnu::always_inline]] static inline void Mix(const X* a, const X* b, const Weights& weights,
                                                int64_t elements, X* out) {
    typename Lanes<kLanes>::Float x, y;
    int64_t i = 0;
    for (; i + kLanes <= elements; i += kLanes) {
      LoadLanes<kLanes>(a + i, x);
      LoadLanes<kLanes>(b + i, y);
      x = x * weights.a + y * weights.b;
      StoreLanes<kLanes>(x, out + i);
    }
    for (; i < elements; ++i) {
      FromFloat(ToFloat(a[i]) * weights.a + ToFloat(b[i]) * weights.b, out[i]);
    }
  }

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const size_t bytes = static_cast<size_t>(job.elements) * sizeof(X);
    for (int64_t row = begin; row < end; ++row) {
      const X* a = job.a + job.a_layout.Offset(row);
      const X* b = job.b + job.b_layout.Offset(row);
      X* out = job.out + job.out_layout.Offset(row);
      const float lse_a = job.lse_a[row];
      const float lse_b = job.lse_b[row];
      if (lse_a == kNone && lse_b == kNone) {
        std::memset(out, 0, bytes);
        job.lse[row] = kNone;
      } else if (lse_a == kNone || lse_b == kNone) {
        std::memmove(out, lse_a == kNone ? b : a, bytes);  // it may be there already
        job.lse[row] = lse_a == kNone ? lse_b : lse_a;
      } else {
        const Weights weights = WeightsOf(lse_a, lse_b);
        Mix<kLanes>(a, b, weights, job.elements, out);
        job.lse[row] = weights.lse;
      }
    }
  }
};

struct Merge {
  template <CpuIsa kIsa>
  static Status Run(const OpContext& context, const Args& args) {
    WithRowType(args.out.dtype(), [&](auto x) {
      using X = decltype(x);
      RunRows<kIsa, MergeRows<X>>(context, RowsOf(args.out), 2 * LastDim(args.out),
                                  {.a = args.out_a.as<X>(),
                                   .b = args.out_b.as<X>(),
                                   .out = args.out.as<X>(),
                                   .lse_a = args.lse_a.as<float>(),
                                   .lse_b = args.lse_b.as<float>(),
                                   .lse = args.lse.as<float>(),
                                   .a_layout = RowLayout(args.out_a),
                                   .b_layout = RowLayout(args.out_b),
                                   .out_layout = RowLayout(args.out),
                                   .elements = LastDim(args.out)});
    });
    return OkStatus();
  }
};

}  // namespace

Implementations CpuImplementations() {
  return RowImplementations<Merge, Args>();
}

}  // namespace quire::ops::merge_attention_states
