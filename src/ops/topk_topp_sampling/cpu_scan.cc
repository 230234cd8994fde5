#include "ops/topk_topp_sampling/cpu_scan.h"

#include <bit>
#include <limits>

#include "ops/lanes.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr int kHalfBits = kWeightBits / 2;
constexpr float kHalfOne = 0x1p20f;
// Lanes of 32 bits add up this many weights below 2^20 + 1 without overflow, even four at a time.
constexpr int64_t kBlocksPerSum = 4096 / kBlock;

template <int kLanes>
[[gnu::always_inline]] inline bool BlockMax(const float* logits, int64_t vocabulary,
                                            float* block_max) {
  using Float = typename Lanes<kLanes>::Float;
  typename Lanes<kLanes>::Int unordered = {};
  Float v;
  bool has_nan = false;
  for (int64_t start = 0; start < vocabulary; start += kBlock) {
    const int64_t end = std::min(start + kBlock, vocabulary);
    Float largest = Float{} - std::numeric_limits<float>::infinity();
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      Load(logits + i, v);
      largest = v > largest ? v : largest;
      unordered |= v != v;
    }
    float max = MaxLane<kLanes>(largest);
    for (; i < end; ++i) {
      max = logits[i] > max ? logits[i] : max;
      has_nan |= logits[i] != logits[i];
    }
    *block_max++ = max;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    has_nan |= unordered[lane] != 0;
  }
  return has_nan;
}

// The two halves of WeightOf() in 20-bit integers: the product with 2^40 itself fits no 32-bit
// lane.
template <int kLanes>
[[gnu::always_inline]] inline void Weights(const typename Lanes<kLanes>::Float& logits, float max,
                                           float temperature, typename Lanes<kLanes>::Uint& high,
                                           typename Lanes<kLanes>::Uint& low) {
  using Float = typename Lanes<kLanes>::Float;
  using Int = typename Lanes<kLanes>::Int;
  using Uint = typename Lanes<kLanes>::Uint;
  Float exponent = logits - max;
  if (temperature != 1.0f) {
    exponent = exponent / temperature;
  }
  Float power;
  Exp<kLanes>(exponent, power);
  power = power * kHalfOne;
  const Int whole = __builtin_convertvector(power, Int);
  const Float rest = (power - __builtin_convertvector(whole, Float)) * kHalfOne;
  high = __builtin_convertvector(whole, Uint);
  low = __builtin_convertvector(__builtin_convertvector(rest, Int), Uint);
}

