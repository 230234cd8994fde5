// What this machine can do at most, measured in a moment: benchmarks hold their figures against it.
#pragma once

#include <cstdint>

#include "platform/cpu/cpu_device.h"

namespace quire {

// Bytes per second that the stream's threads read together, from an array far larger than the
// caches in memory as weights lie in: the best of several rounds, about a fifth of a second in all.
// 0 if there is no memory for the array.
double ReadBandwidth(CpuStream& stream);

// Operations per second, two for a multiply-add, that the stream's threads reach together in dot
// products of 8-bit integers with all operands in registers, by the instructions that kernels of
// the stream's instruction set have for it: the best of many rounds, a fifth of a second in all.
double Int8Rate(CpuStream& stream);

// The loop behind Int8Rate, on the calling thread: `rounds` (at most 2^24) rounds of dot products
// of ones by ones. Returns their sum, which so is the number of multiply-adds. REQUIRES: this
// machine has `isa`.
int64_t SumInt8Products(CpuIsa isa, int rounds);

}  // namespace quire
