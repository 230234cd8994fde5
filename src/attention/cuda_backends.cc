#include "attention/known_backends.h"
#include "attention/paged/cuda_fa2.h"
#include "attention/paged/cuda_paged.h"

namespace quire {

namespace {

// The place of a decode kernel for Blackwell, which this build does not have yet.
Result<std::string> BlackwellDecodeSupports(const AttentionProblem& problem) {
  const std::string& found = problem.device->properties().instruction_set;
  if (!found.starts_with("sm_10")) {
    return Unsupported("the device is ", found, "; it needs sm_100 (Blackwell)");
  }
  return Unsupported("this build has no decode kernel for ", found, "; use paged_cuda");
}

}  // namespace

std::vector<KnownBackend> CudaAttentionBackends() {
  return {
      {kPagedCudaName, PagedCudaSupports,
       [](const AttentionProblem& problem) {
         return MakeCudaPaged(kPagedCudaName, problem,
                              HopperPrefillSupports(problem).ok() ? PrefillKernels::kHopper
                                                                  : PrefillKernels::kSplitKv);
       }},
      {kHopperPrefillName, HopperPrefillSupports,
       [](const AttentionProblem& problem) {
         return MakeCudaPaged(kHopperPrefillName, problem, PrefillKernels::kHopper);
       }},
      {kFlashInferFa3Name, FlashInferFa3Supports,
       [](const AttentionProblem& problem) {
         return MakeCudaPaged(kFlashInferFa3Name, problem, PrefillKernels::kFlashInferFa3);
       }},
      {kSplitKvName, SplitKvSupports,
       [](const AttentionProblem& problem) {
         return MakeCudaPaged(kSplitKvName, problem, PrefillKernels::kSplitKv);
       }},
      {kFlashInferFa2Name, FlashInferFa2Supports, MakeCudaFa2},
      {"blackwell_decode", BlackwellDecodeSupports,
       [](const AttentionProblem&) { return std::unique_ptr<AttentionBackend>(); }},
  };
}

}  // namespace quire
