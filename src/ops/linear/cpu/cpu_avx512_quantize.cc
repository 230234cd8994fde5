// Quantization of activations for AVX-512: four rows side by side where a tile has as many, so that
// their scales, sums and stores are vectors too.
#include "ops/linear/cpu/cpu_kernels.h"
#include "ops/linear/cpu/row_codes.h"
#include "platform/cpu/isa_targets.h"

#if QUIRE_HAVE_X86

QUIRE_BEGIN_AVX512

namespace quire::ops::linear {

namespace {

constexpr int kQuad = 4;  // rows

// The larger of each lane and the other half's.
inline __m128i MaxOfQuarters(__m512i v) {
  const __m256i halves =
      _mm256_max_epu32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  return _mm_max_epu32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
}

// Lane r: the largest of max[r].
inline __m128i MaxOfRows(const __m128i (&max)[kQuad]) {
  const __m128i low =
      _mm_max_epu32(_mm_unpacklo_epi32(max[0], max[1]), _mm_unpackhi_epi32(max[0], max[1]));
  const __m128i high =
      _mm_max_epu32(_mm_unpacklo_epi32(max[2], max[3]), _mm_unpackhi_epi32(max[2], max[3]));
  return _mm_max_epu32(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));
}

// Lane r: the sum of the 16 codes of row r.
inline __m128i SumOfRows(const __m128i (&codes)[kQuad]) {
  const __m128i ones = _mm_set1_epi8(1);
  __m128i sums[kQuad];
  QUIRE_UNROLL
  for (int r = 0; r < kQuad; ++r) {
    sums[r] = _mm_dpbusd_epi32(_mm_setzero_si128(), ones, codes[r]);
  }
  return _mm_hadd_epi32(_mm_hadd_epi32(sums[0], sums[1]), _mm_hadd_epi32(sums[2], sums[3]));
}

// Word j of each row's codes to words + j * rows.
inline void StoreWords(const __m128i (&codes)[kQuad], int rows, int32_t* words) {
  const __m128i low01 = _mm_unpacklo_epi32(codes[0], codes[1]);
  const __m128i low23 = _mm_unpacklo_epi32(codes[2], codes[3]);
  const __m128i high01 = _mm_unpackhi_epi32(codes[0], codes[1]);
  const __m128i high23 = _mm_unpackhi_epi32(codes[2], codes[3]);
  const __m128i columns[4] = {_mm_unpacklo_epi64(low01, low23), _mm_unpackhi_epi64(low01, low23),
                              _mm_unpacklo_epi64(high01, high23),
                              _mm_unpackhi_epi64(high01, high23)};
  QUIRE_UNROLL
  for (int j = 0; j < 4; ++j) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words + j * rows), columns[j]);
  }
}

struct QuadScale {
  __m128 scale;
  __m128 inverse;
};

// ScaleOf() of each lane.
inline QuadScale ScalesOf(__m128i max_bits) {
  const __m128 max = _mm_castsi128_ps(max_bits);
  const __mmask8 finite = _mm_cmplt_epu32_mask(max_bits, _mm_set1_epi32(0x7f800000));
  const __mmask8 large = _mm_cmp_ps_mask(max, _mm_set1_ps(0x1p-100f), _CMP_NLT_UQ);
  const __m128 limit = _mm_set1_ps(127.0f);
  const __m128 scale = _mm_maskz_div_ps(large, max, limit);
  return {_mm_mask_mov_ps(_mm_set1_ps(std::numeric_limits<float>::quiet_NaN()), finite, scale),
          _mm_maskz_div_ps(static_cast<__mmask8>(finite & large), limit, max)};
}

inline void StoreQuad(__m128i v, void* to) {
  _mm_storeu_si128(static_cast<__m128i*>(to), v);
}

