// Regions of code compiled for an instruction set above the build's own. Everything between BEGIN
// and END may use the set's intrinsics; callers reach it only after DetectCpuIsa() said that the
// machine has it. Include all headers before a region: an inline function compiled inside one could
// be chosen by the linker for the whole program.
#pragma once

#if defined(__x86_64__)
#define QUIRE_HAVE_X86 1
#include <immintrin.h>
#else
#define QUIRE_HAVE_X86 0
#endif

#define QUIRE_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define QUIRE_BEGIN_TARGET(features) \
  QUIRE_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define QUIRE_END_TARGET QUIRE_PRAGMA(clang attribute pop)
#else
#define QUIRE_BEGIN_TARGET(features) \
  QUIRE_PRAGMA(GCC push_options) QUIRE_PRAGMA(GCC target(features))
#define QUIRE_END_TARGET QUIRE_PRAGMA(GCC pop_options)
#endif

#define QUIRE_BEGIN_AVX2 QUIRE_BEGIN_TARGET("avx2,fma,f16c")
#define QUIRE_BEGIN_AVX512 \
  QUIRE_BEGIN_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
// AVX-512 with dot products of bf16: only where CpuDevice::has_bf16_products().
#define QUIRE_BEGIN_AVX512_BF16 \
  QUIRE_BEGIN_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")
