// The arithmetic of CPU attention on one tile of keys, written once over an abstract vector V
// of 16 floats. The file of each instruction set defines its V and includes this (through
// cpu_kernel.h) inside its target region, after all other headers.
//
// Exactness: one (query row, head) is computed by one sequence of floating-point operations that
// absolute positions fix. The query is scaled first. A score is 16 partial dot products (number i:
// elements i, i + 16, ..., ascending) summed by a fixed tree, whether they lie side by side in one
// vector (ScoreKeys) or one after another in the lanes of their keys (ScoreColumns). A tile's
// softmax step sees kKeyTile keys; values are added key by key, ascending; ranges are folded
// ascending. Queries share loads, never sums. A score of a key that the row does not see is
// replaced, not multiplied away, and its value is not read, so whatever such a slot holds cannot
// leak. V types with a fused Fma() give the same bits at any width.
#pragma once

#include <algorithm>
#include <limits>

#include "ops/attention/cpu/cpu_schedule.h"

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

// c log2(e) tanh(y) of x = 2 log2(e) y, in the form c log2(e) (1 - 2 / (2^x + 1)).
template <class V>
[[gnu::always_inline]] inline V SoftCap(V x, float cap) {
  const V limit = V::Broadcast(60.0f);  // tanh is 1 there
  const V e = Exp2(V::Max(V::Sub(V::Zero(), limit), V::Min(limit, x)));
  const V quotient = V::Div(V::Broadcast(2.0f * kLog2E * cap), V::Add(e, V::Broadcast(1.0f)));
  return V::Sub(V::Broadcast(kLog2E * cap), quotient);
}

// What queries are multiplied by, for scores in base 2 or, with a soft cap, for what SoftCap takes.
[[gnu::always_inline]] inline float QueryScale(const Problem& problem) {
  const float cap = problem.logit_soft_cap;
  return problem.scale * (cap > 0.0f ? 2.0f * kLog2E / cap : kLog2E);
}

template <class V>
[[gnu::always_inline]] inline float Exp2Of(float x) {
  return V::First(Exp2(V::Broadcast(x)));
}

// Queries that ScoreColumns takes together: as many as registers hold with two sums for each.
template <class V>
inline constexpr int kColumnQueries = V::kRegisters >= 32  ? 8
                                      : V::kRegisters >= 8 ? 2
                                                           : 1;

// Rows of keys or values to fetch while others are in use: those of the next tile. The hardware's
// prefetchers do not see across pages: with pages of 16 tokens this makes cold decode 1.7 times as
// fast. The fetch goes to the second-level cache; into the first level it is slower.
template <class T>
struct Ahead {
  const T* base = nullptr;
  const int64_t* rows = nullptr;  // null: nothing to fetch

  [[gnu::always_inline]] const char* Row(int row) const {
    return reinterpret_cast<const char*>(base + rows[row]);
  }
  [[gnu::always_inline]] void Fetch(int row, int elements) const {
    if (rows != nullptr) {
      for (int byte = 0; byte < elements * static_cast<int>(sizeof(T)); byte += 64) {
        __builtin_prefetch(Row(row) + byte, 0, 1);
      }
    }
  }
};

// Rows to fetch, and as many that were fetched half a tile ago. Processors drop such fetches when
// too many are on their way, and where pages have 256 bytes to 2 KiB a head, prefetchers bring in
// lines that nobody reads. So decode asks for each row twice.
template <class T>
struct AheadTwice {
  Ahead<T> first;
  Ahead<T> again;

  // The same rows from element d on.
  AheadTwice From(int d) const {
    return {{first.base + d, first.rows}, {again.base + d, again.rows}};
  }
  [[gnu::always_inline]] void Fetch(int row, int elements) const {
    if (first.rows != nullptr) {
      const char* line = first.Row(row);
      const char* line_again = again.Row(row);
      for (int byte = 0; byte < elements * static_cast<int>(sizeof(T)); byte += 64) {
        __builtin_prefetch(line + byte, 0, 1);
        __builtin_prefetch(line_again + byte, 0, 1);
      }
    }
  }
};

