#include "ops/topk_topp_sampling/cpu_row_sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/check.h"
#include "ops/topk_topp_sampling/cpu_estimate.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kVectorRoom = 16;         // a gather stores whole vectors
constexpr int64_t kGatherAllAtMost = 4096;  // a vocabulary not worth an estimate

// Which of the tokens with the largest logit, each of weight kWeightOne, reaches `wanted`.
uint64_t IndexOfLargest(uint64_t wanted) {
  return (wanted - 1) >> kWeightBits;
}

uint64_t SumOf(const Gathered& gathered) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < gathered.count; ++i) {
    sum += gathered.weights[i];
  }
  return sum;
}

SamplerScratch AllocateOne(Workspace& workspace, int64_t vocabulary, bool adjusts) {
  const auto blocks = static_cast<size_t>(BlocksOf(vocabulary));
  const auto tokens = static_cast<size_t>(vocabulary + kVectorRoom);
  SamplerScratch scratch = {};
  scratch.block_max = workspace.Allocate<float>(blocks);
  scratch.sorted = workspace.Allocate<float>(std::max<size_t>(blocks, kSamples));
  scratch.group_weights = workspace.Allocate<uint64_t>(static_cast<size_t>(GroupsOf(vocabulary)));
  scratch.gathered = {.logits = workspace.Allocate<float>(tokens),
                      .tokens = workspace.Allocate<int32_t>(tokens),
                      .weights = workspace.Allocate<uint64_t>(tokens),
                      .count = 0,
                      .low = 0,
                      .high = 0};
  scratch.found = workspace.Allocate<int32_t>(tokens);
  scratch.entries = workspace.Allocate<Entry>(tokens);
  if (adjusts) {
    scratch.adjusted = workspace.Allocate<float>(tokens);
    scratch.counts = workspace.Allocate<int32_t>(tokens);
  }
  return scratch;
}

}  // namespace

const SamplerScratch* SamplerScratch::Allocate(Workspace& workspace, int workers,
                                               int64_t vocabulary, bool adjusts) {
  auto* scratch = workspace.Allocate<SamplerScratch>(static_cast<size_t>(workers));
  for (int worker = 0; worker < workers; ++worker) {
    scratch[worker] = AllocateOne(workspace, vocabulary, adjusts);
  }
  return scratch;
}

RowFault RowSampler::Sample(std::span<const float> logits, const SamplingParams& params,
                            const RowHistory& history, int64_t position, SampledToken& out) {
  if (const RowFault fault = Load(logits, params, history); fault != RowFault::kNone) {
    return fault;
  }
  out.token = Draw(Uniform(params.seed, position));
  FillLogprobs(out);
  return RowFault::kNone;
}

RowFault RowSampler::Load(std::span<const float> logits, const SamplingParams& params,
                          const RowHistory& history) {
  params_ = &params;
  unmodified_ = logits.data();
  if (params.AdjustsLogits()) {
    AdjustLogits(logits, params, history, scratch_.adjusted, scratch_.counts);
    logits = {scratch_.adjusted, logits.size()};
  }
  FindBlockMax(logits);
  return FaultOf(has_nan_, row_.max);
}

void RowSampler::FindBlockMax(std::span<const float> logits) {
  row_ = {.logits = logits.data(),
          .vocabulary = static_cast<int64_t>(logits.size()),
          .block_max = scratch_.block_max,
          .max = 0,
          .scale = params_->temperature > 0 ? WeightScale(params_->temperature) : 0.0f,
          .next = next_ == nullptr ? logits.data() : next_};
  has_nan_ = scan_.block_max(row_.logits, row_.vocabulary, scratch_.block_max);
  row_.max = *std::max_element(row_.block_max, row_.block_max + BlocksOf(row_.vocabulary));
}

// The index-th of the tokens with the largest logit.
int32_t RowSampler::TokenOfLargest(int64_t index) const {
  const float max = row_.max;
  for (int64_t block = 0; block < BlocksOf(row_.vocabulary); ++block) {
    if (row_.block_max[block] < max) {
      continue;
    }
    const float* begin = row_.logits + block * kBlock;
    const float* end = std::min(begin + kBlock, row_.logits + row_.vocabulary);
    int32_t count = 0;  // narrow, so that the compiler counts in lanes
    for (const float* logit = begin; logit < end; ++logit) {
      count += *logit == max ? 1 : 0;
    }
    if (index < count) {
      const float* found = std::find(begin, end, max);
      for (; index > 0; --index) {
        found = std::find(found + 1, end, max);
      }
      return static_cast<int32_t>(found - row_.logits);
    }
    index -= count;
  }
  QUIRE_CHECK(false) << index << " more tokens with logit " << max << " wanted";
  return 0;
}

