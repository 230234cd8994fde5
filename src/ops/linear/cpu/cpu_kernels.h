// The kernel sets of the CPU platform, one per instruction set; each may only run where the set is.
#pragma once

#include "ops/linear/cpu/panel_product.h"

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

// KernelSet::quantize and quantize_row of AVX-512; defined on x86-64 only.
void QuantizeAvx512(const float* x, int64_t stride, int64_t groups, int rows,
                    const QuantizedTile& tile);
RowScale QuantizeRowAvx512(const float* x, int64_t k, int8_t* codes);

}  // namespace quire::ops::linear
