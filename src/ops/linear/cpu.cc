#include "ops/linear/cpu_kernels.h"
#include "platform/cpu/cpu_device.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::linear {

namespace {

template <CpuIsa kIsa>
bool Accepts(const OpContext& context, const Args& args) {
  return AsCpuStream(context.stream).isa() >= kIsa && HasPanels(args);
}

template <const KernelSet& kSet>
Status RunWith(const OpContext& context, const Args& args) {
  return RunPanels(kSet, context, args);
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512_vnni", Accepts<CpuIsa::kAvx512>, RunWith<kAvx512VnniKernels>},
      {"avx2", Accepts<CpuIsa::kAvx2>, RunWith<kAvx2Kernels>},
#endif
      {"baseline", Accepts<CpuIsa::kBaseline>, RunWith<kBaselineKernels>},
  };
}

}  // namespace quire::ops::linear
