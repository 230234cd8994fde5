// The panel kernels for AVX2: a panel is two halves of 8 output features, a tile is taken 4 rows at
// a time.
#include "ops/linear/cpu/cpu_kernels.h"
#include "ops/linear/cpu/row_codes.h"
#include "platform/cpu/isa_targets.h"

#if QUIRE_HAVE_X86

QUIRE_BEGIN_AVX2

namespace quire::ops::linear {

namespace {

constexpr int kHalfWidth = 8;  // output features of a register

inline __m256i BroadcastI32(const void* p) {
  int32_t value;
  __builtin_memcpy(&value, p, sizeof(value));
  return _mm256_set1_epi32(value);
}

inline __m256 BroadcastF32(const void* p) {
  float value;
  __builtin_memcpy(&value, p, sizeof(value));
  return _mm256_set1_ps(value);
}

inline __m256i LoadBytes(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// 8 scales, mins or dense elements of half `half` of a panel.
template <bool kHalfPrecision>
inline __m256 LoadScales(const uint8_t* p, int half) {
  if constexpr (kHalfPrecision) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * half)));
  } else {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p + 32 * half));
  }
}

template <PanelKind kKind>
inline __m256 LoadDense(const uint8_t* p, int half) {
  if constexpr (kKind == PanelKind::kBF16) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * half));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  } else {
    return LoadScales < kKind == PanelKind::kF16 > (p, half);
  }
}

// f8e4m3 from the low bytes of words that are 0 otherwise.
inline __m256 F8ToFloat(__m256i bytes) {
  const __m256i magnitude = _mm256_and_si256(bytes, _mm256_set1_epi32(0x7f));
  const __m256i normal =
      _mm256_add_epi32(_mm256_slli_epi32(magnitude, 20), _mm256_set1_epi32(120 << 23));
  const __m256 subnormal = _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), _mm256_set1_ps(0x1p-9f));
  const __m256i is_normal = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(7));
  const __m256i is_nan = _mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f));
  __m256i bits = _mm256_blendv_epi8(_mm256_castps_si256(subnormal), normal, is_normal);
  bits = _mm256_or_si256(bits, _mm256_and_si256(is_nan, _mm256_set1_epi32(0x7fc00000)));
  const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(bytes, 7), 31);
  return _mm256_castsi256_ps(_mm256_or_si256(bits, sign));
}

void StoreRow(__m256 acc, const TileProduct& p, int r, int half) {
  float values[kHalfWidth];
  _mm256_storeu_ps(values, acc);
  float* out = p.out + r * p.out_stride + kHalfWidth * half;
  for (int c = 0; c < kHalfWidth && c + kHalfWidth * half < p.columns; ++c) {
    float value = values[c];
    if (p.bias != nullptr) {
      value += p.bias[c + kHalfWidth * half];
    }
    out[c] = p.accumulate ? out[c] + value : value;
  }
}

// 4-bit codes: pairs of products sum up to 3810, so eight steps fit 16 bits.
template <int kTile, int kRows>
inline void DotNibbles(const uint8_t* w, const uint8_t* x, __m256i (&dot)[kRows]) {
  const __m256i low_nibbles = _mm256_set1_epi8(0x0f);
  __m256i sums[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    sums[r] = _mm256_setzero_si256();
  }
  QUIRE_UNROLL
  for (int j = 0; j < 4; ++j) {
    const __m256i pairs = LoadBytes(w + 64 * j);
    const __m256i low = _mm256_and_si256(pairs, low_nibbles);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), low_nibbles);
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m256i a = BroadcastI32(x + (j * kTile + r) * 4);
      const __m256i b = BroadcastI32(x + ((j + 4) * kTile + r) * 4);
      sums[r] = _mm256_add_epi16(
          sums[r], _mm256_add_epi16(_mm256_maddubs_epi16(low, a), _mm256_maddubs_epi16(high, b)));
    }
  }
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(sums[r], _mm256_set1_epi16(1)));
  }
}

// 8-bit codes: as (code - 128) = sign * magnitude with the sign moved to the activation, pairs of
// products stay below 2 * 128 * 127 and the 16-bit sums are exact.
template <int kTile, int kRows>
inline void DotBytes(const uint8_t* w, const uint8_t* x, int64_t begin, int64_t end,
                     __m256i (&dot)[kRows]) {
  for (int64_t j = begin; j < end; ++j) {
    const __m256i centred = _mm256_xor_si256(LoadBytes(w + 64 * j), _mm256_set1_epi8(-128));
    const __m256i size = _mm256_abs_epi8(centred);
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m256i a = _mm256_sign_epi8(BroadcastI32(x + (j * kTile + r) * 4), centred);
      const __m256i pairs = _mm256_maddubs_epi16(size, a);
      dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
  }
}

