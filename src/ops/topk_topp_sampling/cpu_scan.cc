#include "ops/topk_topp_sampling/cpu_scan.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "ops/lanes.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::topk_topp_sampling {

namespace {

// Sums of WeightParts(). A lane of 32 bits holds those of a group: kGroup / kBaselineLanes parts of
// at most 2^20.
template <int kLanes>
struct PartSums {
  typename Lanes<kLanes>::Int high = {};
  typename Lanes<kLanes>::Int low = {};
};
static_assert(kGroup / kBaselineLanes < (1 << (31 - kHalfBits)));

template <int kLanes>
[[gnu::always_inline]] inline uint64_t Fold(const PartSums<kLanes>& sums) {
  int64_t high = 0;
  int64_t low = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    high += sums.high[lane];
    low += sums.low[lane];
  }
  return JoinParts(high, low);
}

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

// Calls body(begin, end) for the tokens of every run of blocks of [block, end_block) that have what
// is wanted.
template <typename Wanted, typename Body>
[[gnu::always_inline]] inline void ForRuns(const Row& row, int64_t block, int64_t end_block,
                                           const Wanted& wanted, const Body& body) {
  for (; block < end_block; ++block) {
    const int64_t first = block;
    while (block < end_block && wanted(block)) {
      ++block;
    }
    if (block > first) {
      body(first * kBlock, std::min(block * kBlock, row.vocabulary));
    }
  }
}

// Adds the weight of the tokens of the first blocks of a group with logits >= cuts[i] to above[i];
// returns that of all.
template <int kLanes, int kCutCount>
[[gnu::always_inline]] inline uint64_t GroupWeight(const Row& row, int64_t group, int64_t blocks,
                                                   const float* cuts, uint64_t* above) {
  constexpr int kVectors = kLanes == kAvx512Lanes ? 4 : 1;  // as many as there are registers for
  PartSums<kLanes> sums;
  PartSums<kLanes> cut_sums[kCutCount + 1];
  uint64_t tail = 0;
  const auto add = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
    typename Lanes<kLanes>::Float v[kVectors];
    typename Lanes<kLanes>::Int high[kVectors];
    typename Lanes<kLanes>::Int low[kVectors];
    int64_t i = begin;
    for (; i + kVectors * kLanes <= end; i += kVectors * kLanes) {
      for (int k = 0; k < kVectors; ++k) {
        __builtin_prefetch(row.next + i + k * kLanes);
        Load(row.logits + i + k * kLanes, v[k]);
      }
      WeightParts<kLanes, kVectors>(v, row.max, row.scale, high, low);
      for (int k = 0; k < kVectors; ++k) {
        sums.high += high[k];
        sums.low += low[k];
        for (int cut = 0; cut < kCutCount; ++cut) {
          PartSums<kLanes>& part = cut_sums[cut];
          part.high = v[k] >= cuts[cut] ? part.high + high[k] : part.high;
          part.low = v[k] >= cuts[cut] ? part.low + low[k] : part.low;
        }
      }
    }
    for (; i < end; ++i) {
      const uint64_t weight = WeightOf(row.logits[i], row.max, row.scale);
      tail += weight;
      for (int cut = 0; cut < kCutCount; ++cut) {
        above[cut] += row.logits[i] >= cuts[cut] ? weight : 0;
      }
    }
  };
  constexpr float kLog2E = 0x1.715476p+0f;
  const auto is_weighty = [&](int64_t block) __attribute__((always_inline)) {
    return (row.block_max[block] - row.max) * row.scale > kWeightlessExponent * kLog2E;
  };
  const int64_t block = group * kGroupBlocks;
  ForRuns(row, block, std::min(block + blocks, BlocksOf(row.vocabulary)), is_weighty, add);
  for (int cut = 0; cut < kCutCount; ++cut) {
    above[cut] += Fold<kLanes>(cut_sums[cut]);
  }
  return tail + Fold<kLanes>(sums);
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t GroupWeights(const Row& row, uint64_t* group_weights) {
  uint64_t total = 0;
  for (int64_t group = 0; group < GroupsOf(row.vocabulary); ++group) {
    group_weights[group] = GroupWeight<kLanes, 0>(row, group, kGroupBlocks, nullptr, nullptr);
    total += group_weights[group];
  }
  return total;
}