// scores[i][j] = query i . key j for kQueries queries and the keys [begin, end), multiples of 16.
// Key j starts at keys + rows[j].
template <class V, int kQueries, class T>
[[gnu::noinline]] void ScoreKeys(const float* queries, int head_dim, const T* keys,
                                 const int64_t* rows, const AheadTwice<T>& ahead, int begin,
                                 int end, float* scores) {
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

// Queries and keys by columns: [queries or keys / kLanes, head_dim, kLanes], where element d comes
// at ColumnOf(d). Elements of one partial dot product follow each other, and partial dot products
// in the order in which the tree takes them: that of their numbers' reversed bits.
[[gnu::always_inline]] inline int ColumnOf(int d, int head_dim) {
  constexpr int kReversed[16] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
  return kReversed[d % kLanes] * (head_dim / kLanes) + d / kLanes;
}

// Keys [begin, end) of a tile, multiples of 16, by columns in fp32; key j times scales[j] unless
// scales is null.
template <class V, class T>
[[gnu::noinline]] void ExpandColumns(const T* keys, const int64_t* rows, const Ahead<T>& ahead,
                                     const float* scales, int begin, int end, int head_dim,
                                     float* columns) {
  for (int first = begin; first < end; first += kLanes) {
    for (int j = first; j < first + kLanes; ++j) {
      ahead.Fetch(j, head_dim);
    }
    for (int d = 0; d < head_dim; d += kLanes) {
      V block[kLanes];
      QUIRE_UNROLL
      for (int j = 0; j < kLanes; ++j) {
        block[j] = V::Load(keys + rows[first + j] + d);
      }
      if (scales != nullptr) {
        QUIRE_UNROLL
        for (int j = 0; j < kLanes; ++j) {
          block[j] = V::Mul(block[j], V::Broadcast(scales[first + j]));
        }
      }
      V::Transpose(block);
      QUIRE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        V::Store(columns + first * head_dim + ColumnOf(d + i, head_dim) * kLanes, block[i]);
      }
    }
  }
}

// sum[i] = one partial dot product of query i and 16 keys: `terms` products of neighbouring
// columns.
template <class V, int kQueries>
[[gnu::always_inline]] inline void DotColumns(const float* queries, const float* keys, int terms,
                                              V (&sum)[kQueries]) {
  QUIRE_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    sum[i] = V::Zero();
  }
  for (int term = 0; term < terms; ++term) {
    const V k = V::Load(keys + int64_t{term} * kLanes);
    QUIRE_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const V q = V::Broadcast(queries[int64_t{term} * kLanes + i]);
      sum[i] = V::Fma(q, k, sum[i]);
    }
  }
}

// scores[i][j] = query i . key j for kQueries queries and 16 keys, both by columns: the bits of
// ScoreKeys. A sum over two, four or eight partial dot products waits in memory for its sibling.
template <class V, int kQueries>
[[gnu::noinline]] void ScoreColumns(const float* queries, const float* keys, int head_dim,
                                    float* scores) {
  const int terms = head_dim / kLanes;
  const int64_t step = int64_t{terms} * kLanes;
  alignas(64) float waiting[3][kQueries][kLanes];
  for (int pair = 0; pair < kLanes / 2; ++pair) {
    V sum[kQueries];
    V odd[kQueries];
    DotColumns(queries, keys, terms, sum);
    DotColumns(queries + step, keys + step, terms, odd);
    QUIRE_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      sum[i] = V::Add(sum[i], odd[i]);
    }
    int level = 0;
    for (int bits = pair; bits % 2 != 0; bits /= 2, ++level) {
      QUIRE_UNROLL
      for (int i = 0; i < kQueries; ++i) {
        sum[i] = V::Add(V::Load(waiting[level][i]), sum[i]);
      }
    }
    float* to = level == 3 ? scores : waiting[level][0];
    const int stride = level == 3 ? kKeyTile : kLanes;
    QUIRE_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      V::Store(to + i * stride, sum[i]);
    }
    queries += 2 * step;
    keys += 2 * step;
  }
}

