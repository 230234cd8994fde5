// linear: out = x * W^T (+ bias) (+ out), the matrix product of every projection of a model.
//
// Row t of `out` depends on row t of `x` and the weight alone, bit for bit: never on the number of
// rows, on their neighbours or on the number of threads. Every implementation keeps, for one output
// element, one order of floating-point operations over K, whatever M and however the work is cut.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "ops/implementation.h"
#include "tensor/tensor.h"

namespace quire::ops::linear {

// How activations enter the product.
enum class ActivationMode : uint8_t {
  kFp32,    // as they are; weights are expanded to fp32
  kBlock8,  // quantized to 8 bits per block of the weight's format before an integer product
};

// A weight in the layout that one implementation reads straight through. Immutable once made;
// shared by threads and engines. Made by PackWeight().
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  int64_t n() const { return n_; }  // output features
  int64_t k() const { return k_; }  // input features
  std::string_view layout() const {
    return layout_;
  }  // names the implementation family that reads it
  virtual size_t bytes() const = 0;

 protected:
  PackedWeight(int64_t n, int64_t k, std::string_view layout) : n_(n), k_(k), layout_(layout) {}

 private:
  int64_t n_;
  int64_t k_;
  std::string_view layout_;
};

// Packs `weight` [N, K] (f32, f16, bf16 or quantized) for the stream's device. Several views are
// stacked along N in order, so that projections that share an input (q, k, v; gate, up) run as one
// product; they may have different types: then the packed form keeps segments. The views are not
// needed afterwards. kBlock8 on an unquantized weight behaves as kFp32. Errors: invalid_argument
// (rank, unequal K), unsupported (type), resource_exhausted.
Result<std::shared_ptr<const PackedWeight>> PackWeight(const OpContext& context,
                                                       std::span<const TensorView> weights,
                                                       ActivationMode mode);

struct Args {
  TensorView x;  // f32 [M, K], rows may be strided
  const PackedWeight* weight = nullptr;
  TensorView bias;          // optional f32 [N]
  TensorView out;           // f32 [M, N], rows may be strided; does not overlap x
  bool accumulate = false;  // out += instead of out =: the residual connection
  // Each row enters as the sum of two terms, the second the rounding error of the first to 8 bits
  // per 32 elements: about 16-bit activations for twice the arithmetic; weights are read once for
  // few rows.
  bool split_activations = false;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// M = 0 is allowed and does nothing. Errors: invalid_argument (shapes, types, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::linear
