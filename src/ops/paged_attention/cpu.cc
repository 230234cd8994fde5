#include "ops/paged_attention/cpu_schedule.h"
#include "platform/cpu/cpu_device.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::paged_attention {

namespace {

template <CpuIsa kIsa>
bool Accepts(const OpContext& context, const Args&) {
  return AsCpuStream(context.stream).isa() >= kIsa;
}

Status RunBaseline(const OpContext& context, const Args& args) {
  return cpu::RunUnits(context, args, cpu::BaselineKernels());
}

#if QUIRE_HAVE_X86
Status RunAvx2(const OpContext& context, const Args& args) {
  return cpu::RunUnits(context, args, cpu::Avx2Kernels());
}

Status RunAvx512(const OpContext& context, const Args& args) {
  return cpu::RunUnits(context, args, cpu::Avx512Kernels());
}
#endif

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", Accepts<CpuIsa::kAvx512>, RunAvx512},
      {"avx2", Accepts<CpuIsa::kAvx2>, RunAvx2},
#endif
      {"baseline", Accepts<CpuIsa::kBaseline>, RunBaseline},
  };
}

}  // namespace quire::ops::paged_attention
