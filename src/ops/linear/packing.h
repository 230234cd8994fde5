// Each platform has its own layout of weights, which its implementations read.
#pragma once

#include "ops/linear/linear.h"

namespace quire::ops::linear {

// Packs sources that PackWeight() has checked.
using Packing = Result<std::shared_ptr<const PackedWeight>> (*)(
    const OpContext& context, std::span<const WeightSource> weights, ActivationMode mode);

// That of a platform; null where linear has none.
Packing PackingOf(PlatformKind platform);

}  // namespace quire::ops::linear
