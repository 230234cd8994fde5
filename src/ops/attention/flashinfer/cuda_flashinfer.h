// FlashInfer's attention kernels (Ye et al., 2025) behind plain functions. Each has a plan, made on
// the host once a step, and a run for each layer. A plan is a list of numbers that only its own run
// understands; its index arrays are copied to `memory` on the stream.
//
// These kernels choose their splits by the batch: the same row may differ in its last bits from one
// batch to the next.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention::cuda {

// What plan and run share. Between a plan and its last run nobody else writes to it; the host's
// copy must stay until the stream has passed the plan.
struct FlashInferMemory {
  void* partials = nullptr;  // on the device
  size_t partial_bytes = 0;
  void* indices = nullptr;       // on the device
  void* host_indices = nullptr;  // pinned
  size_t index_bytes = 0;        // of both
};

// One step, on the host. B sequences.
struct FlashInferStep {
  const int32_t* query_start = nullptr;  // [B + 1]
  const int32_t* page_start = nullptr;   // [B + 1] where a sequence's pages start in `pages`
  const int32_t* kv_length = nullptr;    // [B]
  int32_t sequences = 0;
  int32_t rows = 0;  // T
  int32_t q_heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t page_size = 0;
};

// The pages of the sequences, on the device.
struct FlashInferPages {
  const int32_t* pages = nullptr;             // the pages of all sequences
  const int32_t* page_start = nullptr;        // [B + 1]
  const int32_t* last_page_length = nullptr;  // [B] tokens of the last page
};

using FlashInferPlan = std::vector<int64_t>;

// "fa2": tensor cores of sm_80, paged prefill and decode of bf16 with heads of 128. The pages of a
// step lie one after another.
Status PlanFa2(const FlashInferStep& step, const FlashInferMemory& memory, cudaStream_t stream,
               FlashInferPlan& plan);
Status RunFa2(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
              const FlashInferMemory& memory, cudaStream_t stream);

// "fa3": wgmma of sm_90a, causal paged prefill of f16 or bf16 with heads of 64 or 128. page_start
// may skip entries of `pages`, so a page table serves as it is.
Status PlanFa3(const FlashInferStep& step, const FlashInferMemory& memory, cudaStream_t stream,
               FlashInferPlan& plan);
Status RunFa3(const Problem& problem, const FlashInferPages& pages, const FlashInferPlan& plan,
              const FlashInferMemory& memory, cudaStream_t stream);

}  // namespace quire::ops::attention::cuda
