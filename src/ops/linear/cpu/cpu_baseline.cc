// The panel kernels in plain C++, for machines without AVX2.
#include <cmath>

#include "ops/linear/cpu/cpu_kernels.h"
#include "ops/linear/cpu/row_codes.h"
#include "tensor/element.h"

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
  for (int c = 0; c < p.columns && c < kPanelWidth; ++c) {
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
    if constexpr (kKind == PanelKind::kU4Zero) {
      for (int c = 0; c < kPanelWidth; ++c) {
        scales[1][c] *= scales[0][c];
      }
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

// Element `index` of a group of a plain kind.
template <PanelKind kKind>
inline float PlainElement(const uint8_t* group, int index) {
  constexpr int kBits = FormatOf(kKind).bits;
  if constexpr (kBits == 32) {
    return LoadF32(group + 4 * index);
  } else if constexpr (kBits == 8) {
    return Float8ToFloat(group[index]);
  } else {
    uint16_t bits;
    std::memcpy(&bits, group + 2 * index, 2);
    return kKind == PanelKind::kF16 ? HalfToFloat(bits) : BFloat16ToFloat(bits);
  }
}

// Groups of one or two input features; each block of groups has a scale, or there is none.
template <PanelKind kKind, int kRows>
void PlainRows(const TileProduct& p) {
  constexpr int kDepth = FormatOf(kKind).depth;
  constexpr bool kScaled = FormatOf(kKind).bits == 8;
  float acc[kRows][kPanelWidth] = {};
  float sum[kRows][kPanelWidth] = {};
  const uint8_t* w = p.panel;
  const uint8_t* x = p.tile;
  for (int64_t g = 0; g < p.groups; ++g) {
    for (int i = 0; i < kDepth; ++i, x += kRows * 4) {
      float elements[kPanelWidth];
      for (int c = 0; c < kPanelWidth; ++c) {
        elements[c] = PlainElement<kKind>(w, c * kDepth + i);
      }
      for (int r = 0; r < kRows; ++r) {
        const float scalar = LoadF32(x + 4 * r);
        for (int c = 0; c < kPanelWidth; ++c) {
          acc[r][c] = DenseMultiplyAdd(elements[c], scalar, acc[r][c]);
        }
      }
    }
    w += FormatOf(kKind).GroupBytes();
    if (kScaled && ((g + 1) % p.scale_steps == 0 || g + 1 == p.groups)) {
      const float* scales = p.scales + g / p.scale_steps * kPanelWidth;
      for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kPanelWidth; ++c) {
          sum[r][c] = DenseMultiplyAdd(acc[r][c], scales[c], sum[r][c]);
          acc[r][c] = 0.0f;
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    StoreRow(kScaled ? sum[r] : acc[r], p, r);
  }
}

// Integer products of whole rows.
template <int kRows>
void ByteRows(const TileProduct& p) {
  const uint8_t* scales = p.tile + p.groups * kRows * 4;
  for (int r = 0; r < kRows; ++r) {
    int32_t dot[kPanelWidth] = {};
    for (int64_t g = 0; g < p.groups; ++g) {
      const uint8_t* w = p.panel + g * 64;
      const uint8_t* x = p.tile + (g * kRows + r) * 4;
      for (int c = 0; c < kPanelWidth; ++c) {
        for (int i = 0; i < 4; ++i) {
          dot[c] += (w[4 * c + i] - 128) * static_cast<int8_t>(x[i]);
        }
      }
    }
    float values[kPanelWidth];
    for (int c = 0; c < kPanelWidth; ++c) {
      values[c] = static_cast<float>(dot[c]) * (p.scales[c] * LoadF32(scales + r * 4));
    }
    StoreRow(values, p, r);
  }
}

template <PanelKind kKind, int kRows>
void Product(const TileProduct& p) {
  if constexpr (!FormatOf(kKind).IsPlain()) {
    QuantizedRows<kKind, kRows>(p);
  } else if constexpr (kKind == PanelKind::kI8) {
    ByteRows<kRows>(p);
  } else {
    PlainRows<kKind, kRows>(p);
  }
}

template <PanelKind kKind, int kRows>
struct Kernel {
  static void Run(const TileProduct& product) {
    for (int panel = 0; panel < product.panels; ++panel) {
      Product<kKind, kRows>(FromPanel(product, panel));
    }
  }
};

RowScale QuantizeRowBaseline(const float* x, int64_t k, int8_t* codes) {
  return QuantizeRow<kBaselineLanes>(x, k, codes);
}

}  // namespace

const KernelSet kBaselineKernels = {CpuIsa::kBaseline, false, QuantizeTile, QuantizeRowBaseline,
                                    TableOf<Kernel>()};

}  // namespace quire::ops::linear
