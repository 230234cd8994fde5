#include "ops/linear/cpu/cpu_kernels.h"
#include "ops/linear/packing.h"
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

#if QUIRE_HAVE_X86
// For weights with bf16 products only; others are better read by name of their own set.
bool AcceptsBf16(const OpContext& context, const Args& args) {
  return AsCpuStream(context.stream).has_bf16_products() && HasPanels(args) &&
         static_cast<const PanelWeight&>(*args.weight).Wants(ActivationForm::kBf16);
}

Status RunBf16(const OpContext& context, const Args& args) {
  static const KernelSet set = Avx512Bf16Kernels();
  return RunPanels(set, context, args);
}
#endif

constexpr std::string_view kTypes =
    "f32, f16, bf16; weights also f8e4m3, i8, int4 groups, GGUF blocks";

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512_bf16", AcceptsBf16, RunBf16, kTypes},
      {"avx512_vnni", Accepts<CpuIsa::kAvx512>, RunWith<kAvx512VnniKernels>, kTypes},
      {"avx2", Accepts<CpuIsa::kAvx2>, RunWith<kAvx2Kernels>, kTypes},
#endif
      {"baseline", Accepts<CpuIsa::kBaseline>, RunWith<kBaselineKernels>, kTypes},
  };
}

Packing CpuPacking() {
  return PanelWeight::Pack;
}

}  // namespace quire::ops::linear
