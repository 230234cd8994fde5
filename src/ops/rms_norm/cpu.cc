#include <cmath>

#include "ops/cpu_rows.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/row_sums.h"
#include "ops/row_views.h"

namespace quire::ops::rms_norm {

namespace {

struct Square {
  template <typename V>
  [[gnu::always_inline]] inline void operator()(V& v) const {
    v = v * v;
  }
};

template <typename X, typename W>
struct NormRows {
  struct Job {
    const X* x;
    X* residual;  // or null
    const W* weight;
    X* out;
    RowLayout x_layout;
    RowLayout residual_layout;
    RowLayout out_layout;
    int64_t elements;
    float epsilon;
    float weight_offset;
    bool accumulate;
  };

  template <int kLanes>
  [[gnu::always_inline]] static inline void AddRow(const X* x, X* residual, int64_t elements) {
    typename Lanes<kLanes>::Float a, b;
    int64_t i = 0;
    for (; i + kLanes <= elements; i += kLanes) {
      LoadLanes<kLanes>(residual + i, a);
      LoadLanes<kLanes>(x + i, b);
      StoreLanes<kLanes>(a + b, residual + i);
    }
    for (; i < elements; ++i) {
      FromFloat(ToFloat(residual[i]) + ToFloat(x[i]), residual[i]);
    }
  }

  template <int kLanes>
  [[gnu::always_inline]] static inline void ScaleRow(const Job& job, const X* x, float scale,
                                                     X* out) {
    typename Lanes<kLanes>::Float value, weight, before;
    int64_t i = 0;
    for (; i + kLanes <= job.elements; i += kLanes) {
      LoadLanes<kLanes>(x + i, value);
      LoadLanes<kLanes>(job.weight + i, weight);
      value = value * scale * (weight + job.weight_offset);
      if (job.accumulate) {
        LoadLanes<kLanes>(out + i, before);
        value = before + value;
      }
      StoreLanes<kLanes>(value, out + i);
    }
    for (; i < job.elements; ++i) {
      const float last = ToFloat(x[i]) * scale * (ToFloat(job.weight[i]) + job.weight_offset);
      FromFloat(job.accumulate ? ToFloat(out[i]) + last : last, out[i]);
    }
  }

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const X* x = job.x + job.x_layout.Offset(row);
      if (job.residual != nullptr) {
        X* residual = job.residual + job.residual_layout.Offset(row);
        AddRow<kLanes>(x, residual, job.elements);
        x = residual;
      }
      const float sum = SumOfRow<kLanes>(x, job.elements, Square());
      const float scale = 1.0f / std::sqrt(sum / static_cast<float>(job.elements) + job.epsilon);
      ScaleRow<kLanes>(job, x, scale, job.out + job.out_layout.Offset(row));
    }
  }
};

struct RmsNorm {
  template <CpuIsa kIsa>
  static Status Run(const OpContext& context, const Args& args) {
    WithRowTypes(args.x.dtype(), args.weight.dtype(), [&](auto x, auto weight) {
      using X = decltype(x);
      using W = decltype(weight);
      const bool fused = IsGiven(args.residual);
      RunRows<kIsa, NormRows<X, W>>(
          context, RowsOf(args.x), LastDim(args.x),
          {.x = args.x.as<X>(),
           .residual = fused ? args.residual.as<X>() : nullptr,
           .weight = args.weight.as<W>(),
           .out = args.out.as<X>(),
           .x_layout = RowLayout(args.x),
           .residual_layout = fused ? RowLayout(args.residual) : RowLayout(),
           .out_layout = RowLayout(args.out),
           .elements = LastDim(args.x),
           .epsilon = args.epsilon,
           .weight_offset = args.weight_offset,
           .accumulate = args.accumulate});
    });
    return OkStatus();
  }
};

}  // namespace

Implementations CpuImplementations() {
  return RowImplementations<RmsNorm, Args>();
}

}  // namespace quire::ops::rms_norm
