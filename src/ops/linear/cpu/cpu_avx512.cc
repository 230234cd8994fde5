// The panel kernels for AVX-512 with VNNI: one register holds 16 output features, a tile's rows
// take one integer and one fp32 accumulator each.
#include "ops/linear/cpu/cpu_kernels.h"
#include "platform/cpu/isa_targets.h"

#if QUIRE_HAVE_X86

QUIRE_BEGIN_AVX512
#include "ops/linear/cpu/avx512_tile.h"

namespace quire::ops::linear {

namespace {

// The integer products of steps [kBegin, kEnd) of a group, added to dot. The tile has kTileRows
// rows, of which `x` points at the first of kRows.
template <PanelFormat kFormat, int kTileRows, int kRows, int kPanels, int kBegin, int kEnd>
inline void AddSteps(const uint8_t* w, int64_t panel_bytes, const uint8_t* x,
                     __m512i (&dot)[kPanels][kRows]) {
  const __m512i low_nibbles = _mm512_set1_epi8(0x0f);
  QUIRE_UNROLL
  for (int step = kBegin; step < kEnd; ++step) {
    // Nibbles of one register are steps j and j + 4, taken one after the other.
    const int j = kFormat.bits == 4 ? step / 2 + step % 2 * 4 : step;
    __m512i codes[kPanels];
    QUIRE_UNROLL
    for (int i = 0; i < kPanels; ++i) {
      codes[i] = _mm512_loadu_si512(w + i * panel_bytes + 64 * (kFormat.bits == 4 ? j % 4 : j));
      if constexpr (kFormat.bits == 4) {
        codes[i] = _mm512_and_si512(j < 4 ? codes[i] : _mm512_srli_epi16(codes[i], 4), low_nibbles);
      }
    }
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m512i activations = BroadcastI32(x + (j * kTileRows + r) * 4);
      QUIRE_UNROLL
      for (int i = 0; i < kPanels; ++i) {
        dot[i][r] = _mm512_dpbusd_epi32(dot[i][r], codes[i], activations);
      }
    }
  }
}

// One subgroup: its integer products, scaled and added to acc.
template <PanelFormat kFormat, int kTileRows, int kRows, int kPanels, int kSubgroup>
inline void AddSubgroup(const uint8_t* w, int64_t panel_bytes, const uint8_t* x,
                        const int32_t* offsets, __m512 (&acc)[kPanels][kRows]) {
  constexpr int kOffsetRow = kFormat.subgroups == 2 ? 1 + kSubgroup : kFormat.bits == 4 ? 0 : 3;
  constexpr int kSteps = 8 / kFormat.subgroups;
  __m512i dot[kPanels][kRows];
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    QUIRE_UNROLL
    for (int i = 0; i < kPanels; ++i) {
      dot[i][r] = kFormat.has_min ? _mm512_setzero_si512()
                                  : BroadcastI32(offsets + kOffsetRow * kTileRows + r);
    }
  }
  AddSteps<kFormat, kTileRows, kRows, kPanels, kSubgroup * kSteps, (kSubgroup + 1) * kSteps>(
      w, panel_bytes, x, dot);
  QUIRE_UNROLL
  for (int i = 0; i < kPanels; ++i) {
    const __m512 scales = LoadScales<kFormat.half_scales>(
        w + i * panel_bytes + kFormat.CodeBytes() + kSubgroup * kFormat.ScaleBytes());
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m512 scale = _mm512_mul_ps(scales, BroadcastF32(x + (8 * kTileRows + r) * 4));
      acc[i][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][r]), scale, acc[i][r]);
    }
  }
}

