#include <cmath>

#include "ops/cpu_rows.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/row_sums.h"
#include "ops/row_views.h"

namespace quire::ops::layer_norm {

namespace {

struct Itself {
  template <typename V>
  [[gnu::always_inline]] inline void operator()(V&) const {}
};

struct SquaredDistance {
  float from;

  template <typename V>
  [[gnu::always_inline]] inline void operator()(V& v) const {
    v = v - from;
    v = v * v;
  }
};

template <typename X, typename W>
struct NormRows {
  struct Job {
    const X* x;
    const W* weight;
    const W* bias;  // or null
    X* out;
    RowLayout x_layout;
    RowLayout out_layout;
    int64_t elements;
    float epsilon;
  };

  template <int kLanes>
  [[gnu::always_inline]] static inline void ScaleRow(const Job& job, const X* x, float mean,
                                                     float scale, X* out) {
    typename Lanes<kLanes>::Float value, weight, bias;
    int64_t i = 0;
    for (; i + kLanes <= job.elements; i += kLanes) {
      LoadLanes<kLanes>(x + i, value);
      LoadLanes<kLanes>(job.weight + i, weight);
      value = (value - mean) * scale * weight;
      if (job.bias != nullptr) {
        LoadLanes<kLanes>(job.bias + i, bias);
        value = value + bias;
      }
      StoreLanes<kLanes>(value, out + i);
    }
    for (; i < job.elements; ++i) {
      const float last = (ToFloat(x[i]) - mean) * scale * ToFloat(job.weight[i]);
      FromFloat(job.bias != nullptr ? last + ToFloat(job.bias[i]) : last, out[i]);
    }
  }

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    const auto count = static_cast<float>(job.elements);
    for (int64_t row = begin; row < end; ++row) {
      const X* x = job.x + job.x_layout.Offset(row);
      const float mean = SumOfRow<kLanes>(x, job.elements, Itself()) / count;
      const float variance = SumOfRow<kLanes>(x, job.elements, SquaredDistance{mean}) / count;
      const float scale = 1.0f / std::sqrt(variance + job.epsilon);
      ScaleRow<kLanes>(job, x, mean, scale, job.out + job.out_layout.Offset(row));
    }
  }
};

struct LayerNorm {
  template <CpuIsa kIsa>
  static Status Run(const OpContext& context, const Args& args) {
    WithRowTypes(args.x.dtype(), args.weight.dtype(), [&](auto x, auto weight) {
      using X = decltype(x);
      using W = decltype(weight);
      RunRows<kIsa, NormRows<X, W>>(context, RowsOf(args.x), LastDim(args.x),
                                    {.x = args.x.as<X>(),
                                     .weight = args.weight.as<W>(),
                                     .bias = IsGiven(args.bias) ? args.bias.as<W>() : nullptr,
                                     .out = args.out.as<X>(),
                                     .x_layout = RowLayout(args.x),
                                     .out_layout = RowLayout(args.out),
                                     .elements = LastDim(args.x),
                                     .epsilon = args.epsilon});
    });
    return OkStatus();
  }
};

}  // namespace

Implementations CpuImplementations() {
  return RowImplementations<LayerNorm, Args>();
}

}  // namespace quire::ops::layer_norm
