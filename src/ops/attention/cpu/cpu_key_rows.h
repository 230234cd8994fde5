// Where the keys of a tile lie: in the pages of their sequence, or one after another.
#pragma once

#include "ops/attention/cpu/cpu_schedule.h"

namespace quire::ops::attention::cpu {

// offsets[j] = offset of key tile + j of the unit's sequence from element 0 of its head, for the
// keys of `keys`. The places before and after repeat the nearest of them, so that whole vectors of
// keys can be read. REQUIRES: some keys.
void LocateRows(const Problem& problem, const Unit& unit, int64_t tile, TileKeys keys,
                PageStrides strides, int64_t* offsets);

// Likewise scales[j] = scale of key (or value) tile + j for the unit's head, from `from`.
void LoadScales(const Problem& problem, const Unit& unit, int64_t tile, TileKeys keys,
                const float* from, float* scales);

}  // namespace quire::ops::attention::cpu
