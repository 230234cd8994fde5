// A row's sum of squares is kept in 16 partial sums (element i in sum i mod 16), folded in halves:
// the same order at every vector width.
#include <algorithm>
#include <cmath>

#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "ops/rms_norm/rows.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::rms_norm {

namespace {

constexpr int kSums = 16;

struct Job {
  const float* x;
  const float* weight;
  float* out;
  RowLayout x_layout;
  RowLayout out_layout;
  int64_t elements;
  float epsilon;
  bool accumulate;
};

template <int kLanes>
[[gnu::always_inline]] inline float SumOfSquares(const float* x, int64_t elements) {
  using Float = typename Lanes<kLanes>::Float;
  constexpr int kParts = kSums / kLanes;
  Float sums[kParts] = {};
  Float v;
  int64_t i = 0;
  for (; i + kSums <= elements; i += kSums) {
    for (int part = 0; part < kParts; ++part) {
      Load(x + i + part * kLanes, v);
      sums[part] += v * v;
    }
  }
  for (int part = 0; part < kParts && i < elements; ++part, i += kLanes) {
    LoadPart(x + i, std::min<int64_t>(elements - i, kLanes), v);
    sums[part] += v * v;
  }
  float folded[kSums];
  for (int part = 0; part < kParts; ++part) {
    Store(sums[part], folded + part * kLanes);
  }
  for (int width = kSums / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) {
      folded[lane] += folded[lane + width];
    }
  }
  return folded[0];
}

template <int kLanes>
[[gnu::always_inline]] inline void NormRow(const Job& job, const float* x, float* out) {
  typename Lanes<kLanes>::Float value;
  typename Lanes<kLanes>::Float weight;
  typename Lanes<kLanes>::Float before;
  const float mean = SumOfSquares<kLanes>(x, job.elements) / static_cast<float>(job.elements);
  const float scale = 1.0f / std::sqrt(mean + job.epsilon);
  int64_t i = 0;
  for (; i + kLanes <= job.elements; i += kLanes) {
    Load(x + i, value);
    Load(job.weight + i, weight);
    value = value * scale * weight;
    if (job.accumulate) {
      Load(out + i, before);
      value = before + value;
    }
    Store(value, out + i);
  }
  for (; i < job.elements; ++i) {
    const float last = x[i] * scale * job.weight[i];
    out[i] = job.accumulate ? out[i] + last : last;
  }
}

template <int kLanes>
[[gnu::always_inline]] inline void NormRows(const Job& job, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    NormRow<kLanes>(job, job.x + job.x_layout.Offset(row), job.out + job.out_layout.Offset(row));
  }
}

void NormRowsBaseline(const Job& job, int64_t begin, int64_t end) {
  NormRows<kBaselineLanes>(job, begin, end);
}

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
void NormRowsAvx2(const Job& job, int64_t begin, int64_t end) {
  NormRows<kAvx2Lanes>(job, begin, end);
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
void NormRowsAvx512(const Job& job, int64_t begin, int64_t end) {
  NormRows<kAvx512Lanes>(job, begin, end);
}
QUIRE_END_TARGET
#endif

template <void (*kNormRows)(const Job&, int64_t, int64_t)>
Status RunRows(const OpContext& context, const Args& args) {
  const Job job = {.x = args.x.as<float>(),
                   .weight = args.weight.as<float>(),
                   .out = args.out.as<float>(),
                   .x_layout = RowLayout(args.x),
                   .out_layout = RowLayout(args.out),
                   .elements = RowElements(args),
                   .epsilon = args.epsilon,
                   .accumulate = args.accumulate};
  ForRowRanges(context, RowsOf(args), job.elements,
               [&](int64_t begin, int64_t end) { kNormRows(job, begin, end); });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunRows<NormRowsAvx512>},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunRows<NormRowsAvx2>},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, RunRows<NormRowsBaseline>},
  };
}

}  // namespace quire::ops::rms_norm
