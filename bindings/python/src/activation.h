// The activations of act_and_mul and moe by name.
#pragma once

#include <string>

#include "bindings/python/src/arrays.h"
#include "ops/act_and_mul/act_and_mul.h"

namespace quire::python {

// Throws ValueError.
inline ops::act_and_mul::Activation ActivationNamed(const std::string& name) {
  using ops::act_and_mul::Activation;
  if (name != "silu" && name != "gelu_tanh" && name != "gelu") {
    ThrowIfError(InvalidArgument("activation is '", name, "'; use 'silu', 'gelu_tanh' or 'gelu'"));
  }
  return name == "silu"   ? Activation::kSilu
         : name == "gelu" ? Activation::kGelu
                          : Activation::kGeluTanh;
}

}  // namespace quire::python
