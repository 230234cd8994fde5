// Device code: the activation of a gate, which kernels of other operators apply too.
#pragma once

#include "ops/act_and_mul/act_and_mul.h"

namespace quire::ops::act_and_mul {

__device__ inline float Activated(float x, Activation activation) {
  if (activation == Activation::kGelu) {
    return 0.5f * x * erfcf(-x * 0.70710678118654752f);
  }
  // 0.5 (1 + tanh(y)) = 1 / (1 + exp(-2 y)), which cancels nothing where x is negative.
  const float y =
      activation == Activation::kSilu ? x : 1.59576912160573072f * (x + 0.044715f * x * x * x);
  return x / (1.0f + expf(-y));
}

}  // namespace quire::ops::act_and_mul
