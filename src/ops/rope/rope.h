// rope: rotary position embedding in place (Su et al., 2021).
#pragma once

#include <cstdint>
#include <span>

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::rope {

// Which two elements of a head rotate together, r = rotary dimensions.
enum class Style : uint8_t {
  kNeox,         // (i, i + r / 2)
  kInterleaved,  // (2 i, 2 i + 1)
};

struct Args {
  TensorView x;  // f32 [T, H, D], changed in place; T and H may be strided; the first r of D rotate
  TensorView cos_sin;  // f32 [T, r / 2, 2] from ComputeCosSin
  Style style = Style::kNeox;
};

using Implementations = ImplementationList<Args>;

// Fills out [T, r / 2, 2] with cos and sin of positions[t] * inverse_frequency[i], times `scale`
// (yarn's attention factor; 1 otherwise). The angle is formed in fp32, as the models were trained.
// Serial per row: a row depends on its position alone.
void ComputeCosSin(std::span<const int32_t> positions, std::span<const float> inverse_frequency,
                   float scale, float* out);

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shapes, types, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::rope
