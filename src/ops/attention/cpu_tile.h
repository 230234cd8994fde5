// The arithmetic of CPU attention on one tile of keys, written once over an abstract vector V
// of 16 floats. The file of each instruction set defines its V and includes this (through
// cpu_kernel.h) inside its target region, after all other headers.
//
// Exactness: one (query row, head) is computed by one sequence of floating-point operations that
// absolute positions fix. A score is 16 partial dot products (lane i: elements i, i + 16, ...)
// summed by a fixed tree; a tile's softmax step sees kKeyTile keys; values are added key by key,
// ascending; ranges are folded ascending. Queries share loads, never sums. A score of a key that
// the row does not see is replaced, not multiplied away, and its value is not read, so whatever
// such a slot holds cannot leak. V types with a fused Fma() give the same bits at any width.
#pragma once

#include <algorithm>
#include <limits>

#include "ops/attention/cpu_schedule.h"

// Loops over the register blocks below, each in a function of its own, must unroll for their arrays
// to live in registers.
#if defined(__clang__)
#define QUIRE_UNROLL _Pragma("unroll")
#else
#define QUIRE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace quire::ops::attention::cpu {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
inline constexpr float kLog2E = 1.44269504f;

// 2^x for x <= 127, relative error below 1e-7; 0 below 2^-126, exactly 1 at 0, NaN for NaN. Rounds
// x to an integer n and evaluates 2^(x - n) on [-1/2, 1/2] by a polynomial fitted for least
// relative error with its constant fixed to 1.
template <class V>
[[gnu::always_inline]] inline V Exp2(V x) {
  const V n = V::Round(x);
  const V r = V::Sub(x, n);
  V p = V::Fma(V::Broadcast(0x1.41fbbcp-13f), r, V::Broadcast(0x1.5f3e54p-10f));
  p = V::Fma(p, r, V::Broadcast(0x1.3b2d4cp-7f));
  p = V::Fma(p, r, V::Broadcast(0x1.c6aee8p-5f));
  p = V::Fma(p, r, V::Broadcast(0x1.ebfbdcp-3f));
  p = V::Fma(p, r, V::Broadcast(0x1.62e43p-1f));
  p = V::Fma(p, r, V::Broadcast(1.0f));
  return V::ZeroWhereLess(x, V::Broadcast(-126.0f), V::TimesPowerOf2(p, n));
}

// c tanh(x / c) in the form c - 2c / (e^(2x / c) + 1).
template <class V>
[[gnu::always_inline]] inline V SoftCap(V x, float cap) {
  const V limit = V::Broadcast(60.0f);  // tanh is 1 there
  const V exponent = V::Mul(x, V::Broadcast(2.0f * kLog2E / cap));
  const V e = Exp2(V::Max(V::Sub(V::Zero(), limit), V::Min(limit, exponent)));
  const V quotient = V::Div(V::Broadcast(2.0f * cap), V::Add(e, V::Broadcast(1.0f)));
  return V::Sub(V::Broadcast(cap), quotient);
}

template <class V>
[[gnu::always_inline]] inline float Exp2Of(float x) {
  return V::First(Exp2(V::Broadcast(x)));
}

// Rows of keys or values to fetch while others are in use: those of the next tile. The hardware's
// prefetchers do not see across pages: with pages of 16 tokens this makes cold decode 1.7 times as
// fast. The fetch goes to the second-level cache; into the first level it is slower.
template <class T>
struct Ahead {
  const T* base = nullptr;
  const int64_t* rows = nullptr;  // null: nothing to fetch

  [[gnu::always_inline]] void Fetch(int row, int elements) const {
    if (rows != nullptr) {
      const char* line = reinterpret_cast<const char*>(base + rows[row]);
      for (int byte = 0; byte < elements * static_cast<int>(sizeof(T)); byte += 64) {
        __builtin_prefetch(line + byte, 0, 1);
      }
    }
  }
};

// scores[i][j] = query i . key j for kQueries queries and the keys [begin, end), multiples of 16.
// Key j starts at keys + rows[j].
template <class V, int kQueries, class T>
[[gnu::noinline]] void ScoreKeys(const float* queries, int head_dim, const T* keys,
                                 const int64_t* rows, const Ahead<T>& ahead, int begin, int end,
                                 float* scores) {
  for (int first = begin; first < end; first += kLanes) {
    V quarters[kQueries][4];
    QUIRE_UNROLL
    for (int quarter = 0; quarter < 4; ++quarter) {
      const int64_t* row = rows + first + 4 * quarter;
      const T* const key[4] = {keys + row[0], keys + row[1], keys + row[2], keys + row[3]};
      for (int j = 0; j < 4; ++j) {
        ahead.Fetch(first + 4 * quarter + j, head_dim);
      }
      V sum[kQueries][4];
      QUIRE_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        QUIRE_UNROLL
        for (int j = 0; j < 4; ++j) {
          sum[i][j] = V::Zero();
        }
      }
      for (int d = 0; d < head_dim; d += kLanes) {
        const V k[4] = {V::Load(key[0] + d), V::Load(key[1] + d), V::Load(key[2] + d),
                        V::Load(key[3] + d)};
        QUIRE_UNROLL
        for (int i = 0; i < kQueries; ++i) {
          const V q = V::Load(queries + int64_t{i} * head_dim + d);
          QUIRE_UNROLL
          for (int j = 0; j < 4; ++j) {
            sum[i][j] = V::Fma(q, k[j], sum[i][j]);
          }
        }
      }
      QUIRE_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        quarters[i][quarter] = V::SumToQuarters(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
      }
    }
    QUIRE_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const V* q = quarters[i];
      V::Store(scores + i * kKeyTile + first, V::SumQuarters(q[0], q[1], q[2], q[3]));
    }
  }
}

