#include "ops/attention/cuda_attention.h"
#include "ops/attention/flashinfer/cuda_flashinfer_mla.h"
#include "ops/attention/hopper_mla/cuda_hopper_mla.h"
#include "ops/mla_attention/mla_attention_problem.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::mla_attention {

namespace {

bool IsHopper(const OpContext& context) {
  return context.stream.device().properties().instruction_set == "sm_90";
}

bool AcceptsHopper(const OpContext& context, const Args& args) {
  return !context.batch_invariant && IsHopper(context) &&
         attention::cuda::WhyNotHopperMla(ProblemOf(args)).empty();
}

Status RunHopper(const OpContext& context, const attention::Problem& problem) {
  const Workspace::Scope scope(context.workspace);
  const int multiprocessors = context.stream.device().properties().compute_units;
  auto* const scratch = context.workspace.Allocate<std::byte>(
      attention::cuda::HopperMlaScratchBytes(multiprocessors));
  return attention::cuda::RunHopperMla(problem, multiprocessors, scratch,
                                       AsCudaStream(context.stream).handle());
}

bool AcceptsFlashInfer(const OpContext& context, const Args& args) {
  return !context.batch_invariant && IsHopper(context) &&
         attention::cuda::WhyNotFlashInferMla(ProblemOf(args)).empty();
}

Status RunFlashInfer(const OpContext& context, const attention::Problem& problem) {
  const Workspace::Scope scope(context.workspace);
  const int multiprocessors = context.stream.device().properties().compute_units;
  auto* const scratch = context.workspace.Allocate<std::byte>(
      attention::cuda::FlashInferMlaScratchBytes(problem, multiprocessors));
  return attention::cuda::RunFlashInferMla(problem, multiprocessors, scratch,
                                           AsCudaStream(context.stream).handle());
}

}  // namespace

Implementations CudaImplementations() {
  return Join(Implementations{{"hopper_mla", AcceptsHopper,
                               attention::cuda::RunProblem<Args, ProblemOf, RunHopper>,
                               "bf16; pages of bf16, of 8 tokens and more; 512 + 64 elements"},
                              {"flashinfer_mla", AcceptsFlashInfer,
                               attention::cuda::RunProblem<Args, ProblemOf, RunFlashInfer>,
                               "bf16; pages of bf16; 512 + 64 elements"}},
              attention::cuda::ImplementationsFor<Args, ProblemOf>());
}

}  // namespace quire::ops::mla_attention
