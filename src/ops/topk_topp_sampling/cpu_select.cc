#include "ops/topk_topp_sampling/cpu_select.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/check.h"
#include "ops/topk_topp_sampling/distribution.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr int kBinBits = 9;
constexpr int kBins = 1 << kBinBits;
constexpr int64_t kSortAtMost = 48;  // tokens that are sooner sorted than divided further

using Histogram = std::array<uint64_t, kBins>;

// The first bin at which the sum reaches `wanted`, from which the bins before are taken.
int BinOf(const Histogram& histogram, uint64_t& wanted, uint64_t& before) {
  for (int bin = 0; bin < kBins; ++bin) {
    if (histogram[bin] >= wanted) {
      return bin;
    }
    wanted -= histogram[bin];
    before += histogram[bin];
  }
  QUIRE_CHECK(false) << wanted << " more weight wanted than there is";
  return 0;
}

Border SelectSorted(Entry* begin, Entry* end, uint64_t wanted, uint64_t before) {
  std::sort(begin, end, [](const Entry& a, const Entry& b) { return a.key < b.key; });
  for (; begin != end; ++begin) {
    before += begin->weight;
    if (begin->weight >= wanted) {
      return {begin->key, before};
    }
    wanted -= begin->weight;
  }
  QUIRE_CHECK(false) << wanted << " more weight wanted than there is";
  return {0, before};
}

// Divides by the top bits in which the keys differ. Keys are distinct, so every round divides.
Border SelectByKeys(Entry* entries, int64_t count, uint64_t wanted, uint64_t before) {
  Entry* begin = entries;
  Entry* end = entries + count;
  while (end - begin > kSortAtMost) {
    const auto [least, most] = std::minmax_element(
        begin, end, [](const Entry& a, const Entry& b) { return a.key < b.key; });
    const uint64_t first = least->key;
    const int shift = std::max(0, static_cast<int>(std::bit_width(most->key - first)) - kBinBits);
    Histogram histogram = {};
    for (const Entry* entry = begin; entry != end; ++entry) {
      histogram[(entry->key - first) >> shift] += entry->weight;
    }
    const auto bin = static_cast<uint64_t>(BinOf(histogram, wanted, before));
    end = std::remove_if(begin, end,
                         [&](const Entry& entry) { return (entry.key - first) >> shift != bin; });
  }
  return SelectSorted(begin, end, wanted, before);
}

// The bin of a logit: bins of equal widths from high to low, none out of order. What the division
// cannot place (an infinite distance) is last.
struct LogitBins {
  explicit LogitBins(const Gathered& gathered)
      : high(gathered.high),
        bins_per_unit(static_cast<float>(kBins) / (gathered.high - gathered.low)) {}
  int Bin(float logit) const {
    const float place = (high - logit) * bins_per_unit;
    return place < static_cast<float>(kBins - 1) ? static_cast<int>(place) : kBins - 1;
  }
  float high;
  float bins_per_unit;
};

template <typename WeightAt>
Border Select(const Gathered& gathered, uint64_t wanted, Entry* entries,
              const WeightAt& weight_at) {
  const LogitBins bins(gathered);
  uint64_t before = 0;
  int chosen = -1;
  if (gathered.count > kSortAtMost) {
    Histogram histogram = {};
    for (int64_t i = 0; i < gathered.count; ++i) {
      histogram[bins.Bin(gathered.logits[i])] += weight_at(i);
    }
    chosen = BinOf(histogram, wanted, before);
  }
  int64_t count = 0;
  for (int64_t i = 0; i < gathered.count; ++i) {
    if (chosen < 0 || bins.Bin(gathered.logits[i]) == chosen) {
      entries[count++] = {KeyOf(gathered.logits[i], gathered.tokens[i]), weight_at(i)};
    }
  }
  return SelectByKeys(entries, count, wanted, before);
}

}  // namespace

Border SelectByWeight(const Gathered& gathered, uint64_t wanted, Entry* scratch) {
  return Select(gathered, wanted, scratch, [&](int64_t i) { return gathered.weights[i]; });
}

Border SelectByCount(const Gathered& gathered, int64_t wanted, Entry* scratch) {
  return Select(gathered, static_cast<uint64_t>(wanted), scratch,
                [](int64_t) { return uint64_t{1}; });
}

void KeepUpTo(uint64_t key, Gathered& gathered) {
  int64_t kept = 0;
  for (int64_t i = 0; i < gathered.count; ++i) {
    gathered.logits[kept] = gathered.logits[i];
    gathered.tokens[kept] = gathered.tokens[i];
    gathered.weights[kept] = gathered.weights[i];
    kept += KeyOf(gathered.logits[i], gathered.tokens[i]) <= key ? 1 : 0;
  }
  gathered.count = kept;
}

}  // namespace quire::ops::topk_topp_sampling
