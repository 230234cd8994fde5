// By sorting, in double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "ops/moe_route/moe_route.h"
#include "tensor/element.h"

namespace quire::ops::moe_route {

namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

// Indices of `scores` from best to worst: descending, NaN last, equal ones by index.
std::vector<size_t> Ranked(const std::vector<double>& scores) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (std::isnan(scores[a]) || std::isnan(scores[b]) || scores[a] == scores[b]) {
      return std::isnan(scores[a]) == std::isnan(scores[b]) ? a < b : std::isnan(scores[b]);
    }
    return scores[a] > scores[b];
  });
  return order;
}

// Per group: its best key or, with sigmoid scores, the sum of its two best.
std::vector<double> GroupScores(const Args& args, const std::vector<double>& keys) {
  const size_t size = keys.size() / static_cast<size_t>(args.groups);
  std::vector<double> scores;
  for (size_t begin = 0; begin < keys.size(); begin += size) {
    const std::vector<double> group(&keys[begin], &keys[begin] + size);
    const std::vector<size_t> order = Ranked(group);
    double score = group[order[0]];
    if (args.scoring == Scoring::kSigmoid && size > 1) {
      // The sum of two fp32 scores is a fp32 number, so that ties are the same for everybody.
      score = static_cast<float>(score + group[order[1]]);
    }
    scores.push_back(score);
  }
  return scores;
}

// The experts of the chosen groups from best to worst.
std::vector<size_t> RankExperts(const Args& args, const std::vector<double>& keys) {
  const size_t size = keys.size() / static_cast<size_t>(args.groups);
  const std::vector<size_t> groups = Ranked(GroupScores(args, keys));
  std::vector<bool> open(groups.size(), false);
  for (int i = 0; i < args.top_groups; ++i) {
    open[groups[static_cast<size_t>(i)]] = true;
  }
  std::vector<size_t> chosen;
  for (const size_t e : Ranked(keys)) {
    if (open[e / size]) {
      chosen.push_back(e);
    }
  }
  return chosen;
}

// Unnormalized weights of all experts and what a softmax divides them by.
struct Scores {
  std::vector<double> weights;
  double sum = 1.0;
};

Scores SoftmaxOf(const std::vector<double>& logits) {
  Scores scores;
  double max = kLowest;
  for (const double logit : logits) {
    max = std::isnan(logit) ? max : std::max(max, logit);
  }
  scores.sum = 0.0;
  for (const double logit : logits) {
    scores.weights.push_back(std::exp(logit - max));
    scores.sum += scores.weights.back();
  }
  return scores;
}

void RouteToken(const Args& args, int64_t t) {
  const int64_t k = args.ids.dim(1);
  std::vector<double> logits;
  std::vector<double> sigmoid;
  std::vector<double> keys;
  for (int64_t e = 0; e < args.logits.dim(1); ++e) {
    logits.push_back(
        LoadElement(args.logits.data(), args.logits.dtype(), t * args.logits.stride(0) + e));
    const auto score = static_cast<float>(1.0 / (1.0 + std::exp(-logits.back())));
    sigmoid.push_back(score);
    keys.push_back(args.bias.defined() ? score + args.bias.as<float>()[e] : score);
  }
  const bool is_sigmoid = args.scoring == Scoring::kSigmoid;
  const std::vector<size_t> order = RankExperts(args, is_sigmoid ? keys : logits);
  std::vector<double> weights;
  const Scores softmax = SoftmaxOf(logits);
  double sum = 0.0;
  for (int64_t j = 0; j < k; ++j) {
    const size_t e = order[static_cast<size_t>(j)];
    weights.push_back(is_sigmoid ? sigmoid[e] : softmax.weights[e] / softmax.sum);
    sum += weights.back();
  }
  if (args.scoring == Scoring::kTopKSoftmax) {
    std::vector<double> chosen;
    for (int64_t j = 0; j < k; ++j) {
      chosen.push_back(logits[order[static_cast<size_t>(j)]]);
    }
    const Scores over_chosen = SoftmaxOf(chosen);
    for (int64_t j = 0; j < k; ++j) {
      weights[static_cast<size_t>(j)] =
          over_chosen.weights[static_cast<size_t>(j)] / over_chosen.sum;
    }
    sum = 1.0;
  }
  for (int64_t j = 0; j < k; ++j) {
    const double divisor = args.renormalize ? sum + (is_sigmoid ? 1e-20 : 0.0) : 1.0;
    args.ids.as<int32_t>()[t * k + j] = static_cast<int32_t>(order[static_cast<size_t>(j)]);
    args.weights.as<float>()[t * k + j] =
        static_cast<float>(weights[static_cast<size_t>(j)] / divisor * args.scale);
  }
}

Status RunReference(const OpContext&, const Args& args) {
  for (int64_t t = 0; t < args.logits.dim(0); ++t) {
    RouteToken(args, t);
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference,
           "f32, f16, bf16"}};
}

}  // namespace quire::ops::moe_route
