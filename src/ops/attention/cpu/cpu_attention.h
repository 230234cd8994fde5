// The CPU implementations of an attention operator: the kernels of each instruction set on the
// operator's problem.
#pragma once

#include "ops/attention/cpu/cpu_schedule.h"
#include "ops/cpu_rows.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::attention::cpu {

template <typename Args, Problem (*kProblemOf)(const Args&), Kernels (*kKernels)()>
Status RunProblem(const OpContext& context, const Args& args) {
  return RunUnits(context, kProblemOf(args), kKernels());
}

// Best first. kProblemOf translates checked arguments.
template <typename Args, Problem (*kProblemOf)(const Args&)>
ImplementationList<Args> ImplementationsFor() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunProblem<Args, kProblemOf, Avx512Kernels>,
       kTypes},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunProblem<Args, kProblemOf, Avx2Kernels>, kTypes},
#endif
      {"baseline", DeviceHas<CpuIsa::kBaseline, Args>,
       RunProblem<Args, kProblemOf, BaselineKernels>, kTypes},
  };
}

}  // namespace quire::ops::attention::cpu