template <int kLanes>
[[gnu::always_inline]] inline int64_t FindWeight(const Row& row, int64_t begin, uint64_t wanted) {
  typename Lanes<kLanes>::Float v;
  PartSums<kLanes> parts;
  uint64_t sum = 0;
  int64_t i = begin;
  for (; i + kLanes <= row.vocabulary; i += kLanes) {
    Load(row.logits + i, v);
    WeightParts<kLanes, 1>(&v, row.max, row.scale, &parts.high, &parts.low);
    const uint64_t weight = Fold<kLanes>(parts);
    if (sum + weight >= wanted) {
      break;
    }
    sum += weight;
  }
  for (; i < row.vocabulary; ++i) {
    sum += WeightOf(row.logits[i], row.max, row.scale);
    if (sum >= wanted) {
      break;
    }
  }
  return i;
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t WeightsAbove(const Row& row, int64_t blocks,
                                                    const float* cuts, uint64_t* above) {
  uint64_t total = 0;
  std::fill_n(above, kCuts, 0);
  for (int64_t group = 0; group < GroupsOf(row.vocabulary); ++group) {
    total += GroupWeight<kLanes, kCuts>(row, group, blocks, cuts, above);
  }
  return total;
}

template <int kLanes>
struct WideLanes {
  typedef int64_t Int __attribute__((vector_size(kLanes * sizeof(int64_t))));
};

template <int kLanes>
[[gnu::always_inline]] inline uint64_t Weigh(const Row& row, Gathered& gathered) {
  constexpr int kHalf = kLanes / 2;  // as many weights are a vector
  using Parts = typename Lanes<kHalf>::Int;
  using Weights = typename WideLanes<kHalf>::Int;
  typename Lanes<kLanes>::Float v;
  typename Lanes<kLanes>::Int high;
  typename Lanes<kLanes>::Int low;
  Weights sums = {};
  int64_t i = 0;
  for (; i + kLanes <= gathered.count; i += kLanes) {
    Load(gathered.logits + i, v);
    WeightParts<kLanes, 1>(&v, row.max, row.scale, &high, &low);
    for (int half = 0; half < 2; ++half) {
      Parts high_half;
      Parts low_half;
      std::memcpy(&high_half, reinterpret_cast<const Parts*>(&high) + half, sizeof(Parts));
      std::memcpy(&low_half, reinterpret_cast<const Parts*>(&low) + half, sizeof(Parts));
      const Weights weights = (__builtin_convertvector(high_half, Weights) << kHalfBits) +
                              __builtin_convertvector(low_half, Weights);
      std::memcpy(gathered.weights + i + half * kHalf, &weights, sizeof(weights));
      sums += weights;
    }
  }
  uint64_t total = 0;
  for (int lane = 0; lane < kHalf; ++lane) {
    total += static_cast<uint64_t>(sums[lane]);
  }
  for (; i < gathered.count; ++i) {
    gathered.weights[i] = WeightOf(gathered.logits[i], row.max, row.scale);
    total += gathered.weights[i];
  }
  return total;
}

// Appends the tokens of [begin, end) that are in one of kRanges ranges to `tokens`, without a
// branch that depends on the logit; returns the new end, after which a vector may be overwritten.
template <int kRanges>
int32_t* AppendHits(const float* logits, int64_t begin, int64_t end, const LogitRange* ranges,
                    int32_t* tokens) {
  for (int64_t i = begin; i < end; ++i) {
    int hit = ranges[0].Has(logits[i]);
    if constexpr (kRanges == 2) {
      hit |= ranges[1].Has(logits[i]);
    }
    *tokens = static_cast<int32_t>(i);
    tokens += hit;
  }
  return tokens;
}

// Tokens whose hits are collected, as bits, before they are appended.
constexpr int kHitBits = 64;

// Appends begin + bit for the bits of `hits`: some at once whether there are as many or not, since
// a branch on their number could not be predicted.
[[gnu::always_inline]] inline int32_t* AppendBits(uint64_t hits, int64_t begin, int32_t* tokens) {
  constexpr int kAtOnce = 3;
  constexpr uint64_t kLast = uint64_t{1} << (kHitBits - 1);  // is found where there is no bit left
  int32_t* const end = tokens + std::popcount(hits);
  do {
    for (int i = 0; i < kAtOnce; ++i) {
      *tokens++ = static_cast<int32_t>(begin + std::countr_zero(hits | kLast));
      hits &= hits - 1;
    }
  } while (tokens < end);
  return end;
}

// Calls `append` for every run of blocks that may hold a logit of at least `least`.
template <typename Append>
int32_t* AppendBlocks(const Row& row, float least, const LogitRange* ranges, int32_t* tokens,
                      const Append& append) {
  const auto has_hits = [&](int64_t block) { return row.block_max[block] >= least; };
  ForRuns(row, 0, BlocksOf(row.vocabulary), has_hits, [&](int64_t begin, int64_t end) {
    tokens = append(row.logits, begin, end, ranges, tokens);
  });
  return tokens;
}

// kAppend is AppendHits<1>() for an instruction set.
template <auto kAppend>
void Gather(const Row& row, const LogitRange& range, Gathered& gathered) {
  gathered.count =
      AppendBlocks(row, range.least, &range, gathered.tokens, kAppend) - gathered.tokens;
  gathered.low = range.least;
  gathered.high = std::min(range.limit, row.max);
  for (int64_t i = 0; i < gathered.count; ++i) {
    gathered.logits[i] = row.logits[gathered.tokens[i]];
  }
}

// kAppend is AppendHits<2>() for an instruction set.
template <auto kAppend>
int64_t FindInRanges(const Row& row, const LogitRange* ranges, int32_t* tokens) {
  const float least = std::min(ranges[0].least, ranges[1].least);
  return AppendBlocks(row, least, ranges, tokens, kAppend) - tokens;
}

// The functions of one instruction set; in its region, so that they are compiled for it.
#define QUIRE_ROW_SCAN(Isa, kLanes, Append)                                                        \
  bool BlockMax##Isa(const float* logits, int64_t vocabulary, float* block_max) {                  \
    return BlockMax<kLanes>(logits, vocabulary, block_max);                                        \
  }                                                                                                \
  uint64_t GroupWeights##Isa(const Row& row, uint64_t* group_weights) {                            \
    return GroupWeights<kLanes>(row, group_weights);                                               \
  }                                                                                                \
  int64_t FindWeight##Isa(const Row& row, int64_t begin, uint64_t wanted) {                        \
    return FindWeight<kLanes>(row, begin, wanted);                                                 \
  }                                                                                                \
  uint64_t WeightsAbove##Isa(const Row& row, int64_t blocks, const float* cuts, uint64_t* above) { \
    return WeightsAbove<kLanes>(row, blocks, cuts, above);                                         \
  }                                                                                                \
  uint64_t Weigh##Isa(const Row& row, Gathered& gathered) {                                        \
    return Weigh<kLanes>(row, gathered);                                                           \
  }                                                                                                \
  constexpr RowScan k##Isa##Scan = {BlockMax##Isa,     GroupWeights##Isa, FindWeight##Isa,         \
                                    WeightsAbove##Isa, Gather<Append<1>>, FindInRanges<Append<2>>, \
                                    Weigh##Isa};