float RowSampler::Threshold(double exponent) const {
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  const double logit = row_.max + exponent * kLog2E / row_.scale;
  const double lowest = std::numeric_limits<float>::lowest();
  return std::nextafter(static_cast<float>(std::max(logit, lowest)), -kInfinity);
}

// A logit that at least `count` tokens reach.
float RowSampler::ThresholdOfLargest(int64_t count) {
  const int64_t blocks = BlocksOf(row_.vocabulary);
  if (count > 0 &&
      count <= blocks) {  // as many blocks hold a logit that is at least their count-th
    std::copy_n(row_.block_max, blocks, scratch_.sorted);
    float* nth = scratch_.sorted + count - 1;
    std::nth_element(scratch_.sorted, nth, scratch_.sorted + blocks, std::greater<>());
    return *nth;
  }
  return row_.vocabulary > kGatherAllAtMost ? EstimateLargest(row_, count, scratch_.sorted)
                                            : -kInfinity;
}

void RowSampler::GatherLargest(int64_t count) {
  Gather({ThresholdOfLargest(count), kInfinity});
  if (gathered_.count < count) {  // the estimate was wrong
    Gather({-kInfinity, kInfinity});
  }
  if (0 < count && count < gathered_.count) {
    KeepUpTo(SelectByCount(gathered_, count, scratch_.entries).key, gathered_);
  }
}

void RowSampler::GatherWeighty(float min_p) {
  double exponent = kWeightlessExponent;
  if (min_p > 0) {
    constexpr double kRoom = 1e-4;  // far more than the rounding of weights
    exponent = std::max(exponent, std::log(static_cast<double>(min_p)) - kRoom);
  }
  Gather({Threshold(exponent), kInfinity});
}

const Gathered& RowSampler::Keep(uint64_t& total) {
  const SamplingParams& params = *params_;
  const bool top_k = params.top_k > 0 && params.top_k < row_.vocabulary;
  if (top_k) {
    GatherLargest(params.top_k);
  } else {
    GatherWeighty(params.min_p);
  }
  total = scan_.weigh(row_, gathered_);
  if (params.top_p < 1.0f) {
    const bool of_top_k = top_k && params.order == FilterOrder::kTopKFirst;
    const uint64_t wanted = TopPWeight(params.top_p, of_top_k ? total : TotalWeight());
    if (wanted < total) {
      KeepUpTo(SelectByWeight(gathered_, wanted, scratch_.entries).key, gathered_);
    }
  }
  const uint64_t least = MinPWeight(params.min_p);
  for (int64_t i = 0; i < gathered_.count; ++i) {
    gathered_.weights[i] = gathered_.weights[i] >= least ? gathered_.weights[i] : 0;
  }
  total = SumOf(gathered_);
  return gathered_;
}

int32_t RowSampler::Draw(float uniform) {
  if (params_->temperature == 0.0f) {
    return TokenOfLargest(0);
  }
  if (!Filters(*params_, row_.vocabulary)) {
    return DrawUnfiltered(uniform);
  }
  const bool top_k = params_->top_k > 0 && params_->top_k < row_.vocabulary;
  if (!top_k && params_->min_p == 0.0f && row_.vocabulary > kGatherAllAtMost) {
    return DrawByTopP(uniform);
  }
  uint64_t total = 0;
  Keep(total);
  return TokenOf(SelectByWeight(gathered_, DrawWeight(uniform, total), scratch_.entries).key);
}

int32_t RowSampler::DrawUnfiltered(float uniform) {
  uint64_t wanted = DrawWeight(uniform, TotalWeight());
  int64_t group = 0;
  for (; wanted > scratch_.group_weights[group]; ++group) {
    wanted -= scratch_.group_weights[group];
  }
  return static_cast<int32_t>(scan_.find_weight(row_, group * kGroup, wanted));
}

// A sample tells about where top-p ends and where the draw falls. One pass finds the exact weights
// above these two cuts; what is still missing lies in a few tokens beside each, which a second pass
// finds. Wherever the cuts are, the token is the same.
int32_t RowSampler::DrawByTopP(float uniform) {
  constexpr int64_t kSomeBlocks = 2;  // of each group, where they tell enough
  const WeightEstimate estimate(scan_, row_, gathered_);
  const float shares[kCuts] = {params_->top_p, uniform * params_->top_p};
  float logits[kCuts] = {estimate.LogitOf(shares[0]), estimate.LogitOf(shares[1])};
  uint64_t above[kCuts];
  if (estimate.IsSpread() && logits[0] < row_.max) {
    const uint64_t part = scan_.weights_above(row_, kSomeBlocks, logits, above);
    for (int cut = 0; cut < kCuts && part > 0; ++cut) {
      const float share = static_cast<float>(above[cut]) / static_cast<float>(part);
      logits[cut] = estimate.Moved(logits[cut], shares[cut] - share);
    }
  }
  const uint64_t total = scan_.weights_above(row_, kGroupBlocks, logits, above);
  Cut end = {logits[0], above[0], {}};
  Cut draw = {logits[1], above[1], {}};
  const uint64_t wanted = TopPWeight(params_->top_p, total);
  PlaceRange(estimate, wanted, total, end);
  PlaceRange(estimate, DrawWeight(uniform, wanted), total, draw);
  const LogitRange ranges[] = {end.range, draw.range};
  found_ = scan_.find_in_ranges(row_, ranges, scratch_.found);
  const uint64_t kept = IsLargest(end, wanted) ? (IndexOfLargest(wanted) + 1) << kWeightBits
                                               : SelectNear(end, wanted).weight;
  const uint64_t drawn = DrawWeight(uniform, kept);
  return IsLargest(draw, drawn) ? TokenOfLargest(static_cast<int64_t>(IndexOfLargest(drawn)))
                                : TokenOf(SelectNear(draw, drawn).key);
}

