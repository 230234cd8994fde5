#include "ops/topk_topp_sampling/cpu_estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "ops/topk_topp_sampling/distribution.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr double kEnoughSamples = 256;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
void TakeSamples(const Row& row, float* samples) {
  for (int64_t i = 0; i < kSamples; ++i) {
    samples[i] = row.logits[i * row.vocabulary / kSamples];
  }
}

// How many samples of equal weights would tell as much.
double EffectiveSamples(const Gathered& samples) {
  double sum = 0;
  double squares = 0;
  for (int64_t i = 0; i < samples.count; ++i) {
    const auto weight = static_cast<double>(samples.weights[i]);
    sum += weight;
    squares += weight * weight;
  }
  return squares > 0 ? sum * sum / squares : 0;
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
  std::nth_element(scratch, scratch + rank, scratch + kSamples, std::greater<>());
  return scratch[rank];
}

WeightEstimate::WeightEstimate(const RowScan& scan, const Row& row, Gathered& scratch)
    : max_(row.max), bins_per_unit_(row.scale * kBinsPerOctave) {
  TakeSamples(row, scratch.logits);
  scratch.count = kSamples;
  scan.weigh(row, scratch);
  const float limit = EffectiveSamples(scratch) < kEnoughSamples ? UsualBlockMax(row) : kInfinity;
  Add(scratch, static_cast<float>(row.vocabulary) / kSamples, limit);
  if (limit < kInfinity) {  // a few tokens have most of the weight: these are not left to chance
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
  const float unit = scale * static_cast<float>(1 / kWeightOne);
  for (int64_t i = 0; i < tokens.count; ++i) {
    const float logit = tokens.logits[i];
    const float weight = logit < limit ? static_cast<float>(tokens.weights[i]) * unit : 0.0f;
    const float bin = (max_ - logit) * bins_per_unit_;
    sum_[bin < kBins - 1 ? static_cast<int>(bin) : kBins - 1] += weight;
    share_of_max_ += logit == max_ ? weight : 0.0f;
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

float WeightEstimate::DistanceOf(float share, float logit) const {
  constexpr int kAround = 6;      // bins on either side that tell the density
  constexpr float kRoom = 1.5f;   // for the error of the density
  constexpr float kLeast = 0.1f;  // bins
  const float place = (max_ - logit) * bins_per_unit_;
  const int bin = place < kBins - 1 ? static_cast<int>(place) : kBins - 1;
  const int first = std::max(bin - kAround, 0);
  const int last = std::min(bin + kAround, kBins - 1);
  const float density = (sum_[last] - sum_[first]) / static_cast<float>(last - first);
  return density > 0 ? (kRoom * share / density + kLeast) / bins_per_unit_ : kInfinity;
}

}  // namespace quire::ops::topk_topp_sampling
