// One row: a pass finds the largest logit of every block, and with it the largest of all.
// Everything after visits only blocks that can hold a token it wants. A draw gathers the tokens
// above a threshold that is lowered until they weigh enough, which for a trained model is soon,
// then selects among them.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "ops/cpu_rows.h"
#include "ops/topk_topp_sampling/cpu_scan.h"
#include "ops/topk_topp_sampling/cpu_select.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Memory of one worker.
struct Scratch {
  float* block_max;       // [blocks]
  float* sorted_max;      // [blocks]
  Candidate* candidates;  // [V]
};

class RowSampler {
 public:
  RowSampler(const RowScan& scan, const Scratch& scratch, const float* logits, int64_t vocabulary)
      : scan_(scan), scratch_(scratch), logits_(logits), vocabulary_(vocabulary) {}

  RowFault Sample(const SamplingParams& params, int64_t position, SampledToken& out);

 private:
  int32_t ArgMax() const;
  int32_t Draw(const SamplingParams& params, float uniform);
  int32_t DrawFromGathered(const SamplingParams& params, float uniform, uint64_t total);
  void FillLogprobs(int32_t top, SampledToken& out);

  // Each replaces the candidates. Weights are not set, but by GatherWeight.
  void GatherAbove(float threshold);  // logit >= threshold
  void GatherLargest(int64_t count);  // the first `count` of the token order
  void GatherWeight(float temperature,
                    uint64_t wanted);  // a prefix of the order that weighs `wanted`

  // The logit of the exponent (l - max) / temperature = `exponent`, rounded down.
  float Threshold(double exponent, float temperature) const {
    const double logit = max_ + exponent * temperature;
    const double lowest = std::numeric_limits<float>::lowest();
    return std::nextafter(static_cast<float>(std::max(logit, lowest)), -kInfinity);
  }

  const RowScan& scan_;
  const Scratch& scratch_;
  const float* logits_;
  int64_t vocabulary_;
  float max_ = 0;
  int64_t gathered_ = 0;  // candidates in use
};

RowFault RowSampler::Sample(const SamplingParams& params, int64_t position, SampledToken& out) {
  const bool has_nan = scan_.block_max(logits_, vocabulary_, scratch_.block_max);
  max_ = *std::max_element(scratch_.block_max, scratch_.block_max + BlocksOf(vocabulary_));
  if (const RowFault fault = FaultOf(has_nan, max_); fault != RowFault::kNone) {
    return fault;
  }
  out.token = params.temperature == 0.0f ? ArgMax() : Draw(params, Uniform(params.seed, position));
  out.logprob = 0.0f;
  out.top.clear();
  if (params.top_logprobs >= 0) {
    FillLogprobs(params.top_logprobs, out);
  }
  return RowFault::kNone;
}

int32_t RowSampler::ArgMax() const {
  const float* block =
      std::find(scratch_.block_max, scratch_.block_max + BlocksOf(vocabulary_), max_);
  const int64_t start = (block - scratch_.block_max) * kBlock;
  return static_cast<int32_t>(std::find(logits_ + start, logits_ + vocabulary_, max_) - logits_);
}

void RowSampler::GatherAbove(float threshold) {
  gathered_ =
      scan_.gather(logits_, vocabulary_, scratch_.block_max, threshold, scratch_.candidates);
}

void RowSampler::GatherLargest(int64_t count) {
  const int64_t blocks = BlocksOf(vocabulary_);
  float threshold = -kInfinity;
  if (0 < count &&
      count <= blocks) {  // as many blocks hold a logit that is at least their count-th
    std::copy_n(scratch_.block_max, blocks, scratch_.sorted_max);
    float* nth = scratch_.sorted_max + count - 1;
    std::nth_element(scratch_.sorted_max, nth, scratch_.sorted_max + blocks, std::greater<>());
    threshold = *nth;
  }
  GatherAbove(threshold);
  SelectByCount(scratch_.candidates, gathered_, count);
  gathered_ = count;
}

void RowSampler::GatherWeight(float temperature, uint64_t wanted) {
  // Probabilities of 1/16, 1/1024, ... of the largest; below the last, no token has weight.
  for (const double exponent : {-2.8, -6.9, -12.0, -18.0, 1.01 * kWeightlessExponent}) {
    GatherAbove(Threshold(exponent, temperature));
    if (scan_.weigh(scratch_.candidates, gathered_, max_, temperature) >= wanted) {
      return;
    }
  }
  QUIRE_CHECK(false) << "no " << wanted << " of weight in " << gathered_ << " candidates";
}

