// From the experts' packed weights to what CUDA kernels read.
#pragma once

#include <span>
#include <string_view>

#include "ops/moe/cuda_grouped_product.h"
#include "ops/moe/moe.h"

namespace quire::ops::moe {

// Which weight of an expert.
using ExpertWeight = const linear::PackedWeight* Expert::*;

// Whether the weights of all experts have one shape, in one piece, of a type that kernels for many
// experts take; "" or the reason why not.
std::string_view WhyNotGrouped(std::span<const Expert> experts, ExpertWeight which);

// REQUIRES: WhyNotGrouped is "".
ExpertWeights WeightsOf(std::span<const Expert> experts, ExpertWeight which);

// Whether rows meet those weights rounded to f8e4m3. REQUIRES: WhyNotGrouped() is empty.
bool RoundsToFp8(std::span<const Expert> experts, ExpertWeight which);

}  // namespace quire::ops::moe