// Rows [first, first + kRows) of a tile of kTile rows, 8 output features.
template <PanelKind kKind, int kTile, int kRows>
void QuantizedRows(const TileProduct& p, int first, int half) {
  constexpr PanelFormat kFormat = FormatOf(kKind);
  __m256 acc[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    acc[r] = _mm256_setzero_ps();
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile + 4 * first;
  const int32_t* offsets = p.offsets + first;
  for (int64_t g = 0; g < p.groups; ++g) {
    const uint8_t* parameters = w + kFormat.CodeBytes();
    for (int s = 0; s < kFormat.subgroups; ++s, parameters += kFormat.ScaleBytes()) {
      __m256i dot[kRows];
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        if constexpr (kFormat.bits == 4) {
          dot[r] = kFormat.has_min ? _mm256_setzero_si256() : BroadcastI32(offsets + r);
        } else {  // centred codes already have offset 128; codes with mins want it back
          dot[r] = kFormat.has_min ? _mm256_sub_epi32(_mm256_setzero_si256(),
                                                      BroadcastI32(offsets + 3 * kTile + r))
                                   : _mm256_setzero_si256();
        }
      }
      if constexpr (kFormat.bits == 4) {
        DotNibbles<kTile, kRows>(w + 32 * half, x, dot);
      } else {
        constexpr int kSteps = 8 / kFormat.subgroups;
        DotBytes<kTile, kRows>(w + 32 * half, x, s * kSteps, (s + 1) * kSteps, dot);
      }
      const __m256 scales = LoadScales<kFormat.half_scales>(parameters, half);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m256 scale = _mm256_mul_ps(scales, BroadcastF32(x + (8 * kTile + r) * 4));
        acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r]), scale, acc[r]);
      }
    }
    if constexpr (kFormat.has_min) {
      __m256 mins = LoadScales<kFormat.half_scales>(parameters, half);
      if constexpr (kKind == PanelKind::kU4Zero) {
        mins = _mm256_mul_ps(mins, LoadScales<kFormat.half_scales>(w + kFormat.CodeBytes(), half));
      }
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        acc[r] = _mm256_fmadd_ps(mins, BroadcastF32(x + (9 * kTile + r) * 4), acc[r]);
      }
    }
    w += kFormat.GroupBytes();
    x += kTileWordsPerRow * kTile * 4;
    offsets += kOffsetWordsPerRow * kTile;
  }
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    StoreRow(acc[r], p, first + r, half);
  }
}

// As QuantizedRows, both halves of the panel at once.
template <PanelKind kKind, int kTile, int kRows>
void DenseRows(const TileProduct& p, int first) {
  __m256 acc[2][kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    acc[0][r] = _mm256_setzero_ps();
    acc[1][r] = _mm256_setzero_ps();
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile + 4 * first;
  for (int64_t g = 0; g < p.groups; ++g) {
    const __m256 left = LoadDense<kKind>(w, 0);
    const __m256 right = LoadDense<kKind>(w, 1);
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m256 a = BroadcastF32(x + r * 4);
      acc[0][r] = _mm256_fmadd_ps(left, a, acc[0][r]);
      acc[1][r] = _mm256_fmadd_ps(right, a, acc[1][r]);
    }
    w += FormatOf(kKind).GroupBytes();
    x += kTile * 4;
  }
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    StoreRow(acc[0][r], p, first + r, 0);
    StoreRow(acc[1][r], p, first + r, 1);
  }
}

// The elements of a group of two input features as 8 words of 16 bits each, f8e4m3 or bf16, of half
// `half` of a panel.
template <PanelKind kKind>
inline void LoadPair(const uint8_t* p, int half, __m256& even, __m256& odd) {
  if constexpr (FormatOf(kKind).bits == 8) {
    const __m256i wide =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * half)));
    even = F8ToFloat(_mm256_and_si256(wide, _mm256_set1_epi32(0xff)));
    odd = F8ToFloat(_mm256_srli_epi32(wide, 16));
  } else {
    const __m256i bits = LoadBytes(p + 32 * half);
    even = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
    odd = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(-65536)));
  }
}

// Groups of two input features; each block of groups has a scale, or there is none. `first` and
// `half` as in QuantizedRows.
template <PanelKind kKind, int kTile, int kRows>
void PairRows(const TileProduct& p, int first, int half) {
  constexpr bool kScaled = FormatOf(kKind).bits == 8;
  __m256 acc[kRows];
  __m256 sum[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    acc[r] = _mm256_setzero_ps();
    sum[r] = _mm256_setzero_ps();
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile + 4 * first;
  const float* scales = p.scales + kHalfWidth * half;
  const int64_t block_steps = kScaled ? p.scale_steps : p.groups;
  for (int64_t begin = 0; begin < p.groups; begin += block_steps, scales += kPanelWidth) {
    const int64_t end = begin + block_steps < p.groups ? begin + block_steps : p.groups;
    for (int64_t g = begin; g < end; ++g) {
      __m256 even;
      __m256 odd;
      LoadPair<kKind>(w, half, even, odd);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        acc[r] = _mm256_fmadd_ps(even, BroadcastF32(x + r * 4), acc[r]);
        acc[r] = _mm256_fmadd_ps(odd, BroadcastF32(x + (kTile + r) * 4), acc[r]);
      }
      w += FormatOf(kKind).GroupBytes();
      x += 2 * kTile * 4;
    }
    if constexpr (kScaled) {
      const __m256 scale = _mm256_loadu_ps(scales);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sum[r] = _mm256_fmadd_ps(acc[r], scale, sum[r]);
        acc[r] = _mm256_setzero_ps();
      }
    }
  }
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    StoreRow(kScaled ? sum[r] : acc[r], p, first + r, half);
  }
}

