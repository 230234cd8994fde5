// The backend of CUDA devices: paged attention over any page size. Rows that decode or verify run
// through split keys, whose schedule is planned on the host; longer chunks of prompts through the
// kernels of the variant; what neither takes (types, head sizes) through a general kernel.
#pragma once

#include <memory>
#include <string>

#include "attention/attention_backend.h"

namespace quire {

// By what chunks of prompts run.
enum class PrefillKernels : uint8_t {
  kSplitKv,        // our own: a row's bits do not depend on the step that it is in; also on Hopper
  kFlashInferFa3,  // FlashInfer's for Hopper
  kHopper,         // our own for Hopper
};

inline constexpr std::string_view kPagedCudaName = "paged_cuda";  // the best of what is here
inline constexpr std::string_view kSplitKvName = "split_kv";      // kSplitKv
inline constexpr std::string_view kFlashInferFa3Name = "flashinfer_fa3";  // kFlashInferFa3
inline constexpr std::string_view kHopperPrefillName = "hopper_prefill";  // kHopper

// Which kernels the backends use, for the log. Errors: unsupported, saying what is missing.
Result<std::string> PagedCudaSupports(const AttentionProblem& problem);
Result<std::string> SplitKvSupports(const AttentionProblem& problem);
Result<std::string> FlashInferFa3Supports(const AttentionProblem& problem);
Result<std::string> HopperPrefillSupports(const AttentionProblem& problem);

// What kernels of libraries need of a problem. Errors: unsupported (batch_invariant).
Status CheckBitsMayDiffer(const AttentionProblem& problem);

std::unique_ptr<AttentionBackend> MakeCudaPaged(std::string_view name,
                                                const AttentionProblem& problem,
                                                PrefillKernels prefill);

}  // namespace quire