// One softmax step over the keys [begin, end) of a tile: scores become weights relative to the new
// largest score; *max and sum [kLanes] move on. Returns the factor that earlier sums must take.
template <class V>
inline float SoftmaxStep(const Problem& problem, int begin, int end, float* scores, float* max,
                         float* sum) {
  constexpr int kVectors = kKeyTile / kLanes;
  V s[kVectors];
  V top = V::Broadcast(kMinusInfinity);
  QUIRE_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    const int first = begin - i * kLanes;
    const int last = end - i * kLanes;
    s[i] = V::Broadcast(kMinusInfinity);
    if (last <= 0 || first >= kLanes) {
      continue;
    }
    V x = V::Mul(V::Load(scores + i * kLanes), V::Broadcast(problem.scale));
    if (problem.logit_soft_cap > 0.0f) {
      x = SoftCap(x, problem.logit_soft_cap);
    }
    x = V::Mul(x, V::Broadcast(kLog2E));
    s[i] = first <= 0 && last >= kLanes ? x : V::KeepLanes(x, first, last, s[i]);
    top = V::Max(top, s[i]);
  }
  const float old_max = *max;
  const float new_max = std::max(old_max, V::LargestLane(top));
  QUIRE_UNROLL
  for (int i = 0; i < kVectors; ++i) {
    s[i] = Exp2(V::Sub(s[i], V::Broadcast(new_max)));
    V::Store(scores + i * kLanes, s[i]);
  }
  const V added = V::Add(V::Add(s[0], s[1]), V::Add(s[2], s[3]));
  const float factor = old_max == new_max ? 1.0f : Exp2Of<V>(old_max - new_max);
  V::Store(sum, V::Fma(V::Load(sum), V::Broadcast(factor), added));
  *max = new_max;
  return factor;
}

// acc[i][0 .. 16 kVectors) = acc[i] * factors[i] + sum over j in [begin, end) of weights[i][j] *
// value j.
template <class V, int kQueries, int kVectors, class T>
[[gnu::noinline]] void AddColumns(const float* weights, const float* factors, const T* values,
                                  const int64_t* rows, const Ahead<T>& ahead, int begin, int end,
                                  float* acc, int head_dim) {
  V a[kQueries][kVectors];
  QUIRE_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    QUIRE_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      const V old = V::Load(acc + int64_t{i} * head_dim + c * kLanes);
      a[i][c] = V::Mul(old, V::Broadcast(factors[i]));
    }
  }
  for (int j = begin; j < end; ++j) {
    const T* value = values + rows[j];
    ahead.Fetch(j, kVectors * kLanes);
    V v[kVectors];
    QUIRE_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      v[c] = V::Load(value + c * kLanes);
    }
    QUIRE_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const V weight = V::Broadcast(weights[i * kKeyTile + j]);
      QUIRE_UNROLL
      for (int c = 0; c < kVectors; ++c) {
        a[i][c] = V::Fma(weight, v[c], a[i][c]);
      }
    }
  }
  QUIRE_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    QUIRE_UNROLL
    for (int c = 0; c < kVectors; ++c) {
      V::Store(acc + int64_t{i} * head_dim + c * kLanes, a[i][c]);
    }
  }
}

// AddColumns over all columns, as many at once as registers hold.
template <class V, int kQueries, class T>
inline void AddValues(const float* weights, const float* factors, const T* values,
                      const int64_t* rows, const Ahead<T>& ahead, int begin, int end, float* acc,
                      int head_dim) {
  constexpr int kVectors = V::kRegisters >= 32 ? 4 : 1;
  int d = 0;
  for (; d + kVectors * kLanes <= head_dim; d += kVectors * kLanes) {
    AddColumns<V, kQueries, kVectors>(weights, factors, values + d, rows,
                                      {ahead.base + d, ahead.rows}, begin, end, acc + d, head_dim);
  }
  for (; d < head_dim; d += kLanes) {
    AddColumns<V, kQueries, 1>(weights, factors, values + d, rows, {ahead.base + d, ahead.rows},
                               begin, end, acc + d, head_dim);
  }
}

// Softmax state of one query over some keys: sum of weights and weighted values relative to the
// score `max`.
struct State {
  float* acc;  // [Dv]
  float* sum;
  float* max;
};

// Folds the next range's state into the total of the ranges before it.
template <class V>
inline void Fold(State total, const float* acc, float sum, float max, int head_dim) {
  const float new_max = std::max(*total.max, max);
  const float old_factor = Exp2Of<V>(*total.max - new_max);
  const float factor = Exp2Of<V>(max - new_max);
  *total.max = new_max;
  *total.sum = *total.sum * old_factor + sum * factor;
  for (int d = 0; d < head_dim; d += kLanes) {
    const V old = V::Mul(V::Load(total.acc + d), V::Broadcast(old_factor));
    V::Store(total.acc + d, V::Fma(V::Load(acc + d), V::Broadcast(factor), old));
  }
}

}  // namespace quire::ops::attention::cpu

#undef QUIRE_UNROLL
