#include "ops/linear/quantize_activations.h"

#include <algorithm>
#include <cmath>

#include "tensor/float8.h"

namespace quire::ops::linear {

void QuantizeTile(const float* x, int64_t stride, int64_t groups, int rows,
                  const QuantizedTile& tile) {
  for (int r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const float* in = x + r * stride + g * kGroup;
      uint32_t max_bits = 0;
      for (int i = 0; i < kGroup; ++i) {
        max_bits = std::max(max_bits, std::bit_cast<uint32_t>(in[i]) & 0x7fffffffu);
      }
      const GroupScale scale = ScaleOf(max_bits);
      const bool zero = scale.inverse == 0.0f;  // also keeps infinities away from the conversion
      int8_t codes[kGroup];
      int32_t sums[2] = {0, 0};
      for (int i = 0; i < kGroup; ++i) {
        codes[i] = zero ? int8_t{0} : static_cast<int8_t>(std::lrintf(in[i] * scale.inverse));
        sums[i / 16] += codes[i];
      }
      StoreGroup(codes, scale.scale, sums[0], sums[1], g, rows, r, tile);
    }
  }
}

void RoundToFp8(const float* x, int64_t k, float* out) {
  for (int64_t begin = 0; begin < k; begin += kFp8Group) {
    const int64_t end = std::min(begin + kFp8Group, k);
    uint32_t max_bits = 0;
    for (int64_t i = begin; i < end; ++i) {
      max_bits = std::max(max_bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);
    }
    const GroupScale scale = ScaleOf(max_bits, kFloat8Max);
    for (int64_t i = begin; i < end; ++i) {
      out[i] = scale.inverse == 0.0f
                   ? scale.scale
                   : scale.scale * Float8ToFloat(FloatToFloat8(x[i] * scale.inverse));
    }
  }
}

}  // namespace quire::ops::linear