// One group of four rows of a tile of `rows` rows, to where the first of them has its words and
// offsets.
inline void QuantizeQuad(const float* x, int64_t stride, int rows, int32_t* words,
                         int32_t* offsets) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  __m512 low[kQuad];
  __m512 high[kQuad];
  __m128i max[kQuad];
  QUIRE_UNROLL
  for (int r = 0; r < kQuad; ++r) {
    low[r] = _mm512_loadu_ps(x + r * stride);
    high[r] = _mm512_loadu_ps(x + r * stride + 16);
    max[r] =
        MaxOfQuarters(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low[r]), magnitude),
                                       _mm512_and_si512(_mm512_castps_si512(high[r]), magnitude)));
  }
  const QuadScale scale = ScalesOf(MaxOfRows(max));
  alignas(16) float inverses[kQuad];
  _mm_store_ps(inverses, scale.inverse);
  __m128i low_codes[kQuad];
  __m128i high_codes[kQuad];
  QUIRE_UNROLL
  for (int r = 0; r < kQuad; ++r) {
    // With a zero inverse the codes are zero even where the product is a NaN.
    const __mmask16 keep = inverses[r] == 0.0f ? 0 : 0xffff;
    const __m512 inverse = _mm512_set1_ps(inverses[r]);
    low_codes[r] =
        _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(low[r], inverse)));
    high_codes[r] =
        _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(high[r], inverse)));
  }
  StoreWords(low_codes, rows, words);
  StoreWords(high_codes, rows, words + 4 * rows);
  const __m128i low_sum = SumOfRows(low_codes);
  const __m128i high_sum = SumOfRows(high_codes);
  const __m128i sum = _mm_add_epi32(low_sum, high_sum);
  const __m128 scaled_sum = _mm_mul_ps(scale.scale, _mm_cvtepi32_ps(sum));
  StoreQuad(_mm_castps_si128(scale.scale), words + 8 * rows);
  StoreQuad(_mm_castps_si128(scaled_sum), words + 9 * rows);
  const __m128i zero = _mm_setzero_si128();
  StoreQuad(_mm_sub_epi32(zero, _mm_slli_epi32(sum, 3)), offsets);
  StoreQuad(_mm_sub_epi32(zero, _mm_slli_epi32(low_sum, 7)), offsets + rows);
  StoreQuad(_mm_sub_epi32(zero, _mm_slli_epi32(high_sum, 7)), offsets + 2 * rows);
  StoreQuad(_mm_sub_epi32(zero, _mm_slli_epi32(sum, 7)), offsets + 3 * rows);
}

// One group of row `r` of a tile of `rows` rows.
inline void QuantizeGroup(const float* x, int64_t group, int rows, int r,
                          const QuantizedTile& tile) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512 low = _mm512_loadu_ps(x);
  const __m512 high = _mm512_loadu_ps(x + 16);
  const __m512i max = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitude),
                                       _mm512_and_si512(_mm512_castps_si512(high), magnitude));
  const GroupScale scale = ScaleOf(_mm512_reduce_max_epu32(max));
  const __mmask16 keep = scale.inverse == 0.0f ? 0 : 0xffff;  // as in QuantizeQuad()
  const __m512 inverse = _mm512_set1_ps(scale.inverse);
  const __m512i low_codes = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(low, inverse));
  const __m512i high_codes = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(high, inverse));
  alignas(32) int8_t codes[kGroup];
  _mm_store_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(low_codes));
  _mm_store_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtepi32_epi8(high_codes));
  StoreGroup(codes, scale.scale, _mm512_reduce_add_epi32(low_codes),
             _mm512_reduce_add_epi32(high_codes), group, rows, r, tile);
}

}  // namespace

RowScale QuantizeRowAvx512(const float* x, int64_t k, int8_t* codes) {
  return QuantizeRow<kAvx512Lanes>(x, k, codes);
}

void QuantizeAvx512(const float* x, int64_t stride, int64_t groups, int rows,
                    const QuantizedTile& tile) {
  auto* words = reinterpret_cast<int32_t*>(tile.words);
  for (int64_t g = 0; g < groups; ++g) {
    int r = 0;
    for (; rows % kQuad == 0 && r < rows; r += kQuad) {
      QuantizeQuad(x + r * stride + g * kGroup, stride, rows,
                   words + g * kTileWordsPerRow * rows + r,
                   tile.offsets + g * kOffsetWordsPerRow * rows + r);
    }
    for (; r < rows; ++r) {
      QuantizeGroup(x + r * stride + g * kGroup, g, rows, r, tile);
    }
  }
}

}  // namespace quire::ops::linear

QUIRE_END_TARGET

#endif  // QUIRE_HAVE_X86