template <typename Uint>
[[gnu::always_inline]] inline uint64_t Fold(const Uint& high, const Uint& low, int lanes) {
  uint64_t sum = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    sum += (static_cast<uint64_t>(high[lane]) << kHalfBits) + low[lane];
  }
  return sum;
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t WeightSum(const float* logits, int64_t vocabulary,
                                                 const float* block_max, float max,
                                                 float temperature) {
  using Uint = typename Lanes<kLanes>::Uint;
  typename Lanes<kLanes>::Float v;
  Uint high;
  Uint low;
  uint64_t total = 0;
  const int64_t blocks = BlocksOf(vocabulary);
  for (int64_t first = 0; first < blocks; first += kBlocksPerSum) {
    Uint high_sum = {};
    Uint low_sum = {};
    for (int64_t block = first; block < std::min(first + kBlocksPerSum, blocks); ++block) {
      if ((block_max[block] - max) / temperature <= kWeightlessExponent) {
        continue;
      }
      int64_t i = block * kBlock;
      const int64_t end = std::min(i + kBlock, vocabulary);
      for (; i + kLanes <= end; i += kLanes) {
        Load(logits + i, v);
        Weights<kLanes>(v, max, temperature, high, low);
        high_sum += high;
        low_sum += low;
      }
      for (; i < end; ++i) {
        total += WeightOf(logits[i], max, temperature);
      }
    }
    total += Fold(high_sum, low_sum, kLanes);
  }
  return total;
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t Weigh(Candidate* candidates, int64_t count, float max,
                                             float temperature) {
  typename Lanes<kLanes>::Float v = typename Lanes<kLanes>::Float{} + max;
  typename Lanes<kLanes>::Uint high;
  typename Lanes<kLanes>::Uint low;
  uint64_t total = 0;
  for (int64_t start = 0; start < count; start += kLanes) {
    const auto part = static_cast<int>(std::min<int64_t>(count - start, kLanes));
    for (int lane = 0; lane < part; ++lane) {
      v[lane] = LogitOf(candidates[start + lane].key);
    }
    Weights<kLanes>(v, max, temperature, high, low);
    for (int lane = 0; lane < part; ++lane) {
      const uint64_t weight = (static_cast<uint64_t>(high[lane]) << kHalfBits) + low[lane];
      candidates[start + lane].weight = weight;
      total += weight;
    }
  }
  return total;
}

// Appends the tokens begin + i of the set bits i of `hits`.
[[gnu::always_inline]] inline Candidate* Append(const float* logits, int64_t begin, uint32_t hits,
                                                Candidate* end) {
  for (; hits != 0; hits &= hits - 1) {
    const int64_t token = begin + std::countr_zero(hits);
    (end++)->key = KeyOf(logits[token], static_cast<int32_t>(token));
  }
  return end;
}

[[gnu::always_inline]] inline Candidate* GatherRange(const float* logits, int64_t begin,
                                                     int64_t end, float threshold,
                                                     Candidate* last) {
  for (int64_t i = begin; i < end; ++i) {
    last = Append(logits, i, logits[i] >= threshold ? 1 : 0, last);
  }
  return last;
}

int64_t GatherBaseline(const float* logits, int64_t vocabulary, const float* block_max,
                       float threshold, Candidate* candidates) {
  Candidate* last = candidates;
  for (int64_t begin = 0; begin < vocabulary; begin += kBlock) {
    if (*block_max++ >= threshold) {
      last = GatherRange(logits, begin, std::min(begin + kBlock, vocabulary), threshold, last);
    }
  }
  return last - candidates;
}

constexpr RowScan kBaselineScan = {BlockMax<kBaselineLanes>, WeightSum<kBaselineLanes>,
                                   GatherBaseline, Weigh<kBaselineLanes>};

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
bool BlockMaxAvx2(const float* logits, int64_t vocabulary, float* block_max) {
  return BlockMax<kAvx2Lanes>(logits, vocabulary, block_max);
}
uint64_t WeightSumAvx2(const float* logits, int64_t vocabulary, const float* block_max, float max,
                       float temperature) {
  return WeightSum<kAvx2Lanes>(logits, vocabulary, block_max, max, temperature);
}
int64_t GatherAvx2(const float* logits, int64_t vocabulary, const float* block_max, float threshold,
                   Candidate* candidates) {
  const auto least = _mm256_set1_ps(threshold);
  Candidate* last = candidates;
  for (int64_t begin = 0; begin < vocabulary; begin += kBlock) {
    if (*block_max++ < threshold) {
      continue;
    }
    const int64_t end = std::min(begin + kBlock, vocabulary);
    int64_t i = begin;
    for (; i + kAvx2Lanes <= end; i += kAvx2Lanes) {
      const uint32_t hits = static_cast<uint32_t>(
          _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(logits + i), least, _CMP_GE_OQ)));
      last = Append(logits, i, hits, last);
    }
    last = GatherRange(logits, i, end, threshold, last);
  }
  return last - candidates;
}
uint64_t WeighAvx2(Candidate* candidates, int64_t count, float max, float temperature) {
  return Weigh<kAvx2Lanes>(candidates, count, max, temperature);
}
QUIRE_END_TARGET
constexpr RowScan kAvx2Scan = {BlockMaxAvx2, WeightSumAvx2, GatherAvx2, WeighAvx2};

QUIRE_BEGIN_AVX512
bool BlockMaxAvx512(const float* logits, int64_t vocabulary, float* block_max) {
  return BlockMax<kAvx512Lanes>(logits, vocabulary, block_max);
}
uint64_t WeightSumAvx512(const float* logits, int64_t vocabulary, const float* block_max, float max,
                         float temperature) {
  return WeightSum<kAvx512Lanes>(logits, vocabulary, block_max, max, temperature);
}
int64_t GatherAvx512(const float* logits, int64_t vocabulary, const float* block_max,
                     float threshold, Candidate* candidates) {
  const auto least = _mm512_set1_ps(threshold);
  Candidate* last = candidates;
  for (int64_t begin = 0; begin < vocabulary; begin += kBlock) {
    if (*block_max++ < threshold) {
      continue;
    }
    const int64_t end = std::min(begin + kBlock, vocabulary);
    int64_t i = begin;
    for (; i + kAvx512Lanes <= end; i += kAvx512Lanes) {
      const uint32_t hits = _mm512_cmp_ps_mask(_mm512_loadu_ps(logits + i), least, _CMP_GE_OQ);
      last = Append(logits, i, hits, last);
    }
    last = GatherRange(logits, i, end, threshold, last);
  }
  return last - candidates;
}
uint64_t WeighAvx512(Candidate* candidates, int64_t count, float max, float temperature) {
  return Weigh<kAvx512Lanes>(candidates, count, max, temperature);
}
QUIRE_END_TARGET
constexpr RowScan kAvx512Scan = {BlockMaxAvx512, WeightSumAvx512, GatherAvx512, WeighAvx512};
#else
constexpr RowScan kAvx2Scan = kBaselineScan;
constexpr RowScan kAvx512Scan = kBaselineScan;
#endif

}  // namespace

const RowScan& RowScanOf(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx512: return kAvx512Scan;
    case CpuIsa::kAvx2: return kAvx2Scan;
    case CpuIsa::kBaseline: break;
  }
  return kBaselineScan;
}

}  // namespace quire::ops::topk_topp_sampling
