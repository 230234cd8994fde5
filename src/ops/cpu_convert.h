// Rows of elements from one floating type to another on the CPU: what casts and writes to the cache
// share.
//
// The types are f32, f16, bf16 and f8e4m3. Results have the bits of tensor/half.h and
// tensor/float8.h for every input, NaN, infinities and subnormals included, at every instruction
// set and wherever an element falls in a row. Equal types are copied bit for bit.
#pragma once

#include <cstdint>

#include "platform/cpu/cpu_device.h"
#include "tensor/dtype.h"

namespace quire::ops {

// to[i] = from[i] for `elements` contiguous elements. The rows may be the same memory if their
// elements have the same size; else they do not overlap.
using ConvertFunction = void (*)(const void* from, int64_t elements, void* to);

// As ConvertFunction, with a factor or divisor that is applied in fp32, before the only rounding to
// the new type.
using ScaledConvertFunction = void (*)(const void* from, int64_t elements, float scale, void* to);

// The largest finite magnitude among `elements` elements; 0 if there is none.
using AbsMaxFunction = float (*)(const void* from, int64_t elements);

// The functions below REQUIRE that the machine has `isa` and that the types are of the four above.
ConvertFunction ConverterOf(CpuIsa isa, DType from, DType to);
ScaledConvertFunction MultiplierOf(CpuIsa isa, DType from, DType to);  // to[i] = from[i] * scale
ScaledConvertFunction DividerOf(CpuIsa isa, DType from, DType to);     // to[i] = from[i] / scale
AbsMaxFunction AbsMaxOf(CpuIsa isa, DType from);

}  // namespace quire::ops
