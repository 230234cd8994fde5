// The panel kernels for AVX-512 with dot products of bf16: those of AVX-512, but for weights with
// bf16 products. A product takes several panels at once to hide the latency of its sums.
#include "ops/linear/cpu/cpu_kernels.h"
#include "platform/cpu/isa_targets.h"

#if QUIRE_HAVE_X86

QUIRE_BEGIN_AVX512_BF16
#include "ops/linear/cpu/avx512_tile.h"

namespace quire::ops::linear {

namespace {

// 16 pairs of weights.
template <PanelKind kKind>
inline __m512bh LoadPairs(const uint8_t* p) {
  if constexpr (FormatOf(kKind).bits == 8) {
    return reinterpret_cast<__m512bh>(WidenF8(p));
  } else {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
  }
}

// kPanels panels from `p.panel` on. The order of a sum does not depend on kPanels or kRows.
template <PanelKind kKind, int kRows, int kPanels>
void PairDots(const TileProduct& p) {
  constexpr bool kScaled = FormatOf(kKind).bits == 8;
  __m512 acc[kPanels][kRows];
  __m512 sum[kPanels][kRows];
  QUIRE_UNROLL
  for (int i = 0; i < kPanels; ++i) {
    QUIRE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      acc[i][r] = _mm512_setzero_ps();
      sum[i][r] = _mm512_setzero_ps();
    }
  }
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  const float* scales = p.scales;
  const int64_t block_steps = kScaled ? p.scale_steps : p.groups;
  for (int64_t begin = 0; begin < p.groups; begin += block_steps, scales += kPanelWidth) {
    const int64_t end = begin + block_steps < p.groups ? begin + block_steps : p.groups;
    for (int64_t g = begin; g < end; ++g) {
      __m512bh weights[kPanels];
      QUIRE_UNROLL
      for (int i = 0; i < kPanels; ++i) {
        weights[i] = LoadPairs<kKind>(w + i * p.panel_bytes);
      }
      QUIRE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const auto pair = reinterpret_cast<__m512bh>(BroadcastI32(x + r * 4));
        QUIRE_UNROLL
        for (int i = 0; i < kPanels; ++i) {
          acc[i][r] = _mm512_dpbf16_ps(acc[i][r], weights[i], pair);
        }
      }
      w += FormatOf(kKind).GroupBytes();
      x += kRows * 4;
    }
    if constexpr (kScaled) {
      QUIRE_UNROLL
      for (int i = 0; i < kPanels; ++i) {
        const __m512 scale = _mm512_loadu_ps(scales + i * p.scale_blocks * kPanelWidth);
        QUIRE_UNROLL
        for (int r = 0; r < kRows; ++r) {
          sum[i][r] = _mm512_fmadd_ps(acc[i][r], scale, sum[i][r]);
          acc[i][r] = _mm512_setzero_ps();
        }
      }
    }
  }
  QUIRE_UNROLL
  for (int i = 0; i < kPanels; ++i) {
    if constexpr (kScaled) {
      StoreTile<kRows>(sum[i], p, i);
    } else {
      StoreTile<kRows>(acc[i], p, i);
    }
  }
}

template <PanelKind kKind, int kRows>
void PairProduct(const TileProduct& product) {
  constexpr int kRegisters = FormatOf(kKind).bits == 8 ? 16 : 24;
  constexpr int kAtOnce = kRows <= 4 && kMaxPanels * kRows <= kRegisters ? kMaxPanels
                          : 2 * kRows <= kRegisters                      ? 2
                                                                         : 1;
  int panel = 0;
  for (; panel + kAtOnce <= product.panels; panel += kAtOnce) {
    PairDots<kKind, kRows, kAtOnce>(FromPanel(product, panel));
  }
  for (; panel < product.panels; ++panel) {
    PairDots<kKind, kRows, 1>(FromPanel(product, panel));
  }
}

template <PanelKind kKind, int kRows>
struct PairKernel {
  static void Run(const TileProduct& product) { PairProduct<kKind, kRows>(product); }
};

}  // namespace

KernelSet Avx512Bf16Kernels() {
  KernelSet set = kAvx512VnniKernels;
  set.bf16_products = true;
  set.product[static_cast<size_t>(PanelKind::kBF16Pairs)] =
      KernelsOf<PairKernel, PanelKind::kBF16Pairs>();
  set.product[static_cast<size_t>(PanelKind::kF8Pairs)] =
      KernelsOf<PairKernel, PanelKind::kF8Pairs>();
  return set;
}

}  // namespace quire::ops::linear

QUIRE_END_TARGET

#endif  // QUIRE_HAVE_X86