// Integer products of whole rows; `first` and `half` as in QuantizedRows.
template <int kTile, int kRows>
void ByteRows(const TileProduct& p, int first, int half) {
  __m256i dot[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    dot[r] = _mm256_setzero_si256();
  }
  DotBytes<kTile, kRows>(p.panel + 32 * half, p.tile + 4 * first, 0, p.groups, dot);
  const __m256 scales = _mm256_loadu_ps(p.scales + kHalfWidth * half);
  const uint8_t* row_scales = p.tile + (p.groups * kTile + first) * 4;
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m256 scale = _mm256_mul_ps(scales, BroadcastF32(row_scales + r * 4));
    StoreRow(_mm256_mul_ps(_mm256_cvtepi32_ps(dot[r]), scale), p, first + r, half);
  }
}

template <PanelKind kKind, int kTile, int kRows>
void HalfPanel(const TileProduct& p, int first, int half) {
  if constexpr (!FormatOf(kKind).IsPlain()) {
    QuantizedRows<kKind, kTile, kRows>(p, first, half);
  } else if constexpr (kKind == PanelKind::kI8) {
    ByteRows<kTile, kRows>(p, first, half);
  } else {
    PairRows<kKind, kTile, kRows>(p, first, half);
  }
}

template <PanelKind kKind, int kTile>
void Product(const TileProduct& p) {
  constexpr int kRows = kTile < 4 ? kTile : 4;
  for (int first = 0; first < kTile; first += kRows) {
    if constexpr (FormatOf(kKind).depth == 1) {
      DenseRows<kKind, kTile, kRows>(p, first);
    } else {
      HalfPanel<kKind, kTile, kRows>(p, first, 0);
      HalfPanel<kKind, kTile, kRows>(p, first, 1);
    }
  }
}

template <PanelKind kKind, int kTile>
struct Kernel {
  static void Run(const TileProduct& product) {
    if constexpr (PanelsPerProduct(kKind) == 1) {
      Product<kKind, kTile>(product);
    } else {
      for (int panel = 0; panel < product.panels; ++panel) {
        Product<kKind, kTile>(FromPanel(product, panel));
      }
    }
  }
};

RowScale QuantizeRowAvx2(const float* x, int64_t k, int8_t* codes) {
  return QuantizeRow<kAvx2Lanes>(x, k, codes);
}

inline __m256i Magnitude(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}

inline int32_t SumOf(__m256i x) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

inline uint32_t MaxOf(__m256i x) {
  __m128i s = _mm_max_epu32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_max_epu32(s, _mm_shuffle_epi32(s, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(s));
}

void QuantizeAvx2(const float* x, int64_t stride, int64_t groups, int rows,
                  const QuantizedTile& tile) {
  // Undoes the interleaving of the 128-bit lanes by the two packs.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int r = 0; r < rows; ++r) {
    const float* in = x + r * stride;
    for (int64_t g = 0; g < groups; ++g, in += kGroup) {
      __m256 values[4];
      __m256i max = _mm256_setzero_si256();
      for (int i = 0; i < 4; ++i) {
        values[i] = _mm256_loadu_ps(in + 8 * i);
        max = _mm256_max_epu32(max, Magnitude(values[i]));
      }
      const GroupScale scale = ScaleOf(MaxOf(max));
      // With a zero inverse the codes are zero even where the product is a NaN.
      const __m256i keep = _mm256_set1_epi32(scale.inverse == 0.0f ? 0 : -1);
      __m256i codes[4];
      for (int i = 0; i < 4; ++i) {
        const __m256 scaled = _mm256_mul_ps(values[i], _mm256_set1_ps(scale.inverse));
        codes[i] = _mm256_and_si256(_mm256_cvtps_epi32(scaled), keep);
      }
      const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]),
                                               _mm256_packs_epi32(codes[2], codes[3]));
      int8_t packed[kGroup];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed),
                          _mm256_permutevar8x32_epi32(bytes, order));
      StoreGroup(packed, scale.scale, SumOf(_mm256_add_epi32(codes[0], codes[1])),
                 SumOf(_mm256_add_epi32(codes[2], codes[3])), g, rows, r, tile);
    }
  }
}

}  // namespace

const KernelSet kAvx2Kernels = {CpuIsa::kAvx2, false, QuantizeAvx2, QuantizeRowAvx2,
                                TableOf<Kernel>()};

}  // namespace quire::ops::linear

QUIRE_END_TARGET

#endif  // QUIRE_HAVE_X86
