// Attention for AVX2 with FMA and F16C: two registers per vector, the same bits as AVX-512.
#include "ops/attention/cpu/cpu_key_rows.h"
#include "ops/attention/cpu/cpu_schedule.h"
#include "ops/lanes.h"
#include "platform/cpu/isa_targets.h"
#include "tensor/element.h"

#if QUIRE_HAVE_X86

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

QUIRE_BEGIN_AVX2
#include "ops/attention/cpu/cpu_kernel.h"

namespace quire::ops::attention::cpu {

namespace {

struct Avx2Vector {
  static constexpr int kRegisters = 8;
  using V = Avx2Vector;
  __m256 lo;
  __m256 hi;

  static V Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static V Broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static V Load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static V Load(const Half* from) {
    return {_mm256_cvtph_ps(LoadBits(from)), _mm256_cvtph_ps(LoadBits(from + 8))};
  }
  static V Load(const BFloat16* from) { return {Widen(LoadBits(from)), Widen(LoadBits(from + 8))}; }
  static V Load(const Float8* from) {
    const __m256i half = Float8ToHalfBits(_mm256_cvtepu8_epi16(LoadBits(from)));
    const __m256 rebias = _mm256_set1_ps(0x1p8f);
    return {_mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(half)), rebias),
            _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(half, 1)), rebias)};
  }
  static void Store(Half* to, V a) { StoreHalves(to, a); }
  static void Store(BFloat16* to, V a) { StoreHalves(to, a); }
  static void Store(float* to, V a) {
    _mm256_storeu_ps(to, a.lo);
    _mm256_storeu_ps(to + 8, a.hi);
  }

  static V Add(V a, V b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static V Sub(V a, V b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static V Mul(V a, V b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static V Div(V a, V b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static V Fma(V a, V b, V c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  // Both give b where a lane of it is a NaN.
  static V Max(V a, V b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static V Min(V a, V b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static V Round(V a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.lo, kNearest), _mm256_round_ps(a.hi, kNearest)};
  }
  // a * 2^n for whole n; right where the result is normal.
  static V TimesPowerOf2(V a, V n) { return {AddExponent(a.lo, n.lo), AddExponent(a.hi, n.hi)}; }
  // a where not x < limit, else 0.
  static V ZeroWhereLess(V x, V limit, V a) {
    return {_mm256_and_ps(_mm256_cmp_ps(x.lo, limit.lo, _CMP_NLT_UQ), a.lo),
            _mm256_and_ps(_mm256_cmp_ps(x.hi, limit.hi, _CMP_NLT_UQ), a.hi)};
  }
  // a in the lanes [begin, end), else fill.
  static V KeepLanes(V a, int begin, int end, V fill) {
    return {KeepHalf(a.lo, begin, end, fill.lo), KeepHalf(a.hi, begin - 8, end - 8, fill.hi)};
  }
  static float First(V a) { return _mm256_cvtss_f32(a.lo); }
  static float LargestLane(V a) {
    const __m256 by8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    const __m128 by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
  }
  // The tree of all sums over lanes: i + (i + 8), then i + (i + 4), i + (i + 2), i + (i + 1).
  static float SumLanes(V a) {
    const __m256 by8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
    const __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
  }
  // The first two levels of that tree for four vectors: four lanes each.
  static V SumToQuarters(V a, V b, V c, V d) {
    return {AddHalves(_mm256_add_ps(a.lo, a.hi), _mm256_add_ps(b.lo, b.hi)),
            AddHalves(_mm256_add_ps(c.lo, c.hi), _mm256_add_ps(d.lo, d.hi))};
  }
  // The last two levels for what four SumToQuarters made; sums in the order of the sixteen vectors.
  static V SumQuarters(V a, V b, V c, V d) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 lo = AddEven(AddPairs(a.lo, b.lo), AddPairs(c.lo, d.lo));
    const __m256 hi = AddEven(AddPairs(a.hi, b.hi), AddPairs(c.hi, d.hi));
    return {_mm256_permutevar8x32_ps(_mm256_unpacklo_ps(lo, hi), order),
            _mm256_permutevar8x32_ps(_mm256_unpackhi_ps(lo, hi), order)};
  }
  // Sixteen vectors as rows become columns.
  static void Transpose(V* rows) {
    __m256 blocks[2][2][8];  // [half of the columns][half of the rows]
    for (int i = 0; i < 8; ++i) {
      for (int half = 0; half < 2; ++half) {
        blocks[0][half][i] = rows[8 * half + i].lo;
        blocks[1][half][i] = rows[8 * half + i].hi;
      }
    }
    for (int half = 0; half < 2; ++half) {
      Transpose8(blocks[half][0]);
      Transpose8(blocks[half][1]);
      for (int i = 0; i < 8; ++i) {
        rows[8 * half + i] = {blocks[half][0][i], blocks[half][1][i]};
      }
    }
  }

 private:
  static void Transpose8(__m256* rows) {
    __m256 pairs[8];
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int k = 0; k < 4; ++k) {
      const int in_four = k % 2 == 0 ? 0x44 : 0xee;
      const __m256 a = Halves(pairs[k / 2], pairs[k / 2 + 2], in_four);
      const __m256 b = Halves(pairs[k / 2 + 4], pairs[k / 2 + 6], in_four);
      rows[k] = _mm256_permute2f128_ps(a, b, 0x20);
      rows[k + 4] = _mm256_permute2f128_ps(a, b, 0x31);
    }
  }
  // The low (0x44) or the high (0xee) pairs of a and b in each half.
  static __m256 Halves(__m256 a, __m256 b, int which) {
    return which == 0x44 ? _mm256_shuffle_ps(a, b, 0x44) : _mm256_shuffle_ps(a, b, 0xee);
  }
  template <class T>
  static __m128i LoadBits(const T* from) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  }
  template <class T>
  static void StoreHalves(T* to, V a) {
    StoreLanes<kLanes / 2>(a.lo, to);
    StoreLanes<kLanes / 2>(a.hi, to + kLanes / 2);
  }
  // The f16 that is 2^-8 times the f8e4m3 in the low half of each word: exponents lie 8 apart.
  static __m256i Float8ToHalfBits(__m256i words) {
    const __m256i magnitude = _mm256_and_si256(words, _mm256_set1_epi16(0x7f));
    const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
    const __m256i sign = _mm256_slli_epi16(_mm256_andnot_si256(_mm256_set1_epi16(0x7f), words), 8);
    const __m256i number = _mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign);
    return _mm256_or_si256(number, _mm256_and_si256(nan, _mm256_set1_epi16(0x7e00)));
  }
  static __m256 Widen(__m128i bits) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static __m256 AddExponent(__m256 a, __m256 n) {
    const __m256i shifted = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), shifted));
  }
  static __m256 KeepHalf(__m256 a, int begin, int end, __m256 fill) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i outside = _mm256_or_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                                            _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(end - 1)));
    return _mm256_blendv_ps(a, fill, _mm256_castsi256_ps(outside));
  }
  static __m256 AddHalves(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
  static __m256 AddPairs(__m256 a, __m256 b) {
    const __m256d x = _mm256_castps_pd(a);
    const __m256d y = _mm256_castps_pd(b);
    return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)),
                         _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
  }
  static __m256 AddEven(__m256 ab, __m256 cd) {
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd));
  }
};

}  // namespace

Kernels Avx2Kernels() {
  return KernelsOf<Avx2Vector>();
}

}  // namespace quire::ops::attention::cpu
QUIRE_END_TARGET

#endif
