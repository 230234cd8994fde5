// Rows on their way to the kernels of sampling and back: what topk_topp_sampling and
// speculative_sampling share.
#pragma once

#include <memory>
#include <vector>

#include "ops/topk_topp_sampling/cuda_sampler.h"
#include "ops/topk_topp_sampling/logit_adjustment.h"

namespace quire::ops::topk_topp_sampling {

// A row to draw.
struct RowRequest {
  const float* logits = nullptr;  // device memory [V]
  const SamplingParams* params = nullptr;
  RowHistory history = {};
  int64_t position = 0;
  const float* draft_probs = nullptr;  // device memory [V], or null
  int32_t draft = 0;
};

// What the device writes for rows that are being drawn. Copies share it.
class PendingRows {
 public:
  // Enqueues the draws of `requests`, which are needed no longer afterwards. The tokens go to
  // `drawn` too, device memory [requests], if it is given; `drawn_before`, device memory as well,
  // is that of Args. REQUIRES: at least one request; a CUDA stream.
  static Result<PendingRows> Enqueue(const OpContext& context, int64_t vocabulary,
                                     const std::vector<RowRequest>& requests,
                                     int32_t* drawn = nullptr,
                                     const int32_t* drawn_before = nullptr);

  // These are for when the stream has come past the draws. What is wrong with a row:
  RowFault FaultAt(size_t row) const { return draws_[row].fault; }
  bool HasBadDraftProb(size_t row) const { return draws_[row].bad_draft_prob; }
  // Its token with log-probabilities. REQUIRES: nothing is wrong.
  SampledToken TokenAt(size_t row) const;
  size_t size() const { return size_; }

 private:
  std::shared_ptr<std::byte> block_;
  const DeviceRow* rows_ = nullptr;
  const DeviceDraw* draws_ = nullptr;
  const uint64_t* keys_ = nullptr;
  size_t key_stride_ = 0;
  size_t size_ = 0;
};

}  // namespace quire::ops::topk_topp_sampling
