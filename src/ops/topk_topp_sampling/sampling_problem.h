// A problem of topk_topp_sampling with its data, for tests and benchmarks. No product code includes
// this.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/conformance.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "ops/topk_topp_sampling/topk_topp_sampling_cases.h"

namespace quire::ops::topk_topp_sampling {

struct Problem {
  // `gap` elements lie between the rows of logits.
  Problem(const Case& c, std::mt19937_64& rng, int64_t gap)
      : logits({c.rows, c.vocabulary}, c.vocabulary + gap),
        params(static_cast<size_t>(c.rows), c.params),
        out(static_cast<size_t>(c.rows)) {
    std::vector<float> values(static_cast<size_t>(c.rows * c.vocabulary), 0.25f);
    if (c.deviation > 0) {
      values = RandomFloats(rng, c.rows * c.vocabulary, 5.0f, c.deviation);
    }
    if (c.whole_numbers) {
      std::transform(values.begin(), values.end(), values.begin(),
                     [](float value) { return std::round(value); });
    }
    logits.Assign(values);
    for (SamplingParams& p : params) {
      p.seed = rng();
      positions.push_back(static_cast<int64_t>(rng() >> 20));
    }
    args = {
        .logits = logits.View(DType::kF32), .params = params, .positions = positions, .out = out};
  }

  GuardedArray<float> logits;
  std::vector<SamplingParams> params;
  std::vector<int64_t> positions;
  std::vector<SampledToken> out;
  Args args;
};

}  // namespace quire::ops::topk_topp_sampling
