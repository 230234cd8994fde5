// Whether draws follow a distribution, for tests. No product code includes this.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

// The distribution of the contract in double, by its definition, without bias and penalties.
inline std::vector<double> Exact(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  const size_t top_k = params.top_k > 0 ? params.top_k : order.size();
  std::vector<double> p(logits.size(), 0.0);
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    double& weight = p[order[i]];
    weight = std::exp(static_cast<double>(logits[order[i]]) / params.temperature);
    total += i < top_k || params.order == FilterOrder::kJoint ? weight : 0;
  }
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    double& weight = p[order[i]];
    const bool keep = i < top_k && (params.top_p >= 1 || sum < params.top_p * total) &&
                      weight >= params.min_p * p[order[0]];
    sum += weight;
    weight = keep ? weight : 0;
  }
  const double kept = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& probability : p) {
    probability /= kept;
  }
  return p;
}

// Chi-square of the draws against the exact distribution, rare tokens joined, in standard
// deviations of a chi-square variable above its mean.
inline double Excess(const std::vector<int>& counts, const std::vector<double>& p) {
  const int draws = std::accumulate(counts.begin(), counts.end(), 0);
  double chi_square = 0;
  int cells = 0;
  double rare_expected = 0;
  int rare_count = 0;
  for (size_t token = 0; token < counts.size(); ++token) {
    const double expected = p[token] * draws;
    EXPECT_TRUE(p[token] > 0 || counts[token] == 0) << "token " << token << " was cut";
    if (expected < 10) {
      rare_expected += expected;
      rare_count += counts[token];
      continue;
    }
    chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    ++cells;
  }
  if (rare_expected >= 10) {
    chi_square += (rare_count - rare_expected) * (rare_count - rare_expected) / rare_expected;
    ++cells;
  }
  const int freedom = std::max(cells - 1, 1);
  return (chi_square - freedom) / std::sqrt(2.0 * freedom);
}

}  // namespace quire::ops::topk_topp_sampling
