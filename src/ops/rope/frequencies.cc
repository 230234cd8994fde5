#include "ops/rope/frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace quire::ops::rope {

namespace {

Status Validate(double base, int64_t rotary_dim, const Scaling& scaling) {
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    return InvalidArgument("rope: rotary_dim is ", rotary_dim, "; it must be even and at least 2");
  }
  if (!(base > 1.0) || !std::isfinite(base)) {
    return InvalidArgument("rope: base is ", base, "; it must be a number above 1");
  }
  if (scaling.kind == ScalingKind::kNone) {
    return OkStatus();
  }
  if (!(scaling.factor > 0.0) || !std::isfinite(scaling.factor)) {
    return InvalidArgument("rope: factor is ", scaling.factor, "; it must be a number above 0");
  }
  if (scaling.kind != ScalingKind::kLinear && scaling.original_max_position < 1) {
    return InvalidArgument("rope: original_max_position is ", scaling.original_max_position,
                           "; it must be at least 1");
  }
  if (scaling.kind == ScalingKind::kLlama3 &&
      !(0.0 < scaling.low_freq_factor && scaling.low_freq_factor < scaling.high_freq_factor)) {
    return InvalidArgument("rope: low_freq_factor is ", scaling.low_freq_factor,
                           ", high_freq_factor ", scaling.high_freq_factor,
                           "; they must be above 0 and ascending");
  }
  if (scaling.kind == ScalingKind::kYarn &&
      !(0.0 < scaling.beta_slow && scaling.beta_slow <= scaling.beta_fast)) {
    return InvalidArgument("rope: beta_slow is ", scaling.beta_slow, ", beta_fast ",
                           scaling.beta_fast, "; they must be above 0 and ascending");
  }
  return OkStatus();
}

double Llama3(const Scaling& scaling, double frequency) {
  const double turns =
      static_cast<double>(scaling.original_max_position) * frequency / (2.0 * std::numbers::pi);
  const double kept = std::clamp(
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0,
      1.0);
  return kept * frequency + (1.0 - kept) * frequency / scaling.factor;
}

// The pairs below `first` are kept, those above `last` divided.
struct YarnRange {
  YarnRange(const Scaling& scaling, double base, int64_t rotary_dim) {
    const auto dim = static_cast<double>(rotary_dim);
    const auto pair_of = [&](double turns) {
      const auto length = static_cast<double>(scaling.original_max_position);
      return dim * std::log(length / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(base));
    };
    first = pair_of(scaling.beta_fast);
    last = pair_of(scaling.beta_slow);
    if (scaling.truncate) {
      first = std::floor(first);
      last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, dim - 1.0);
    if (first == last) {
      last += 0.001;
    }
  }

  double first;
  double last;
};

double YarnTemperature(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double YarnAttentionFactor(const Scaling& scaling) {
  if (scaling.attention_factor) {
    return *scaling.attention_factor;
  }
  if (scaling.mscale && scaling.mscale_all_dim) {
    return YarnTemperature(scaling.factor, *scaling.mscale) /
           YarnTemperature(scaling.factor, *scaling.mscale_all_dim);
  }
  return YarnTemperature(scaling.factor, 1.0);
}

}  // namespace

Result<Frequencies> ComputeFrequencies(double base, int64_t rotary_dim, const Scaling& scaling) {
  QUIRE_RETURN_IF_ERROR(Validate(base, rotary_dim, scaling));
  Frequencies frequencies;
  const bool yarn = scaling.kind == ScalingKind::kYarn;
  if (yarn) {
    frequencies.attention_factor = static_cast<float>(YarnAttentionFactor(scaling));
  }
  const YarnRange range(scaling, base, rotary_dim);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const auto pair = static_cast<double>(i);
    double frequency = std::pow(base, -2.0 * pair / static_cast<double>(rotary_dim));
    if (scaling.kind == ScalingKind::kLinear) {
      frequency /= scaling.factor;
    } else if (scaling.kind == ScalingKind::kLlama3) {
      frequency = Llama3(scaling, frequency);
    } else if (yarn) {
      const double divided =
          std::clamp((pair - range.first) / (range.last - range.first), 0.0, 1.0);
      frequency = divided * frequency / scaling.factor + (1.0 - divided) * frequency;
    }
    frequencies.inverse.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

}  // namespace quire::ops::rope
