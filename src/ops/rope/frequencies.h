// The inverse frequencies of rotary embeddings and how models stretch them to longer contexts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/status.h"

namespace quire::ops::rope {

// The fields that a kind does not name are not read.
enum class ScalingKind : uint8_t {
  kNone,
  kLinear,  // factor: all angles divided (Chen et al., 2023)
  // factor, low_freq_factor, high_freq_factor, original_max_position: long waves divided, short
  // ones kept, a linear blend between (the rule of Llama 3.1)
  kLlama3,
  // factor, beta_fast, beta_slow, original_max_position, truncate; attention_factor, or mscale and
  // mscale_all_dim: NTK by parts and a temperature (Peng et al., 2023)
  kYarn,
};

struct Scaling {
  ScalingKind kind = ScalingKind::kNone;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;  // tokens the model was trained on
  double beta_fast = 32.0;  // pairs that turn more often than this in them keep their frequency
  double beta_slow = 1.0;   // pairs that turn less often have it divided by the factor
  bool truncate = true;     // the bounds between those two are whole pairs
  // The multiplier of cos and sin. Where not given: m(factor, mscale) / m(factor, mscale_all_dim)
  // if both are, else m(factor, 1), with m(f, s) = 0.1 s ln f + 1 for f > 1, else 1.
  std::optional<double> attention_factor = std::nullopt;
  std::optional<double> mscale = std::nullopt;
  std::optional<double> mscale_all_dim = std::nullopt;
};

struct Frequencies {
  std::vector<float> inverse;     // [rotary_dim / 2]
  float attention_factor = 1.0f;  // for Angles
};

// base^(-2 i / rotary_dim), scaled; in double, rounded once. Errors: invalid_argument (rotary_dim
// odd or below 2; base, factor, frequency factors, betas or the original length out of range).
Result<Frequencies> ComputeFrequencies(double base, int64_t rotary_dim, const Scaling& scaling);

}  // namespace quire::ops::rope