// Whether the weights sum to `wanted` at one of the tokens with the largest logit: this one.
bool RowSampler::IsLargest(const Cut& cut, uint64_t wanted) const {
  return cut.logit == row_.max && cut.above >= wanted;
}

// The range beside a cut in which the token probably is at which the weights sum to `wanted`.
void RowSampler::PlaceRange(const WeightEstimate& estimate, uint64_t wanted, uint64_t total,
                            Cut& cut) const {
  if (IsLargest(cut, wanted)) {
    return;
  }
  const double missing = static_cast<double>(wanted) - static_cast<double>(cut.above);
  const float distance = estimate.DistanceOf(
      static_cast<float>(std::abs(missing) / static_cast<double>(total)), cut.logit);
  cut.range = cut.above < wanted ? LogitRange{cut.logit - distance, cut.logit}
                                 : LogitRange{cut.logit, cut.logit + distance};
}

void RowSampler::PickFound(const LogitRange& range) {
  int64_t count = 0;
  for (int64_t i = 0; i < found_; ++i) {
    const int32_t token = scratch_.found[i];
    const float logit = row_.logits[token];
    gathered_.tokens[count] = token;
    gathered_.logits[count] = logit;
    count += range.Has(logit);
  }
  gathered_.count = count;
  gathered_.low = range.least;
  gathered_.high = std::min(range.limit, row_.max);
}

// The first token of the order at which the weights sum to `wanted`. REQUIRES: !IsLargest().
Border RowSampler::SelectNear(const Cut& cut, uint64_t wanted) {
  const bool below = cut.above < wanted;
  const float wide = 8 * (cut.range.limit - cut.range.least);
  const LogitRange wider =
      below ? LogitRange{cut.logit - wide, cut.logit} : LogitRange{cut.logit, cut.logit + wide};
  const LogitRange all = below ? LogitRange{Threshold(kWeightlessExponent), cut.logit}
                               : LogitRange{cut.logit, kInfinity};
  const bool is_placed = below ? cut.range.limit == cut.logit : cut.range.least == cut.logit;
  for (const LogitRange* side : {is_placed ? &cut.range : nullptr, &wider, &all}) {
    if (side == nullptr) {
      continue;
    }
    if (side == &cut.range) {
      PickFound(*side);
    } else {
      Gather(*side);
    }
    const uint64_t weight = scan_.weigh(row_, gathered_);
    const uint64_t before = below ? cut.above : cut.above - weight;
    if (before < wanted && before + weight >= wanted) {
      const Border border = SelectByWeight(gathered_, wanted - before, scratch_.entries);
      return {border.key, before + border.weight};
    }
  }
  QUIRE_CHECK(false) << wanted << " wanted, " << cut.above << " above " << cut.logit;
  return {};
}

void RowSampler::FillLogprobs(SampledToken& out) {
  out.logprob = 0.0f;
  out.top.clear();
  const int32_t top = params_->top_logprobs;
  if (top < 0) {
    return;
  }
  if (row_.logits != unmodified_) {
    FindBlockMax({unmodified_, static_cast<size_t>(row_.vocabulary)});
  }
  row_.scale = WeightScale(1.0f);
  const uint64_t total = TotalWeight();
  out.logprob = LogprobOf(row_.logits[out.token], row_.max, total);
  if (top == 0) {
    return;
  }
  GatherLargest(top);
  for (int64_t i = 0; i < gathered_.count; ++i) {
    scratch_.entries[i] = {KeyOf(gathered_.logits[i], gathered_.tokens[i]), 0};
  }
  std::sort(scratch_.entries, scratch_.entries + gathered_.count,
            [](const Entry& a, const Entry& b) { return a.key < b.key; });
  for (int64_t i = 0; i < gathered_.count; ++i) {
    const uint64_t key = scratch_.entries[i].key;
    out.top.push_back({TokenOf(key), LogprobOf(LogitOf(key), row_.max, total)});
  }
}

}  // namespace quire::ops::topk_topp_sampling
