// The kernel sets of the CPU platform, one per instruction set; each may only run where the set is.
#pragma once

#include "ops/linear/panel_product.h"

#if defined(__clang__)
#define QUIRE_UNROLL _Pragma("unroll")
#else
#define QUIRE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace quire::ops::linear {

extern const KernelSet kBaselineKernels;
extern const KernelSet kAvx2Kernels;        // defined on x86-64 only
extern const KernelSet kAvx512VnniKernels;  // defined on x86-64 only
KernelSet Avx512Bf16Kernels();              // defined on x86-64 only

}  // namespace quire::ops::linear
