// Where to cut a row, from a few of its tokens. Only the time of a draw depends on these guesses.
#pragma once

#include <array>
#include <cstdint>

#include "ops/topk_topp_sampling/cpu_scan.h"

namespace quire::ops::topk_topp_sampling {

// Tokens looked at, evenly spread over the vocabulary.
inline constexpr int64_t kSamples = 2048;

// A logit that some more than `count` tokens probably reach. `scratch` [kSamples]. REQUIRES:
// row.vocabulary >= kSamples.
float EstimateLargest(const Row& row, int64_t count, float* scratch);

// How the weight of a row is spread over its logits, as far as a sample tells.
class WeightEstimate {
 public:
  // `scratch` has room for the row. REQUIRES: row.vocabulary >= kSamples.
  WeightEstimate(const RowScan& scan, const Row& row, Gathered& scratch);

  // A logit above which there is about this share of the weight.
  float LogitOf(float share) const;
  // `logit` moved by about this share of the weight, down if it is positive.
  float Moved(float logit, float share) const;
  // Whether the weight is spread over so many tokens that a part of the row tells more.
  bool IsSpread() const { return is_spread_; }
  // How far from `logit` to go, down or up, to pass surely a share of the weight that begins there.
  float DistanceOf(float share, float logit) const;

 private:
  static constexpr int kBinsPerOctave = 12;
  static constexpr int kBins = 42 * kBinsPerOctave;  // down to the least weight

  void Add(const Gathered& tokens, float scale, float limit);
  float DensityAt(float logit) const;  // share of the weight of a bin

  float max_;
  bool is_spread_;
  float share_of_max_ = 0;  // of the tokens whose logit is the largest
  float bins_per_unit_;
  std::array<float, kBins> sum_ = {};  // the share of the weight down to the end of a bin
};

}  // namespace quire::ops::topk_topp_sampling
