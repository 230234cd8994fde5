// The list of supported networks. A new one is a new file here and a line in architectures.cc.
#pragma once

#include <span>

#include "model/model.h"

namespace quire {

extern const Architecture
    kLlamaArchitecture;  // Llama and what shares its graph (SmolLM2, Mistral, ...)
extern const Architecture kGemma3Architecture;  // Gemma 3, text

std::span<const Architecture* const> Architectures();

}  // namespace quire