QUIRE_ROW_SCAN(Baseline, kBaselineLanes, AppendHits)

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
__m256 InRange(const __m256& v, const LogitRange& range) {
  return _mm256_and_ps(_mm256_cmp_ps(v, _mm256_set1_ps(range.least), _CMP_GE_OQ),
                       _mm256_cmp_ps(v, _mm256_set1_ps(range.limit), _CMP_LT_OQ));
}
template <int kRanges>
int32_t* AppendHitsAvx2(const float* logits, int64_t begin, int64_t end, const LogitRange* ranges,
                        int32_t* tokens) {
  const LogitRange first = ranges[0];  // locals, which no store can change
  const LogitRange last = ranges[kRanges - 1];
  int64_t i = begin;
  for (; i + kHitBits <= end; i += kHitBits) {
    uint64_t hits = 0;
    for (int bit = 0; bit < kHitBits; bit += kAvx2Lanes) {
      const __m256 v = _mm256_loadu_ps(logits + i + bit);
      __m256 in = InRange(v, first);
      if constexpr (kRanges == 2) {
        in = _mm256_or_ps(in, InRange(v, last));
      }
      hits |= static_cast<uint64_t>(_mm256_movemask_ps(in)) << bit;
    }
    tokens = AppendBits(hits, i, tokens);
  }
  return AppendHits<kRanges>(logits, i, end, ranges, tokens);
}
QUIRE_ROW_SCAN(Avx2, kAvx2Lanes, AppendHitsAvx2)
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
__mmask16 InRange(const __m512& v, const LogitRange& range) {
  const __mmask16 reached = _mm512_cmp_ps_mask(v, _mm512_set1_ps(range.least), _CMP_GE_OQ);
  return _mm512_mask_cmp_ps_mask(reached, v, _mm512_set1_ps(range.limit), _CMP_LT_OQ);
}
template <int kRanges>
int32_t* AppendHitsAvx512(const float* logits, int64_t begin, int64_t end, const LogitRange* ranges,
                          int32_t* tokens) {
  const LogitRange first = ranges[0];  // locals, which no store can change
  const LogitRange last = ranges[kRanges - 1];
  int64_t i = begin;
  for (; i + kHitBits <= end; i += kHitBits) {
    uint64_t hits = 0;
    for (int bit = 0; bit < kHitBits; bit += kAvx512Lanes) {
      const __m512 v = _mm512_loadu_ps(logits + i + bit);
      __mmask16 in = InRange(v, first);
      if constexpr (kRanges == 2) {
        in = _kor_mask16(in, InRange(v, last));
      }
      hits |= static_cast<uint64_t>(in) << bit;
    }
    tokens = AppendBits(hits, i, tokens);
  }
  return AppendHits<kRanges>(logits, i, end, ranges, tokens);
}
QUIRE_ROW_SCAN(Avx512, kAvx512Lanes, AppendHitsAvx512)
QUIRE_END_TARGET
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
