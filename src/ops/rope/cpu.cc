// A row's cosines and sines are laid out once, in the order in which its heads then use them.
#include <algorithm>
#include <utility>

#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "ops/rope/rope.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::rope {

namespace {

constexpr int64_t kChunk = 128;  // pairs whose cosines and sines are laid out at a time

struct Job {
  float* x;
  const float* cos_sin;
  int64_t token_stride;  // elements
  int64_t head_stride;   // elements
  int64_t heads;
  int64_t pairs;
};

// Rotates (first[i], second[i]) by the angle i.
template <int kLanes>
[[gnu::always_inline]] inline void RotateHalves(float* first, float* second, const float* cosines,
                                                const float* sines, int64_t count) {
  typename Lanes<kLanes>::Float a, b, cosine, sine;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Load(first + i, a);
    Load(second + i, b);
    Load(cosines + i, cosine);
    Load(sines + i, sine);
    Store(a * cosine - b * sine, first + i);
    Store(b * cosine + a * sine, second + i);
  }
  for (; i < count; ++i) {
    const float x = first[i];
    const float y = second[i];
    first[i] = x * cosines[i] - y * sines[i];
    second[i] = y * cosines[i] + x * sines[i];
  }
}

// Rotates (x[2 i], x[2 i + 1]); the cosines stand twice, the sines as (-sin, sin).
template <int kLanes>
[[gnu::always_inline]] inline void RotateNeighbours(float* x, const float* cosines,
                                                    const float* sines, int64_t count) {
  typename Lanes<kLanes>::Float v, swapped, cosine, sine;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Load(x + i, v);
    Load(cosines + i, cosine);
    Load(sines + i, sine);
    Exchange<1>(v, swapped, std::make_integer_sequence<int, kLanes>());
    Store(v * cosine + swapped * sine, x + i);
  }
  for (; i < count; i += 2) {
    const float a = x[i];
    const float b = x[i + 1];
    x[i] = a * cosines[i] + b * sines[i];
    x[i + 1] = b * cosines[i + 1] + a * sines[i + 1];
  }
}

template <int kLanes>
[[gnu::always_inline]] inline void NeoxTokens(const Job& job, int64_t begin, int64_t end) {
  float cosines[kChunk];
  float sines[kChunk];
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t start = 0; start < job.pairs; start += kChunk) {
      const int64_t count = std::min(job.pairs - start, kChunk);
      const float* table = job.cos_sin + (t * job.pairs + start) * 2;
      for (int64_t i = 0; i < count; ++i) {
        cosines[i] = table[2 * i];
        sines[i] = table[2 * i + 1];
      }
      float* first = job.x + t * job.token_stride + start;
      for (int64_t h = 0; h < job.heads; ++h, first += job.head_stride) {
        RotateHalves<kLanes>(first, first + job.pairs, cosines, sines, count);
      }
    }
  }
}

template <int kLanes>
[[gnu::always_inline]] inline void InterleavedTokens(const Job& job, int64_t begin, int64_t end) {
  float cosines[2 * kChunk];
  float sines[2 * kChunk];
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t start = 0; start < job.pairs; start += kChunk) {
      const int64_t count = std::min(job.pairs - start, kChunk);
      const float* table = job.cos_sin + (t * job.pairs + start) * 2;
      for (int64_t i = 0; i < count; ++i) {
        cosines[2 * i] = cosines[2 * i + 1] = table[2 * i];
        sines[2 * i] = -table[2 * i + 1];
        sines[2 * i + 1] = table[2 * i + 1];
      }
      float* x = job.x + t * job.token_stride + 2 * start;
      for (int64_t h = 0; h < job.heads; ++h, x += job.head_stride) {
        RotateNeighbours<kLanes>(x, cosines, sines, 2 * count);
      }
    }
  }
}

template <int kLanes>
[[gnu::always_inline]] inline void Tokens(Style style, const Job& job, int64_t begin, int64_t end) {
  if (style == Style::kNeox) {
    NeoxTokens<kLanes>(job, begin, end);
  } else {
    InterleavedTokens<kLanes>(job, begin, end);
  }
}

void TokensBaseline(Style style, const Job& job, int64_t begin, int64_t end) {
  Tokens<kBaselineLanes>(style, job, begin, end);
}

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
void TokensAvx2(Style style, const Job& job, int64_t begin, int64_t end) {
  Tokens<kAvx2Lanes>(style, job, begin, end);
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
void TokensAvx512(Style style, const Job& job, int64_t begin, int64_t end) {
  Tokens<kAvx512Lanes>(style, job, begin, end);
}
QUIRE_END_TARGET
#endif

template <void (*kTokens)(Style, const Job&, int64_t, int64_t)>
Status RunTokens(const OpContext& context, const Args& args) {
  const Job job = {.x = args.x.as<float>(),
                   .cos_sin = args.cos_sin.as<float>(),
                   .token_stride = args.x.stride(0),
                   .head_stride = args.x.stride(1),
                   .heads = args.x.dim(1),
                   .pairs = args.cos_sin.dim(1)};
  ForRowRanges(context, args.x.dim(0), 2 * job.pairs * job.heads,
               [&](int64_t begin, int64_t end) { kTokens(args.style, job, begin, end); });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunTokens<TokensAvx512>},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunTokens<TokensAvx2>},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, RunTokens<TokensBaseline>},
  };
}

}  // namespace quire::ops::rope
