// What the AVX-512 kernels of linear share. Included inside a region of that set (isa_targets.h),
// after all other headers.
#pragma once

#include "ops/linear/cpu/panel_product.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::linear {

namespace {

inline __m512i BroadcastI32(const void* p) {
  int32_t value;
  __builtin_memcpy(&value, p, sizeof(value));
  return _mm512_set1_epi32(value);
}

inline __m512 BroadcastF32(const void* p) {
  float value;
  __builtin_memcpy(&value, p, sizeof(value));
  return _mm512_set1_ps(value);
}

template <bool kHalf>
inline __m512 LoadScales(const uint8_t* p) {
  if constexpr (kHalf) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  } else {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(p));
  }
}

template <PanelKind kKind>
inline __m512 LoadDense(const uint8_t* p) {
  if constexpr (kKind == PanelKind::kBF16) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  } else {
    return LoadScales < kKind == PanelKind::kF16 > (p);
  }
}

// 32 elements of f8e4m3 as bf16, which holds them exactly, in their order.
inline __m512i WidenF8(const uint8_t* p) {
  // k * 2^-9 for k < 8: the subnormals.
  const __m512i subnormals = _mm512_castsi128_si512(
      _mm_setr_epi16(0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
  const __m512i wide =
      _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  const __m512i magnitude = _mm512_and_si512(wide, _mm512_set1_epi16(0x7f));
  __m512i bits = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
  bits = _mm512_mask_permutexvar_epi16(
      bits, _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(8)), magnitude, subnormals);
  const __mmask32 nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7f));
  bits = _mm512_mask_mov_epi16(bits, nan, _mm512_set1_epi16(0x7fc0));
  const __m512i sign = _mm512_and_si512(wide, _mm512_set1_epi16(0x80));
  return _mm512_or_si512(bits, _mm512_slli_epi16(sign, 8));
}

// The sums of rows [first_row, first_row + kRows) with the features of one panel of `p`.
template <int kRows>
inline void StoreTile(const __m512 (&acc)[kRows], const TileProduct& p, int panel = 0,
                      int first_row = 0) {
  const int first = panel * kPanelWidth;
  const int columns = p.columns - first;
  const auto mask = static_cast<__mmask16>(columns >= kPanelWidth ? 0xffff : (1u << columns) - 1);
  const bool has_bias = p.bias != nullptr;
  const __m512 bias = has_bias ? _mm512_maskz_loadu_ps(mask, p.bias + first) : _mm512_setzero_ps();
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* out = p.out + (first_row + r) * p.out_stride + first;
    __m512 value = acc[r];
    if (has_bias) {
      value = _mm512_add_ps(value, bias);
    }
    if (p.accumulate) {
      value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), value);
    }
    _mm512_mask_storeu_ps(out, mask, value);
  }
}

}  // namespace

}  // namespace quire::ops::linear
