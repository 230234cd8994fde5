// The panel kernels in plain C++, for machines without AVX2.
#include <cmath>

#include "ops/linear/cpu_kernels.h"
#include "tensor/half.h"

namespace quire::ops::linear {

namespace {

// One rounding where the machine does that at speed. Dense products need it at every step, so
// elsewhere they round twice; quantized ones need it once per group and always have it.
inline float DenseMultiplyAdd(float a, float b, float c) {
#ifdef __FP_FAST_FMAF
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

inline float LoadF32(const uint8_t* p) {
  float value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

template <bool kHalf>
inline void LoadScales(const uint8_t* p, float out[kPanelWidth]) {
  for (int c = 0; c < kPanelWidth; ++c) {
    if constexpr (kHalf) {
      uint16_t bits;
      std::memcpy(&bits, p + 2 * c, 2);
      out[c] = HalfToFloat(bits);
    } else {
      out[c] = LoadF32(p + 4 * c);
    }
  }
}

// The codes of a group, one input feature after the other.
template <PanelFormat kFormat>
inline void UnpackCodes(const uint8_t* group, int16_t out[kGroup][kPanelWidth]) {
  for (int i = 0; i < kGroup; ++i) {
    const bool high = kFormat.bits == 4 && i >= kGroup / 2;
    const uint8_t* w = group + (i / 4 - (high ? 4 : 0)) * 64 + i % 4;
    for (int c = 0; c < kPanelWidth; ++c) {
      const int code = w[4 * c];
      out[i][c] = static_cast<int16_t>(kFormat.bits == 8 ? code : high ? code >> 4 : code & 15);
    }
  }
}

// Adds the integer products of features [begin, end) of a group with row r to dot.
template <int kRows>
inline void AddFeatures(const int16_t (&codes)[kGroup][kPanelWidth], const uint8_t* x, int begin,
                        int end, int32_t dot[kPanelWidth]) {
  for (int i = begin; i < end; ++i) {
    const auto a = static_cast<int16_t>(static_cast<int8_t>(x[i / 4 * kRows * 4 + i % 4]));
    for (int c = 0; c < kPanelWidth; ++c) {
      dot[c] += codes[i][c] * a;
    }
  }
}

void StoreRow(const float acc[kPanelWidth], const TileProduct& p, int r) {
  float* out = p.out + r * p.out_stride;
  for (int c = 0; c < p.columns; ++c) {
    float value = acc[c];
    if (p.bias != nullptr) {
      value += p.bias[c];
    }
    out[c] = p.accumulate ? out[c] + value : value;
  }
}

// One group of one row: `codes` and its parameters, added to acc.
template <PanelFormat kFormat, int kRows>
inline void AddGroup(const int16_t (&codes)[kGroup][kPanelWidth],
                     const float (&scales)[3][kPanelWidth], const uint8_t* x,
                     const int32_t* offsets, float acc[kPanelWidth]) {
  const float scale_x = LoadF32(x + 8 * kRows * 4);
  for (int s = 0; s < kFormat.subgroups; ++s) {
    const int offset_row = kFormat.subgroups == 2 ? 1 + s : kFormat.bits == 4 ? 0 : 3;
    const int32_t start = kFormat.has_min ? 0 : offsets[offset_row * kRows];
    int32_t dot[kPanelWidth];
    for (int c = 0; c < kPanelWidth; ++c) {
      dot[c] = start;
    }
    constexpr int kFeatures = kGroup / kFormat.subgroups;
    AddFeatures<kRows>(codes, x, s * kFeatures, (s + 1) * kFeatures, dot);
    for (int c = 0; c < kPanelWidth; ++c) {
      acc[c] = std::fma(static_cast<float>(dot[c]), scales[s][c] * scale_x, acc[c]);
    }
  }
  if constexpr (kFormat.has_min) {
    const float scaled_sum = LoadF32(x + 9 * kRows * 4);
    for (int c = 0; c < kPanelWidth; ++c) {
      acc[c] = std::fma(scales[kFormat.subgroups][c], scaled_sum, acc[c]);
    }
  }
}

template <PanelKind kKind, int kRows>
void QuantizedRows(const TileProduct& p) {
  constexpr PanelFormat kFormat = FormatOf(kKind);
  float acc[kRows][kPanelWidth] = {};
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  const int32_t* offsets = p.offsets;
  for (int64_t g = 0; g < p.groups; ++g) {
    int16_t codes[kGroup][kPanelWidth];
    UnpackCodes<kFormat>(w, codes);
    float scales[3][kPanelWidth];  // of the subgroups, then the mins
    for (int s = 0; s < kFormat.subgroups + (kFormat.has_min ? 1 : 0); ++s) {
      LoadScales<kFormat.half_scales>(w + kFormat.CodeBytes() + s * kFormat.ScaleBytes(),
                                      scales[s]);
    }
    for (int r = 0; r < kRows; ++r) {
      AddGroup<kFormat, kRows>(codes, scales, x + 4 * r, offsets + r, acc[r]);
    }
    w += kFormat.GroupBytes();
    x += kTileWordsPerRow * kRows * 4;
    offsets += kOffsetWordsPerRow * kRows;
  }
  for (int r = 0; r < kRows; ++r) {
    StoreRow(acc[r], p, r);
  }
}

template <PanelKind kKind>
inline float DenseElement(const uint8_t* group, int c) {
  if constexpr (kKind == PanelKind::kF32) {
    return LoadF32(group + 4 * c);
  } else {
    uint16_t bits;
    std::memcpy(&bits, group + 2 * c, 2);
    return kKind == PanelKind::kF16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
  }
}

template <PanelKind kKind, int kRows>
void DenseRows(const TileProduct& p) {
  float acc[kRows][kPanelWidth] = {};
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  for (int64_t g = 0; g < p.groups; ++g) {
    float elements[kPanelWidth];
    for (int c = 0; c < kPanelWidth; ++c) {
      elements[c] = DenseElement<kKind>(w, c);
    }
    for (int r = 0; r < kRows; ++r) {
      const float scalar = LoadF32(x + 4 * r);
      for (int c = 0; c < kPanelWidth; ++c) {
        acc[r][c] = DenseMultiplyAdd(elements[c], scalar, acc[r][c]);
      }
    }
    w += FormatOf(kKind).GroupBytes();
    x += kRows * 4;
  }
  for (int r = 0; r < kRows; ++r) {
    StoreRow(acc[r], p, r);
  }
}

template <PanelKind kKind, int kRows>
void Product(const TileProduct& p) {
  if constexpr (FormatOf(kKind).IsDense()) {
    DenseRows<kKind, kRows>(p);
  } else {
    QuantizedRows<kKind, kRows>(p);
  }
}

template <PanelKind kKind>
constexpr std::array<TileKernel, kTileSizes> KernelsOf() {
  return {Product<kKind, 1>, Product<kKind, 2>, Product<kKind, 3>,
          Product<kKind, 4>, Product<kKind, 8>, Product<kKind, 12>};
}

}  // namespace

const KernelSet kBaselineKernels = {
    QuantizeTile,
    {KernelsOf<PanelKind::kU4>(), KernelsOf<PanelKind::kU4Min>(), KernelsOf<PanelKind::kU4MinF32>(),
     KernelsOf<PanelKind::kU8>(), KernelsOf<PanelKind::kU8Min>(), KernelsOf<PanelKind::kU8MinF32>(),
     KernelsOf<PanelKind::kU8Sub16>(), KernelsOf<PanelKind::kF32>(), KernelsOf<PanelKind::kF16>(),
     KernelsOf<PanelKind::kBF16>()}};

}  // namespace quire::ops::linear
