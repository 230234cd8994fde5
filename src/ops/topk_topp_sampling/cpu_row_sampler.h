// One row: a pass finds the largest logit of every block, and with it the largest of all.
// Everything after visits only blocks that can hold a token it wants.
#pragma once

#include <cstdint>
#include <span>

#include "ops/topk_topp_sampling/cpu_estimate.h"
#include "ops/topk_topp_sampling/cpu_scan.h"
#include "ops/topk_topp_sampling/cpu_select.h"
#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/logit_adjustment.h"
#include "platform/workspace.h"

namespace quire::ops::topk_topp_sampling {

// Memory of one worker.
struct SamplerScratch {
  float* block_max;         // [blocks]
  float* sorted;            // [max(blocks, samples)]
  uint64_t* group_weights;  // [groups]
  Gathered gathered;        // [V] and a vector
  int32_t* found;           // [V] and a vector
  Entry* entries;           // [V]
  float* adjusted;          // [V], null if no row needs it
  int32_t* counts;          // [V], null if no row needs it

  // That of `workers` workers; `adjusts`: some row has a penalty or a bias.
  static const SamplerScratch* Allocate(Workspace& workspace, int workers, int64_t vocabulary,
                                        bool adjusts);
};

class RowSampler {
 public:
  // `scratch` must outlive the sampler; one sampler at a time uses it.
  RowSampler(const RowScan& scan, const SamplerScratch& scratch)
      : scan_(scan), scratch_(scratch), gathered_(scratch.gathered) {}

  // The logits of the row after the next, if it is known: hides the time of reading them.
  void ExpectNext(const float* logits) { next_ = logits; }

  // Draws with Uniform(params.seed, position) and fills in the log-probabilities. `out` is only set
  // if there is no fault.
  RowFault Sample(std::span<const float> logits, const SamplingParams& params,
                  const RowHistory& history, int64_t position, SampledToken& out);

  // The parts of Sample(), in this order.
  RowFault Load(std::span<const float> logits, const SamplingParams& params,
                const RowHistory& history);
  int32_t Draw(float uniform);
  void FillLogprobs(SampledToken& out);

  // After Load(), with temperature > 0: the tokens that the filters keep, in ascending order of
  // ids, with weights, until the next call; `total` is their sum.
  const Gathered& Keep(uint64_t& total);

 private:
  // A logit near a token that is looked for.
  struct Cut {
    float logit;
    uint64_t above;    // the weight of all logits >= logit
    LogitRange range;  // beside it, probably with the token
  };

  void FindBlockMax(std::span<const float> logits);
  int32_t TokenOfLargest(int64_t index) const;
  int32_t DrawUnfiltered(float uniform);
  int32_t DrawByTopP(float uniform);
  bool IsLargest(const Cut& cut, uint64_t wanted) const;
  Border SelectNear(const Cut& cut, uint64_t wanted);
  uint64_t TotalWeight() { return scan_.group_weights(row_, scratch_.group_weights); }

  void PlaceRange(const WeightEstimate& estimate, uint64_t wanted, uint64_t total, Cut& cut) const;
  void PickFound(const LogitRange& range);  // from scratch_.found

  // Each replaces the gathered tokens; weights are not set.
  void Gather(const LogitRange& range) { scan_.gather(row_, range, gathered_); }
  void GatherLargest(int64_t count);  // the first `count` of the token order
  void GatherWeighty(float min_p);    // at least all tokens with weight that min-p keeps
  float ThresholdOfLargest(int64_t count);

  // The logit of (l - max) / temperature = `exponent`, rounded down.
  float Threshold(double exponent) const;

  const RowScan& scan_;
  const SamplerScratch& scratch_;
  const SamplingParams* params_ = nullptr;
  const float* unmodified_ = nullptr;  // the logits before bias and penalties
  const float* next_ = nullptr;
  int64_t found_ = 0;  // tokens in scratch_.found
  bool has_nan_ = false;
  Row row_ = {};
  Gathered gathered_;
};

}  // namespace quire::ops::topk_topp_sampling
