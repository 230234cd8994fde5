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

// Calls body(block) for the blocks of a group that may hold a token with weight.
template <typename Body>
[[gnu::always_inline]] inline void ForWeightyBlocks(const Row& row, int64_t group,
                                                    const Body& body) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr int64_t kBlocks = kGroup / kBlock;
  const int64_t end = std::min((group + 1) * kBlocks, BlocksOf(row.vocabulary));
  for (int64_t block = group * kBlocks; block < end; ++block) {
    if ((row.block_max[block] - row.max) * row.scale > kWeightlessExponent * kLog2E) {
      body(block);
    }
  }
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t GroupWeight(const Row& row, int64_t group) {
  PartSums<kLanes> sums;
  uint64_t tail = 0;
  ForWeightyBlocks(row, group, [&](int64_t block) __attribute__((always_inline)) {
    typename Lanes<kLanes>::Float v;
    typename Lanes<kLanes>::Int high;
    typename Lanes<kLanes>::Int low;
    int64_t i = block * kBlock;
    const int64_t end = std::min(i + kBlock, row.vocabulary);
    for (; i + kLanes <= end; i += kLanes) {
      __builtin_prefetch(row.next + i);
      Load(row.logits + i, v);
      WeightParts<kLanes>(v, row.max, row.scale, high, low);
      sums.high += high;
      sums.low += low;
    }
    for (; i < end; ++i) {
      tail += WeightOf(row.logits[i], row.max, row.scale);
    }
  });
  return tail + Fold<kLanes>(sums);
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t GroupWeights(const Row& row, uint64_t* group_weights) {
  uint64_t total = 0;
  for (int64_t group = 0; group < GroupsOf(row.vocabulary); ++group) {
    group_weights[group] = GroupWeight<kLanes>(row, group);
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
    WeightParts<kLanes>(v, row.max, row.scale, parts.high, parts.low);
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
[[gnu::always_inline]] inline uint64_t GroupWeightsAbove(const Row& row, int64_t group,
                                                         const float* cuts, uint64_t* above) {
  PartSums<kLanes> sums;
  PartSums<kLanes> cut_sums[kCuts];
  uint64_t tail = 0;
  ForWeightyBlocks(row, group, [&](int64_t block) __attribute__((always_inline)) {
    typename Lanes<kLanes>::Float v;
    typename Lanes<kLanes>::Int high;
    typename Lanes<kLanes>::Int low;
    int64_t i = block * kBlock;
    const int64_t end = std::min(i + kBlock, row.vocabulary);
    for (; i + kLanes <= end; i += kLanes) {
      __builtin_prefetch(row.next + i);
      Load(row.logits + i, v);
      WeightParts<kLanes>(v, row.max, row.scale, high, low);
      sums.high += high;
      sums.low += low;
      for (int cut = 0; cut < kCuts; ++cut) {
        PartSums<kLanes>& part = cut_sums[cut];
        part.high = v >= cuts[cut] ? part.high + high : part.high;
        part.low = v >= cuts[cut] ? part.low + low : part.low;
      }
    }
    for (; i < end; ++i) {
      const uint64_t weight = WeightOf(row.logits[i], row.max, row.scale);
      tail += weight;
      for (int cut = 0; cut < kCuts; ++cut) {
        above[cut] += row.logits[i] >= cuts[cut] ? weight : 0;
      }
    }
  });
  for (int cut = 0; cut < kCuts; ++cut) {
    above[cut] += Fold<kLanes>(cut_sums[cut]);
  }
  return tail + Fold<kLanes>(sums);
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t WeightsAbove(const Row& row, const float* cuts,
                                                    uint64_t* above) {
  uint64_t total = 0;
  std::fill_n(above, kCuts, 0);
  for (int64_t group = 0; group < GroupsOf(row.vocabulary); ++group) {
    total += GroupWeightsAbove<kLanes>(row, group, cuts, above);
  }
  return total;
}

template <int kLanes>
[[gnu::always_inline]] inline uint64_t Weigh(const Row& row, Gathered& gathered) {
  typename Lanes<kLanes>::Float v = {};
  typename Lanes<kLanes>::Int high;
  typename Lanes<kLanes>::Int low;
  uint64_t total = 0;
  for (int64_t start = 0; start < gathered.count; start += kLanes) {
    const int64_t part = std::min<int64_t>(gathered.count - start, kLanes);
    if (part == kLanes) {
      Load(gathered.logits + start, v);
    } else {
      LoadPart(gathered.logits + start, part, v);
    }
    WeightParts<kLanes>(v, row.max, row.scale, high, low);
    for (int64_t lane = 0; lane < part; ++lane) {
      const uint64_t weight = JoinParts(high[lane], low[lane]);
      gathered.weights[start + lane] = weight;
      total += weight;
    }
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

// Calls `append` for the blocks that may hold a logit of at least `least`.
template <typename Append>
int32_t* AppendBlocks(const Row& row, float least, const LogitRange* ranges, int32_t* tokens,
                      const Append& append) {
  for (int64_t block = 0; block < BlocksOf(row.vocabulary); ++block) {
    if (row.block_max[block] >= least) {
      const int64_t begin = block * kBlock;
      tokens = append(row.logits, begin, std::min(begin + kBlock, row.vocabulary), ranges, tokens);
    }
  }
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
  uint64_t WeightsAbove##Isa(const Row& row, const float* cuts, uint64_t* above) {                 \
    return WeightsAbove<kLanes>(row, cuts, above);                                                 \
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
  for (; i + kAvx2Lanes <= end; i += kAvx2Lanes) {
    const __m256 v = _mm256_loadu_ps(logits + i);
    __m256 in = InRange(v, first);
    if constexpr (kRanges == 2) {
      in = _mm256_or_ps(in, InRange(v, last));
    }
    for (auto hits = static_cast<uint32_t>(_mm256_movemask_ps(in)); hits != 0; hits &= hits - 1) {
      *tokens++ = static_cast<int32_t>(i + std::countr_zero(hits));
    }
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
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const LogitRange first = ranges[0];  // locals, which no store can change
  const LogitRange last = ranges[kRanges - 1];
  int64_t i = begin;
  for (; i + kAvx512Lanes <= end; i += kAvx512Lanes) {
    const __m512 v = _mm512_loadu_ps(logits + i);
    __mmask16 hits = InRange(v, first);
    if constexpr (kRanges == 2) {
      hits |= InRange(v, last);
    }
    // Compressed in a register and stored whole: faster than a compressing store.
    const __m512i found = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(i)), lanes);
    _mm512_storeu_si512(tokens, _mm512_maskz_compress_epi32(hits, found));
    tokens += std::popcount(static_cast<uint32_t>(hits));
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
