// rope: rotary position embedding (Su et al., 2021).
#pragma once

#include <array>
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

inline constexpr int kMaxSections = 4;

// The angle of each token and pair: position * inverse_frequency, formed and reduced in double, so
// that cos and sin are good to fp32 at every position.
struct Angles {
  TensorView positions;          // i32 [T], or [S, T] with sections; contiguous
  TensorView inverse_frequency;  // f32 [r / 2], contiguous, r <= D; see frequencies.h
  // Multi-section positions (Qwen2-VL: time, height, width), S <= kMaxSections: the first
  // sections[0] pairs turn by positions [0], the next sections[1] pairs by positions [1], ...; the
  // first S sum to r / 2. All 0 for positions [T].
  std::array<int32_t, kMaxSections> sections = {};
  float attention_factor = 1.0f;  // multiplies cos and sin (yarn)
};

// Either cos_sin or angles is given. A model computes cos_sin once a step and uses it in all
// layers.
struct Args {
  // f32, f16 or bf16 [T, H, D]; the last axis contiguous, the others may be strided; the first r of
  // D rotate.
  TensorView x;
  TensorView cos_sin = {};  // f32 [T, r / 2, 2], contiguous, from ComputeCosSin
  Style style = Style::kNeox;
  Angles angles = {};
  TensorView out = {};  // the type and shape of x; x itself or no memory of it; not given: x itself
};

using Implementations = ImplementationList<Args>;

// Fills out [T, r / 2, 2] with cos and sin of positions[t] * inverse_frequency[i], times `scale`
// (yarn's attention factor; 1 otherwise). The angle is formed in fp32, as the models were trained.
// Serial per row: a row depends on its position alone.
void ComputeCosSin(std::span<const int32_t> positions, std::span<const float> inverse_frequency,
                   float scale, float* out);

// The same of `angles`, in double and with sections: Run() with this table has the bits of Run()
// with `angles`. REQUIRES: host memory. Errors: invalid_argument.
Status ComputeCosSin(const Angles& angles, float* out);

// The errors of Run() for arrays at `place`.
Status Validate(const Args& args, Place place);

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// The rotation is in fp32, rounded once to the type of x; elements r .. D keep their bits. With
// cos_sin there is but one right answer, which all implementations give. Errors: invalid_argument
// (shapes, types, places, neither or both of cos_sin and angles).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::rope