// Adds the products of a group's mins.
template <PanelKind kKind, int kTileRows, int kRows, int kPanels>
inline void AddMins(const uint8_t* w, int64_t panel_bytes, const uint8_t* x,
                    __m512 (&acc)[kPanels][kRows]) {
  constexpr PanelFormat kFormat = FormatOf(kKind);
  QUIRE_UNROLL
  for (int i = 0; i < kPanels; ++i) {
    const uint8_t* scales = w + i * panel_bytes + kFormat.CodeBytes();
    __m512 mins = LoadScales<kFormat.half_scales>(scales + kFormat.ScaleBytes());
    if constexpr (kKind == PanelKind::kU4Zero) {
      mins = _mm512_mul_ps(mins, LoadScales<kFormat.half_scales>(scales));
    }
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      acc[i][r] = _mm512_fmadd_ps(mins, BroadcastF32(x + (9 * kTileRows + r) * 4), acc[i][r]);
    }
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

// Asks for the lines that the sums go to, which are in no cache yet when the rows are many.
template <int kRows, int kPanels>
inline void FetchOut(const TileProduct& p, int panel, int first_row) {
  QUIRE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    QUIRE_UNROLL
    for (int i = 0; i < kPanels; ++i) {
      __builtin_prefetch(p.out + (first_row + r) * p.out_stride + (panel + i) * kPanelWidth, 1);
    }
  }
}

// kPanels panels from `panel` on with rows [first_row, first_row + kRows) of a tile of kTileRows.
template <PanelKind kKind, int kTileRows, int kRows, int kPanels>
void QuantizedRows(const TileProduct& p, int panel, int first_row) {
  constexpr PanelFormat kFormat = FormatOf(kKind);
  __m512 acc[kPanels][kRows];
  QUIRE_UNROLL
  for (int i = 0; i < kPanels; ++i) {
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      acc[i][r] = _mm512_setzero_ps();
    }
  }
  const uint8_t* w = p.panel + panel * p.panel_bytes;
  const uint8_t* x = p.tile + first_row * 4;
  const int32_t* offsets = p.offsets + first_row;
  if constexpr (kTileRows > kStreamedRows) {
    FetchOut<kRows, kPanels>(p, panel, first_row);
  }
  const int64_t next_step = p.next_step;
  const uint8_t* next = p.next + first_row / kRows * p.groups * next_step;
  for (int64_t g = 0; g < p.groups; ++g) {
    if constexpr (kTileRows <= kStreamedRows) {
      PrefetchAhead<kFormat.GroupBytes()>(w);
    } else {
      for (int64_t byte = 0; byte < next_step; byte += 64) {
        __builtin_prefetch(next + byte, 0, 2);
      }
      next += next_step;
    }
    AddSubgroup<kFormat, kTileRows, kRows, kPanels, 0>(w, p.panel_bytes, x, offsets, acc);
    if constexpr (kFormat.subgroups == 2) {
      AddSubgroup<kFormat, kTileRows, kRows, kPanels, 1>(w, p.panel_bytes, x, offsets, acc);
    }
    if constexpr (kFormat.has_min) {
      AddMins<kKind, kTileRows, kRows, kPanels>(w, p.panel_bytes, x, acc);
    }
    w += kFormat.GroupBytes();
    x += kTileWordsPerRow * kTileRows * 4;
    offsets += kOffsetWordsPerRow * kTileRows;
  }
  QUIRE_UNROLL
  for (int i = 0; i < kPanels; ++i) {
    StoreTile<kRows>(acc[i], p, panel + i, first_row);
  }
}

// A tile of many rows goes through two panels in two passes: of 6 x 2 accumulators each broadcast
// serves two products, so that loads do not hold up the products as they do with 12 x 1.
template <PanelKind kKind, int kRows>
void QuantizedProduct(const TileProduct& product) {
  if constexpr (kRows <= kStreamedRows) {
    for (int panel = 0; panel < product.panels; ++panel) {
      QuantizedRows<kKind, kRows, kRows, 1>(product, panel, 0);
    }
  } else {
    constexpr int kPassRows = kRows / kPasses;
    for (int first_row = 0; first_row < kRows; first_row += kPassRows) {
      if (product.panels == 2) {
        QuantizedRows<kKind, kRows, kPassRows, 2>(product, 0, first_row);
      } else {
        QuantizedRows<kKind, kRows, kPassRows, 1>(product, 0, first_row);
      }
    }
  }
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
      QuantizedProduct<kKind, kRows>(product);
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