// The scores of a tile's keys, in base 2 and capped, -inf for those outside [begin, end); returns
// the largest of each lane.
template <class V>
[[gnu::always_inline]] inline V FinishScores(float soft_cap, TileKeys keys, float* scores) {
  V top = V::Broadcast(kMinusInfinity);
  QUIRE_UNROLL
  for (int i = 0; i < kKeyTile; i += kLanes) {
    const bool full = keys.begin <= i && keys.end >= i + kLanes;
    V s = V::Load(scores + i);
    if (soft_cap > 0.0f) {
      s = SoftCap(s, soft_cap);
    }
    if (!full) {
      s = V::KeepLanes(s, std::clamp(keys.begin - i, 0, kLanes),
                       std::clamp(keys.end - i, 0, kLanes), V::Broadcast(kMinusInfinity));
    }
    if (!full || soft_cap > 0.0f) {
      V::Store(scores + i, s);
    }
    top = V::Max(top, s);
  }
  return top;
}

// Scores of one query and a tile become weights relative to `max`; sum [kLanes] times factor takes
// them in.
template <class V>
[[gnu::always_inline]] inline void TakeWeights(float max, float factor, float* scores, float* sum) {
  V s[kKeyTile / kLanes];
  QUIRE_UNROLL
  for (int c = 0; c < kKeyTile / kLanes; ++c) {
    s[c] = Exp2(V::Sub(V::Load(scores + c * kLanes), V::Broadcast(max)));
    V::Store(scores + c * kLanes, s[c]);
  }
  const V added = V::Add(V::Add(s[0], s[1]), V::Add(s[2], s[3]));
  V::Store(sum, V::Fma(V::Load(sum), V::Broadcast(factor), added));
}

// One softmax step of one query over the keys `keys` of a tile: scores [kKeyTile] become weights
// relative to the new largest score; *max and sum [kLanes] move on. Returns the factor that earlier
// sums must take.
template <class V>
[[gnu::always_inline]] inline float SoftmaxStep(float soft_cap, TileKeys keys, float* scores,
                                                float* max, float* sum) {
  const float old = *max;
  *max = std::max(old, V::LargestLane(FinishScores<V>(soft_cap, keys, scores)));
  const float factor = old == *max ? 1.0f : Exp2Of<V>(old - *max);
  TakeWeights<V>(*max, factor, scores, sum);
  return factor;
}

// SoftmaxStep of up to kLanes queries, of which query i sees keys[i], with their factors found
// together: slow for few. scores [queries, kKeyTile], factors [kLanes].
template <class V>
[[gnu::noinline]] void SoftmaxSteps(float soft_cap, int queries, const TileKeys* keys,
                                    float* scores, float* max, float* sum, float* factors) {
  alignas(64) float largest[kLanes] = {};
  alignas(64) float old_max[kLanes] = {};
  for (int i = 0; i < queries; ++i) {
    largest[i] = V::LargestLane(FinishScores<V>(soft_cap, keys[i], scores + i * kKeyTile));
    old_max[i] = max[i];
  }
  // The other operand of Max and Min where one is a NaN: the score is one, or both are -inf.
  const V old = V::Load(old_max);
  const V now = V::Max(V::Load(largest), old);
  V::Store(largest, now);
  V::Store(factors, Exp2(V::Min(V::Sub(old, now), V::Zero())));
  std::copy_n(largest, queries, max);
  for (int i = 0; i < queries; ++i) {
    TakeWeights<V>(largest[i], factors[i], scores + i * kKeyTile, sum + i * kLanes);
  }
}

// acc[i][0 .. 16 kVectors) = acc[i] * factors[i] + sum over j in [begin, end) of weights[i][j] *
// value j.
template <class V, int kQueries, int kVectors, class T>
[[gnu::noinline]] void AddColumns(const float* weights, const float* factors, const T* values,
                                  const int64_t* rows, const AheadTwice<T>& ahead, int begin,
                                  int end, float* acc, int head_dim) {
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
                      const int64_t* rows, const AheadTwice<T>& ahead, int begin, int end,
                      float* acc, int head_dim) {
  constexpr int kVectors = V::kRegisters >= 32 ? 4 : 1;
  int d = 0;
  for (; d + kVectors * kLanes <= head_dim; d += kVectors * kLanes) {
    AddColumns<V, kQueries, kVectors>(weights, factors, values + d, rows, ahead.From(d), begin, end,
                                      acc + d, head_dim);
  }
  for (; d < head_dim; d += kLanes) {
    AddColumns<V, kQueries, 1>(weights, factors, values + d, rows, ahead.From(d), begin, end,
                               acc + d, head_dim);
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
