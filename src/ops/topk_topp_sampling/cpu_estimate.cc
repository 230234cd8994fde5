#include "ops/topk_topp_sampling/cpu_estimate.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "ops/topk_topp_sampling/distribution.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr float kEnoughSamples = 256;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kChunk = 4;  // samples beside each other: a cache line less for each

void TakeSamples(const Row& row, float* samples) {
  for (int64_t i = 0; i < kSamples; i += kChunk) {
    std::copy_n(row.logits + i * (row.vocabulary - kChunk) / kSamples, kChunk, samples + i);
  }
}

// As a probability relative to the largest.
float RelativeWeight(uint64_t weight) {
  return static_cast<float>(static_cast<int64_t>(weight)) * static_cast<float>(1 / kWeightOne);
}

constexpr int32_t kMagnitude = std::numeric_limits<int32_t>::max();

// Numbers in the order of the logits.
int32_t AscendingBits(float logit) {
  const auto bits = std::bit_cast<int32_t>(logit);
  return bits < 0 ? bits ^ kMagnitude : bits;
}

// How many samples of equal weights would tell as much.
float EffectiveSamples(const Gathered& samples) {
  std::array<float, kChunk> sum = {};
  std::array<float, kChunk> squares = {};
  for (int64_t i = 0; i < samples.count; i += kChunk) {
    for (int64_t lane = 0; lane < kChunk; ++lane) {
      const float weight = RelativeWeight(samples.weights[i + lane]);
      sum[lane] += weight;
      squares[lane] += weight * weight;
    }
  }
  const float all = std::accumulate(sum.begin(), sum.end(), 0.0f);
  const float square = std::accumulate(squares.begin(), squares.end(), 0.0f);
  return square > 0 ? all * all / square : 0;
}

// A logit that few blocks' largest are below: about one token of a block is above.
float UsualBlockMax(const Row& row) {
  std::array<float, 64> maxima;
  const int64_t blocks = BlocksOf(row.vocabulary);
  const auto count = std::min<int64_t>(blocks, maxima.size());
  for (int64_t i = 0; i < count; ++i) {
    maxima[i] = row.block_max[i * blocks / count];
  }
  std::nth_element(maxima.begin(), maxima.begin() + count / 4, maxima.begin() + count);
  return maxima[count / 4];
}

}  // namespace

float EstimateLargest(const Row& row, int64_t count, float* scratch) {
  const double expected =
      static_cast<double>(count) * kSamples / static_cast<double>(row.vocabulary);
  const auto rank = static_cast<int64_t>(expected + 4 * std::sqrt(expected) + 4);
  if (count == 0) {
    return kInfinity;
  }
  if (rank >= kSamples) {
    return -kInfinity;
  }
  TakeSamples(row, scratch);
  std::array<int32_t, kSamples> bits;
  std::transform(scratch, scratch + kSamples, bits.begin(), AscendingBits);
  // Halving the interval and counting has no branch on a logit, which could not be predicted.
  const auto [least, most] = std::minmax_element(bits.begin(), bits.end());
  int64_t low = *least;
  int64_t high = *most;
  while (low < high) {
    const auto middle = static_cast<int32_t>((low + high + 1) >> 1);
    int32_t reached = 0;
    for (const int32_t bit : bits) {
      reached += bit >= middle ? 1 : 0;
    }
    (reached > rank ? low : high) = reached > rank ? middle : middle - 1;
    if (reached > rank && reached <= rank + rank / 16) {
      break;
    }
  }
  const auto found = static_cast<int32_t>(low);
  return std::bit_cast<float>(found < 0 ? found ^ kMagnitude : found);
}

WeightEstimate::WeightEstimate(const RowScan& scan, const Row& row, Gathered& scratch)
    : max_(row.max), bins_per_unit_(row.scale * kBinsPerOctave) {
  TakeSamples(row, scratch.logits);
  scratch.count = kSamples;
  scan.weigh(row, scratch);
  is_spread_ = EffectiveSamples(scratch) >= kEnoughSamples;
  const float limit = is_spread_ ? kInfinity : UsualBlockMax(row);
  Add(scratch, static_cast<float>(row.vocabulary) / kSamples, limit);
  if (!is_spread_) {  // a few tokens have most of the weight: these are not left to chance
    scan.gather(row, {.least = limit, .limit = kInfinity}, scratch);
    scan.weigh(row, scratch);
    Add(scratch, 1.0f, kInfinity);
  }
  std::partial_sum(sum_.begin(), sum_.end(), sum_.begin());
  const float total = std::max(sum_.back(), std::numeric_limits<float>::min());
  share_of_max_ /= total;
  for (float& sum : sum_) {
    sum /= total;
  }
}

// Adds `scale` times the weights of the logits below `limit` to their bins.
void WeightEstimate::Add(const Gathered& tokens, float scale, float limit) {
  for (int64_t i = 0; i < tokens.count; ++i) {
    const float logit = tokens.logits[i];
    const float weight = logit < limit ? RelativeWeight(tokens.weights[i]) * scale : 0.0f;
    const float bin = (max_ - logit) * bins_per_unit_;
    sum_[bin < kBins - 1 ? static_cast<int>(bin) : kBins - 1] += weight;  // the last for NaN
  }
  if (max_ < limit) {
    const auto count = std::count(tokens.logits, tokens.logits + tokens.count, max_);
    share_of_max_ += static_cast<float>(count) * scale;
  }
}

float WeightEstimate::LogitOf(float share) const {
  if (share < share_of_max_) {
    return max_;
  }
  const auto* end = std::lower_bound(sum_.begin(), sum_.end() - 1, share);
  const float before = end == sum_.begin() ? 0.0f : *(end - 1);
  const float part = *end > before ? std::min((share - before) / (*end - before), 1.0f) : 1.0f;
  const float logit = max_ - (static_cast<float>(end - sum_.begin()) + part) / bins_per_unit_;
  return std::max(logit, std::numeric_limits<float>::lowest());
}

float WeightEstimate::DensityAt(float logit) const {
  const float place = (max_ - logit) * bins_per_unit_;
  const int bin = place < kBins - 1 ? static_cast<int>(place) : kBins - 1;
  float density = 0;
  for (int around = 6; density == 0 && around < 2 * kBins; around *= 2) {  // bins on either side
    const int first = std::max(bin - around, 0);
    const int last = std::min(bin + around, kBins - 1);
    density = (sum_[last] - sum_[first]) / static_cast<float>(last - first);
  }
  return density;
}

float WeightEstimate::Moved(float logit, float share) const {
  const float density = DensityAt(logit);
  const float moved = density > 0 ? logit - share / density / bins_per_unit_ : logit;
  return std::clamp(moved, std::numeric_limits<float>::lowest(), max_);
}

float WeightEstimate::DistanceOf(float share, float logit) const {
  constexpr float kRoom = 1.5f;   // for the error of the density
  constexpr float kLeast = 0.1f;  // bins
  const float density = DensityAt(logit);
  return density > 0 ? (kRoom * share / density + kLeast) / bins_per_unit_ : kInfinity;
}

}  // namespace quire::ops::topk_topp_sampling