int32_t RowSampler::Draw(const SamplingParams& params, float uniform) {
  const float temperature = params.temperature;
  if (params.top_k > 0 && params.top_k < vocabulary_) {
    GatherLargest(params.top_k);
    const uint64_t total = scan_.weigh(scratch_.candidates, gathered_, max_, temperature);
    return DrawFromGathered(params, uniform, total);
  }
  if (params.top_p >= 1.0f && params.min_p > 0.0f) {
    const double exponent = std::max<double>(std::log(params.min_p), kWeightlessExponent);
    GatherAbove(Threshold(1.01 * exponent - 0.01, temperature));
    const uint64_t total = scan_.weigh(scratch_.candidates, gathered_, max_, temperature);
    return DrawFromGathered(params, uniform, total);
  }
  const uint64_t total =
      scan_.weight_sum(logits_, vocabulary_, scratch_.block_max, max_, temperature);
  if (params.top_p < 1.0f) {
    GatherWeight(temperature, TopPWeight(params.top_p, total));
    return DrawFromGathered(params, uniform, total);
  }
  const uint64_t wanted = DrawWeight(uniform, total);
  GatherWeight(temperature, wanted);
  return TokenOf(
      scratch_.candidates[SelectByWeight(scratch_.candidates, gathered_, wanted) - 1].key);
}

// Draws after top-p and min-p; `total` is what top-p means its share of.
int32_t RowSampler::DrawFromGathered(const SamplingParams& params, float uniform, uint64_t total) {
  Candidate* begin = scratch_.candidates;
  if (params.top_p < 1.0f) {
    gathered_ = SelectByWeight(begin, gathered_, TopPWeight(params.top_p, total));
  }
  const uint64_t least = MinPWeight(params.min_p);
  gathered_ = std::partition(begin, begin + gathered_,
                             [&](const Candidate& c) { return c.weight >= least; }) -
              begin;
  uint64_t kept = 0;
  for (int64_t i = 0; i < gathered_; ++i) {
    kept += begin[i].weight;
  }
  return TokenOf(begin[SelectByWeight(begin, gathered_, DrawWeight(uniform, kept)) - 1].key);
}

void RowSampler::FillLogprobs(int32_t top, SampledToken& out) {
  const uint64_t total = scan_.weight_sum(logits_, vocabulary_, scratch_.block_max, max_, 1.0f);
  out.logprob = LogprobOf(logits_[out.token], max_, total);
  if (top == 0) {
    return;
  }
  GatherLargest(top);
  std::sort(scratch_.candidates, scratch_.candidates + gathered_,
            [](const Candidate& a, const Candidate& b) { return a.key < b.key; });
  for (int64_t i = 0; i < gathered_; ++i) {
    const uint64_t key = scratch_.candidates[i].key;
    out.top.push_back({TokenOf(key), LogprobOf(LogitOf(key), max_, total)});
  }
}

Scratch AllocateScratch(Workspace& workspace, int64_t vocabulary) {
  const auto blocks = static_cast<size_t>(BlocksOf(vocabulary));
  return {.block_max = workspace.Allocate<float>(blocks),
          .sorted_max = workspace.Allocate<float>(blocks),
          .candidates = workspace.Allocate<Candidate>(static_cast<size_t>(vocabulary))};
}

template <CpuIsa kIsa>
Status RunRows(const OpContext& context, const Args& args) {
  const int64_t rows = args.logits.dim(0);
  const int64_t vocabulary = args.logits.dim(1);
  if (rows == 0) {
    return OkStatus();
  }
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  const Workspace::Scope scope(context.workspace);
  auto* faults = context.workspace.Allocate<RowFault>(static_cast<size_t>(rows));
  auto* scratch = context.workspace.Allocate<Scratch>(static_cast<size_t>(threads.size()));
  for (int worker = 0; worker < threads.size(); ++worker) {
    scratch[worker] = AllocateScratch(context.workspace, vocabulary);
  }
  const auto sample = [&](int64_t row, int worker) {
    const float* logits = args.logits.as<float>() + row * args.logits.stride(0);
    RowSampler sampler(RowScanOf(kIsa), scratch[worker], logits, vocabulary);
    faults[row] = sampler.Sample(args.params[row], args.positions[row], args.out[row]);
  };
  if (rows * vocabulary <= kInlineElements) {
    for (int64_t row = 0; row < rows; ++row) {
      sample(row, 0);
    }
  } else {
    threads.ParallelFor(rows, sample);
  }
  const RowFault* first =
      std::find_if(faults, faults + rows, [](RowFault fault) { return fault != RowFault::kNone; });
  return first == faults + rows ? OkStatus() : FaultStatus(*first, first - faults);
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if defined(__x86_64__)
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunRows<CpuIsa::kAvx512>},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunRows<CpuIsa::kAvx2>},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, RunRows<CpuIsa::kBaseline>},
  };
}

}  // namespace quire::ops::topk_topp_sampling
