// A row's cosines and sines are laid out once, in the order in which its heads then use them.
#include <algorithm>
#include <cstring>
#include <utility>

#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "ops/rope/cos_sin.h"
#include "ops/row_views.h"

namespace quire::ops::rope {

namespace {

constexpr int64_t kChunk = 128;   // pairs whose cosines and sines are laid out at a time
constexpr int64_t kPairCost = 8;  // of a cosine and a sine, in elements rotated

// Rotates (x[i], x[i + pairs]) by the angle i.
template <int kLanes, typename X>
[[gnu::always_inline]] inline void RotateHalves(const X* x, X* out, int64_t pairs,
                                                const float* cosines, const float* sines,
                                                int64_t count) {
  typename Lanes<kLanes>::Float a, b, cosine, sine;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    LoadLanes<kLanes>(x + i, a);
    LoadLanes<kLanes>(x + pairs + i, b);
    Load(cosines + i, cosine);
    Load(sines + i, sine);
    StoreLanes<kLanes>(a * cosine - b * sine, out + i);
    StoreLanes<kLanes>(b * cosine + a * sine, out + pairs + i);
  }
  for (; i < count; ++i) {
    const float first = ToFloat(x[i]);
    const float second = ToFloat(x[pairs + i]);
    FromFloat(first * cosines[i] - second * sines[i], out[i]);
    FromFloat(second * cosines[i] + first * sines[i], out[pairs + i]);
  }
}

// Rotates (x[2 i], x[2 i + 1]); the cosines stand twice, the sines as (-sin, sin).
template <int kLanes, typename X>
[[gnu::always_inline]] inline void RotateNeighbours(const X* x, X* out, const float* cosines,
                                                    const float* sines, int64_t count) {
  typename Lanes<kLanes>::Float v, swapped, cosine, sine;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    LoadLanes<kLanes>(x + i, v);
    Load(cosines + i, cosine);
    Load(sines + i, sine);
    Exchange<1>(v, swapped, std::make_integer_sequence<int, kLanes>());
    StoreLanes<kLanes>(v * cosine + swapped * sine, out + i);
  }
  for (; i < count; i += 2) {
    const float a = ToFloat(x[i]);
    const float b = ToFloat(x[i + 1]);
    FromFloat(a * cosines[i] + b * sines[i], out[i]);
    FromFloat(b * cosines[i + 1] + a * sines[i + 1], out[i + 1]);
  }
}

template <typename X, Style kStyle>
struct RotateTokens {
  struct Job {
    const X* x;
    X* out;              // may be x
    RowLayout x_layout;  // rows are heads of tokens
    RowLayout out_layout;
    int64_t heads;
    int64_t elements;
    int64_t pairs;
    const float* cos_sin;  // or null:
    const int32_t* positions;
    const float* inverse_frequency;
    Sections sections;
    float attention_factor;
  };

  // The cosines and sines of the pairs [start, start + count) of token `t`.
  template <int kLanes>
  [[gnu::always_inline]] static inline void LayOut(const Job& job, int64_t t, int64_t start,
                                                   int64_t count, float* cosines, float* sines) {
    float c[kChunk];
    float s[kChunk];
    if (job.cos_sin != nullptr) {
      const float* table = job.cos_sin + (t * job.pairs + start) * 2;
      for (int64_t i = 0; i < count; ++i) {
        c[i] = table[2 * i];
        s[i] = table[2 * i + 1];
      }
    } else {
      CosSinOfPairs<kLanes>(job.positions, job.sections, job.inverse_frequency,
                            job.attention_factor, t, start, start + count, c, s);
    }
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (kStyle == Style::kNeox) {
        cosines[i] = c[i];
        sines[i] = s[i];
      } else {
        cosines[2 * i] = cosines[2 * i + 1] = c[i];
        sines[2 * i] = -s[i];
        sines[2 * i + 1] = s[i];
      }
    }
  }

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    float cosines[2 * kChunk];
    float sines[2 * kChunk];
    const auto rest = static_cast<size_t>(job.elements - 2 * job.pairs) * sizeof(X);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t start = 0; start < job.pairs; start += kChunk) {
        const int64_t count = std::min(job.pairs - start, kChunk);
        LayOut<kLanes>(job, t, start, count, cosines, sines);
        for (int64_t h = 0; h < job.heads; ++h) {
          const X* x = job.x + t * job.x_layout.token_stride + h * job.x_layout.head_stride;
          X* out = job.out + t * job.out_layout.token_stride + h * job.out_layout.head_stride;
          if constexpr (kStyle == Style::kNeox) {
            RotateHalves<kLanes>(x + start, out + start, job.pairs, cosines, sines, count);
          } else {
            RotateNeighbours<kLanes>(x + 2 * start, out + 2 * start, cosines, sines, 2 * count);
          }
        }
      }
      for (int64_t h = 0; h < job.heads && job.x != job.out && rest > 0; ++h) {
        const X* x = job.x + t * job.x_layout.token_stride + h * job.x_layout.head_stride;
        X* out = job.out + t * job.out_layout.token_stride + h * job.out_layout.head_stride;
        std::memcpy(out + 2 * job.pairs, x + 2 * job.pairs, rest);
      }
    }
  }
};

struct Rope {
  template <CpuIsa kIsa, typename X, Style kStyle>
  static void RunAs(const OpContext& context, const Args& args) {
    const TensorView& out = IsGiven(args.out) ? args.out : args.x;
    const bool table = IsGiven(args.cos_sin);
    const Angles& angles = args.angles;
    const int64_t pairs = table ? args.cos_sin.dim(1) : angles.inverse_frequency.dim(0);
    const int64_t heads = args.x.dim(1);
    RunRows<kIsa, RotateTokens<X, kStyle>>(
        context, args.x.dim(0), 2 * pairs * heads + (table ? 0 : kPairCost * pairs),
        {.x = args.x.as<X>(),
         .out = out.as<X>(),
         .x_layout = RowLayout(args.x),
         .out_layout = RowLayout(out),
         .heads = heads,
         .elements = args.x.dim(2),
         .pairs = pairs,
         .cos_sin = table ? args.cos_sin.as<float>() : nullptr,
         .positions = table ? nullptr : angles.positions.as<int32_t>(),
         .inverse_frequency = table ? nullptr : angles.inverse_frequency.as<float>(),
         .sections = table ? Sections() : Sections(angles),
         .attention_factor = angles.attention_factor});
  }

  template <CpuIsa kIsa>
  static Status Run(const OpContext& context, const Args& args) {
    WithRowType(args.x.dtype(), [&](auto type) {
      using X = decltype(type);
      if (args.style == Style::kNeox) {
        RunAs<kIsa, X, Style::kNeox>(context, args);
      } else {
        RunAs<kIsa, X, Style::kInterleaved>(context, args);
      }
    });
    return OkStatus();
  }
};

}  // namespace

Implementations CpuImplementations() {
  return RowImplementations<Rope, Args>();
}

}  // namespace quire::ops::rope
