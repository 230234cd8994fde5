// The panel kernels for AVX-512 with VNNI: one register holds 16 output features, a tile's rows
// take one integer and one fp32 accumulator each.
#include "ops/linear/cpu_kernels.h"
#include "platform/cpu/isa_targets.h"

#if QUIRE_HAVE_X86

QUIRE_BEGIN_AVX512
#include "ops/linear/avx512_tile.h"

namespace quire::ops::linear {

namespace {

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

// Fetches what lies kPrefetchDistance ahead of `w`, kBytes of it.
template <int kBytes>
inline void PrefetchAhead(const uint8_t* w) {
  QUIRE_UNROLL
  for (int byte = 0; byte < kBytes; byte += 64) {
    __builtin_prefetch(w + kPrefetchDistance + byte);
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
    if constexpr (kRows <= kStreamedRows) {
      PrefetchAhead<kFormat.GroupBytes()>(w);
    }
    AddSubgroup<kFormat, kRows, 0>(w, x, offsets, acc);
    if constexpr (kFormat.subgroups == 2) {
      AddSubgroup<kFormat, kRows, 1>(w, x, offsets, acc);
    }
    if constexpr (kFormat.has_min) {
      __m512 mins = LoadScales<kFormat.half_scales>(w + kFormat.CodeBytes() + kFormat.ScaleBytes());
      if constexpr (kKind == PanelKind::kU4Zero) {
        mins = _mm512_mul_ps(mins, LoadScales<kFormat.half_scales>(w + kFormat.CodeBytes()));
      }
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

// The elements of a group of two input features, f8e4m3 or bf16, as fp32.
template <PanelKind kKind>
inline void LoadPair(const uint8_t* p, __m512& even, __m512& odd) {
  __m512i bits;
  if constexpr (FormatOf(kKind).bits == 8) {
    bits = WidenF8(p);
  } else {
    bits = _mm512_loadu_si512(p);
  }
  even = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-65536)));
}

// Groups of two input features; each block of groups has a scale, or there is none.
template <PanelKind kKind, int kRows>
void PairRows(const TileProduct& p) {
  constexpr bool kScaled = FormatOf(kKind).bits == 8;
  __m512 acc[kRows];
  __m512 sum[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    acc[r] = _mm512_setzero_ps();
    sum[r] = _mm512_setzero_ps();
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  const float* scales = p.scales;
  const int64_t block_steps = kScaled ? p.scale_steps : p.groups;
  for (int64_t begin = 0; begin < p.groups; begin += block_steps, scales += kPanelWidth) {
    const int64_t end = begin + block_steps < p.groups ? begin + block_steps : p.groups;
    for (int64_t g = begin; g < end; ++g) {
      __m512 even;
      __m512 odd;
      LoadPair<kKind>(w, even, odd);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        acc[r] = _mm512_fmadd_ps(even, BroadcastF32(x + r * 4), acc[r]);
      }
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        acc[r] = _mm512_fmadd_ps(odd, BroadcastF32(x + (kRows + r) * 4), acc[r]);
      }
      w += FormatOf(kKind).GroupBytes();
      x += 2 * kRows * 4;
    }
    if constexpr (kScaled) {
      const __m512 scale = _mm512_loadu_ps(scales);
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sum[r] = _mm512_fmadd_ps(acc[r], scale, sum[r]);
        acc[r] = _mm512_setzero_ps();
      }
    }
  }
  if constexpr (kScaled) {
    StoreTile<kRows>(sum, p);
  } else {
    StoreTile<kRows>(acc, p);
  }
}

// One step of four input features.
template <int kRows>
inline void AddBytes(const uint8_t* w, const uint8_t* codes, __m512i (&dot)[kRows]) {
  const __m512i weights = _mm512_loadu_si512(w);
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    dot[r] = _mm512_dpbusd_epi32(dot[r], weights, BroadcastI32(codes + r * 4));
  }
}

// Integer products of whole rows. Few rows take several accumulators, which integers allow.
template <int kRows>
void ByteRows(const TileProduct& p) {
  constexpr int kChains = kRows >= 4 ? 1 : 4;
  const uint8_t* x = p.tile + p.groups * kRows * 4;  // past the codes
  __m512i dot[kChains][kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    dot[0][r] = BroadcastI32(x + (kRows + r) * 4);
    for (int chain = 1; chain < kChains; ++chain) {
      dot[chain][r] = _mm512_setzero_si512();
    }
  }
  const uint8_t* w = p.panel;
  const uint8_t* codes = p.tile;
  const int64_t whole = p.groups / kChains * kChains;
  for (int64_t g = 0; g < whole; g += kChains) {
    QUIRE_UNROLL
    for (int chain = 0; chain < kChains; ++chain) {
      AddBytes<kRows>(w + chain * 64, codes + chain * kRows * 4, dot[chain]);
    }
    w += kChains * 64;
    codes += kChains * kRows * 4;
  }
  for (int64_t g = whole; g < p.groups; ++g, w += 64, codes += kRows * 4) {
    AddBytes<kRows>(w, codes, dot[0]);
  }
  const __m512 scales = _mm512_loadu_ps(p.scales);
  __m512 values[kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    for (int chain = 1; chain < kChains; ++chain) {
      dot[0][r] = _mm512_add_epi32(dot[0][r], dot[chain][r]);
    }
    values[r] = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[0][r]),
                              _mm512_mul_ps(scales, BroadcastF32(x + r * 4)));
  }
  StoreTile<kRows>(values, p);
}

template <PanelKind kKind, int kRows>
struct Kernel {
  static void Run(const TileProduct& product) {
    if constexpr (!FormatOf(kKind).IsPlain()) {
      QuantizedRows<kKind, kRows>(product);
    } else if constexpr (kKind == PanelKind::kI8) {
      ByteRows<kRows>(product);
    } else if constexpr (FormatOf(kKind).depth == 1) {
      DenseRows<kKind, kRows>(product);
    } else {
      for (int panel = 0; panel < product.panels; ++panel) {
        PairRows<kKind, kRows>(FromPanel(product, panel));
      }
    }
  }
};

}  // namespace

const KernelSet kAvx512VnniKernels = {CpuIsa::kAvx512, false, QuantizeAvx512, QuantizeRowAvx512,
                                      TableOf<Kernel>()};

}  // namespace quire::ops::linear

QUIRE_END_TARGET

#endif  // QUIRE_HAVE_X86
