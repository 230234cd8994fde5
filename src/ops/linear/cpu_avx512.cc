// The panel kernels for AVX-512 with VNNI: one register holds 16 output features, a tile's rows
// take one integer and one fp32 accumulator each.
#include "ops/linear/cpu_kernels.h"
#include "platform/cpu/isa_targets.h"

#if QUIRE_HAVE_X86

#if defined(__clang__)
#define QUIRE_UNROLL _Pragma("unroll")
#else
#define QUIRE_UNROLL _Pragma("GCC unroll 16")
#endif

QUIRE_BEGIN_AVX512

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

template <int kRows>
inline void StoreTile(const __m512 (&acc)[kRows], const TileProduct& p) {
  const auto mask = static_cast<__mmask16>((1u << p.columns) - 1);
  const bool has_bias = p.bias != nullptr;
  const __m512 bias = has_bias ? _mm512_maskz_loadu_ps(mask, p.bias) : _mm512_setzero_ps();
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* out = p.out + r * p.out_stride;
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

// The integer products of steps [kBegin, kEnd) of a group, added to dot.
template <PanelFormat kFormat, int kRows, int kBegin, int kEnd>
inline void AddSteps(const uint8_t* w, const uint8_t* x, __m512i (&dot)[kRows]) {
  if constexpr (kFormat.bits == 4) {
    const __m512i low_nibbles = _mm512_set1_epi8(0x0f);
    QUIRE_UNROLL
    for (int j = 0; j < 4; ++j) {
      const __m512i pairs = _mm512_loadu_si512(w + 64 * j);
      const __m512i low = _mm512_and_si512(pairs, low_nibbles);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(pairs, 4), low_nibbles);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        dot[r] = _mm512_dpbusd_epi32(dot[r], low, BroadcastI32(x + (j * kRows + r) * 4));
      }
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        dot[r] = _mm512_dpbusd_epi32(dot[r], high, BroadcastI32(x + ((j + 4) * kRows + r) * 4));
      }
    }
  } else {
    QUIRE_UNROLL
    for (int j = kBegin; j < kEnd; ++j) {
      const __m512i codes = _mm512_loadu_si512(w + 64 * j);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        dot[r] = _mm512_dpbusd_epi32(dot[r], codes, BroadcastI32(x + (j * kRows + r) * 4));
      }
    }
  }
}

// One subgroup: its integer products, scaled and added to acc.
template <PanelFormat kFormat, int kRows, int kSubgroup>
inline void AddSubgroup(const uint8_t* w, const uint8_t* x, const int32_t* offsets,
                        __m512 (&acc)[kRows]) {
  constexpr int kOffsetRow = kFormat.subgroups == 2 ? 1 + kSubgroup : kFormat.bits == 4 ? 0 : 3;
  constexpr int kSteps = 8 / kFormat.subgroups;
  __m512i dot[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    dot[r] =
        kFormat.has_min ? _mm512_setzero_si512() : BroadcastI32(offsets + kOffsetRow * kRows + r);
  }
  AddSteps<kFormat, kRows, kSubgroup * kSteps, (kSubgroup + 1) * kSteps>(w, x, dot);
  const __m512 scales =
      LoadScales<kFormat.half_scales>(w + kFormat.CodeBytes() + kSubgroup * kFormat.ScaleBytes());
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_mul_ps(scales, BroadcastF32(x + (8 * kRows + r) * 4));
    acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), scale, acc[r]);
  }
}

template <PanelKind kKind, int kRows>
void QuantizedRows(const TileProduct& p) {
  constexpr PanelFormat kFormat = FormatOf(kKind);
  __m512 acc[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    acc[r] = _mm512_setzero_ps();
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  const int32_t* offsets = p.offsets;
  for (int64_t g = 0; g < p.groups; ++g) {
    AddSubgroup<kFormat, kRows, 0>(w, x, offsets, acc);
    if constexpr (kFormat.subgroups == 2) {
      AddSubgroup<kFormat, kRows, 1>(w, x, offsets, acc);
    }
    if constexpr (kFormat.has_min) {
      const __m512 mins =
          LoadScales<kFormat.half_scales>(w + kFormat.CodeBytes() + kFormat.ScaleBytes());
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        acc[r] = _mm512_fmadd_ps(mins, BroadcastF32(x + (9 * kRows + r) * 4), acc[r]);
      }
    }
    w += kFormat.GroupBytes();
    x += kTileWordsPerRow * kRows * 4;
    offsets += kOffsetWordsPerRow * kRows;
  }
  StoreTile<kRows>(acc, p);
}

template <PanelKind kKind, int kRows>
void DenseRows(const TileProduct& p) {
  __m512 acc[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    acc[r] = _mm512_setzero_ps();
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  for (int64_t g = 0; g < p.groups; ++g) {
    const __m512 elements = LoadDense<kKind>(w);
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      acc[r] = _mm512_fmadd_ps(elements, BroadcastF32(x + r * 4), acc[r]);
    }
    w += FormatOf(kKind).GroupBytes();
    x += kRows * 4;
  }
  StoreTile<kRows>(acc, p);
}

template <PanelKind kKind, int kRows>
void Product(const TileProduct& p) {
  if constexpr (FormatOf(kKind).IsDense()) {
    DenseRows<kKind, kRows>(p);
  } else {
    QuantizedRows<kKind, kRows>(p);
  }
}

void QuantizeAvx512(const float* x, int64_t stride, int64_t groups, int rows,
                    const QuantizedTile& tile) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (int r = 0; r < rows; ++r) {
    const float* in = x + r * stride;
    for (int64_t g = 0; g < groups; ++g, in += kGroup) {
      const __m512 low = _mm512_loadu_ps(in);
      const __m512 high = _mm512_loadu_ps(in + 16);
      const __m512i max = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitude),
                                           _mm512_and_si512(_mm512_castps_si512(high), magnitude));
      const GroupScale scale = ScaleOf(_mm512_reduce_max_epu32(max));
      // With a zero inverse the codes are zero even where the product is a NaN.
      const __mmask16 keep = scale.inverse == 0.0f ? 0 : 0xffff;
      const __m512 inverse = _mm512_set1_ps(scale.inverse);
      const __m512i low_codes = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(low, inverse));
      const __m512i high_codes = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(high, inverse));
      alignas(32) int8_t codes[kGroup];
      _mm_store_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(low_codes));
      _mm_store_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtepi32_epi8(high_codes));
      StoreGroup(codes, scale.scale, _mm512_reduce_add_epi32(low_codes),
                 _mm512_reduce_add_epi32(high_codes), g, rows, r, tile);
    }
  }
}

template <PanelKind kKind>
constexpr std::array<TileKernel, kTileSizes> KernelsOf() {
  return {Product<kKind, 1>, Product<kKind, 2>, Product<kKind, 3>,
          Product<kKind, 4>, Product<kKind, 8>, Product<kKind, 12>};
}

}  // namespace

const KernelSet kAvx512VnniKernels = {
    QuantizeAvx512,
    {KernelsOf<PanelKind::kU4>(), KernelsOf<PanelKind::kU4Min>(), KernelsOf<PanelKind::kU4MinF32>(),
     KernelsOf<PanelKind::kU8>(), KernelsOf<PanelKind::kU8Min>(), KernelsOf<PanelKind::kU8MinF32>(),
     KernelsOf<PanelKind::kU8Sub16>(), KernelsOf<PanelKind::kF32>(), KernelsOf<PanelKind::kF16>(),
     KernelsOf<PanelKind::kBF16>()}};

}  // namespace quire::ops::linear

QUIRE_END_TARGET

#endif  // QUIRE_HAVE_X86
