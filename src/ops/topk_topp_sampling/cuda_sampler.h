// The kernels of sampling on a CUDA device: what cuda.cc gives them and gets from them.
//
// The arithmetic is that of distribution.h, instruction for instruction, and all sums are of
// integers: a row's token is the same as on every other platform.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/topk_topp_sampling/row_fault.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

// How one row is drawn.
struct DeviceRow {
  const float* logits = nullptr;    // [V] with bias and penalties
  const float* original = nullptr;  // [V] without, for log-probabilities
  float scale = 0;                  // WeightScale(temperature); 0 for temperature 0
  float top_p = 1;
  uint64_t min_weight = 0;  // MinPWeight(min_p); 0: off
  int32_t top_k = 0;        // 0 or V: off
  int32_t top_logprobs = -1;
  float uniform = 0;     // of the draw
  bool filters = false;  // Filters()
  bool joint = false;    // FilterOrder::kJoint
  // The row after a draft that was drawn from probabilities: the draft or its replacement is the
  // token, by the rule of speculative_sampling.h.
  const float* draft_probs = nullptr;  // [V]
  int32_t draft = 0;
  float accept = 0;  // uniform numbers of the two streams
  float replace = 0;
};

// What a row gives.
struct DeviceDraw {
  uint64_t total = 0;  // of the weights of all tokens at temperature 1, with top_logprobs >= 0
  float max = 0;       // the largest original logit, and that of `token`, likewise
  float logit = 0;
  int32_t token = 0;
  RowFault fault = RowFault::kNone;
  bool bad_draft_prob = false;
};

// Rows of vocabulary V: draws [rows], and of each the keys (KeyOf) of its top_logprobs best tokens
// in any order from keys[row * key_stride] on. All of it is memory that the device reads and
// writes, so pinned host memory too.
struct SamplerBatch {
  const DeviceRow* rows = nullptr;
  DeviceDraw* draws = nullptr;
  uint64_t* keys = nullptr;
  int32_t* tokens = nullptr;  // [rows], or null: those of the draws once more
  int64_t key_stride = 0;
  int count = 0;
  int vocabulary = 0;
};
cudaError_t SampleRows(const SamplerBatch& batch, cudaStream_t stream);

// The tokens and biases of a row whose logits are adjusted; ranges of the batch's arrays.
struct DeviceAdjustment {
  const float* from = nullptr;  // [V]
  float* logits = nullptr;      // [V] in scratch memory: the result
  uint32_t* counts = nullptr;   // [V] scratch
  int32_t bias_begin = 0;
  int32_t bias_end = 0;
  int32_t prompt_begin = 0;  // of tokens
  int32_t prompt_end = 0;
  int32_t output_end = 0;  // the output begins where the prompt ends
  float repetition = 1;
  float presence = 0;
  float frequency = 0;
};
struct AdjustmentBatch {
  const DeviceAdjustment* rows = nullptr;
  const TokenBias* biases = nullptr;
  const int32_t* tokens = nullptr;  // -1 - i: element i of drawn_before
  const int32_t* drawn_before = nullptr;
  int count = 0;
  int vocabulary = 0;
};
cudaError_t AdjustRows(const AdjustmentBatch& batch, cudaStream_t stream);

}  // namespace quire::ops::topk_topp_sampling
