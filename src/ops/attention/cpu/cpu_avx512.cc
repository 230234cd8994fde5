// Attention for AVX-512: one register per vector.
#include "ops/attention/cpu/cpu_key_rows.h"
#include "ops/attention/cpu/cpu_schedule.h"
#include "ops/lanes.h"
#include "platform/cpu/isa_targets.h"
#include "tensor/element.h"

#if QUIRE_HAVE_X86

// g++ 12 takes the undefined operand inside unmasked intrinsics for an uninitialized variable.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

QUIRE_BEGIN_AVX512
#include "ops/attention/cpu/cpu_kernel.h"

namespace quire::ops::attention::cpu {

namespace {

struct Avx512Vector {
  static constexpr int kRegisters = 32;
  using V = Avx512Vector;
  __m512 v;

  static V Zero() { return {_mm512_setzero_ps()}; }
  static V Broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static V Load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static V Load(const Half* from) { return {_mm512_cvtph_ps(LoadBits(from))}; }
  static V Load(const BFloat16* from) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(LoadBits(from)), 16))};
  }
  static V Load(const Float8* from) {
    const __m256i half = Float8ToHalfBits(
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
    return {_mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(0x1p8f))};
  }
  static void Store(float* to, V a) { _mm512_storeu_ps(to, a.v); }
  static void Store(Half* to, V a) { StoreLanes<kLanes>(a.v, to); }
  static void Store(BFloat16* to, V a) { StoreLanes<kLanes>(a.v, to); }

  static V Add(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
  static V Sub(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
  static V Mul(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static V Div(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
  static V Fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  // Both give b where a lane of it is a NaN.
  static V Max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
  static V Min(V a, V b) { return {_mm512_min_ps(a.v, b.v)}; }
  static V Round(V a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  // a * 2^n for whole n.
  static V TimesPowerOf2(V a, V n) { return {_mm512_scalef_ps(a.v, n.v)}; }
  // a where not x < limit, else 0.
  static V ZeroWhereLess(V x, V limit, V a) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_NLT_UQ), a.v)};
  }
  // a in the lanes [begin, end), both within 0 and kLanes, else fill.
  static V KeepLanes(V a, int begin, int end, V fill) {
    const uint32_t below_end = end >= kLanes ? 0xffffu : (1u << end) - 1;
    const uint32_t below_begin = begin <= 0 ? 0u : (1u << begin) - 1;
    return {_mm512_mask_mov_ps(fill.v, static_cast<__mmask16>(below_end & ~below_begin), a.v)};
  }
  static float First(V a) { return _mm512_cvtss_f32(a.v); }
  static float LargestLane(V a) { return _mm512_reduce_max_ps(a.v); }
  // The tree of all sums over lanes: i + (i + 8), then i + (i + 4), i + (i + 2), i + (i + 1).
  static float SumLanes(V a) {
    const __m512 by8 = _mm512_add_ps(a.v, _mm512_shuffle_f32x4(a.v, a.v, 0x4e));
    const __m512 by4 = _mm512_add_ps(by8, _mm512_shuffle_f32x4(by8, by8, 0xb1));
    const __m512 by2 = _mm512_add_ps(by4, _mm512_permute_ps(by4, 0x4e));
    return _mm512_cvtss_f32(_mm512_add_ps(by2, _mm512_permute_ps(by2, 0xb1)));
  }
  // The first two levels of that tree for four vectors: four lanes each.
  static V SumToQuarters(V a, V b, V c, V d) {
    const __m512 ab = AddHalves(a.v, b.v);
    const __m512 cd = AddHalves(c.v, d.v);
    return {_mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd))};
  }
  // The last two levels for what four SumToQuarters made; sums in the order of the sixteen vectors.
  static V SumQuarters(V a, V b, V c, V d) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512 ab = AddPairs(a.v, b.v);
    const __m512 cd = AddPairs(c.v, d.v);
    const __m512 sums =
        _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xdd));
    return {_mm512_permutexvar_ps(order, sums)};
  }
  // Sixteen vectors as rows become columns.
  static void Transpose(V* rows) {
    __m512 pairs[16];
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
      pairs[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
    }
    __m512 fours[4][4];  // [k][i]: elements k, k + 4, ... of rows 4 i to 4 i + 3
    for (int i = 0; i < 4; ++i) {
      for (int odd = 0; odd < 2; ++odd) {
        const __m512d a = _mm512_castps_pd(pairs[4 * i + odd]);
        const __m512d b = _mm512_castps_pd(pairs[4 * i + odd + 2]);
        fours[2 * odd][i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        fours[2 * odd + 1][i] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
      }
    }
    for (int k = 0; k < 4; ++k) {
      const __m512* f = fours[k];
      const __m512 even_lo = _mm512_shuffle_f32x4(f[0], f[1], 0x88);
      const __m512 odd_lo = _mm512_shuffle_f32x4(f[0], f[1], 0xdd);
      const __m512 even_hi = _mm512_shuffle_f32x4(f[2], f[3], 0x88);
      const __m512 odd_hi = _mm512_shuffle_f32x4(f[2], f[3], 0xdd);
      rows[k].v = _mm512_shuffle_f32x4(even_lo, even_hi, 0x88);
      rows[k + 4].v = _mm512_shuffle_f32x4(odd_lo, odd_hi, 0x88);
      rows[k + 8].v = _mm512_shuffle_f32x4(even_lo, even_hi, 0xdd);
      rows[k + 12].v = _mm512_shuffle_f32x4(odd_lo, odd_hi, 0xdd);
    }
  }

 private:
  template <class T>
  static __m256i LoadBits(const T* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  // The f16 that is 2^-8 times the f8e4m3 in the low half of each word: exponents lie 8 apart.
  static __m256i Float8ToHalfBits(__m256i words) {
    const __m256i magnitude = _mm256_and_si256(words, _mm256_set1_epi16(0x7f));
    const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(_mm256_set1_epi16(0x7f), words), 8);
    const __m256i number = _mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign);
    return _mm256_or_si256(number, _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
  }
  static __m512 AddHalves(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  static __m512 AddPairs(__m512 a, __m512 b) {
    const __m512d x = _mm512_castps_pd(a);
    const __m512d y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  }
};

}  // namespace

Kernels Avx512Kernels() {
  return KernelsOf<Avx512Vector>();
}

}  // namespace quire::ops::attention::cpu
QUIRE_END_TARGET

#endif
