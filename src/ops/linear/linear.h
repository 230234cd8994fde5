// linear: out = x * W^T (+ bias) (+ out), the matrix product of every projection of a model. On
// request x is normed before, and a gated activation comes after.
//
// Row t of `out` depends on row t of `x` and the weight alone, bit for bit: never on the number of
// rows, on their neighbours or on the number of threads. Every implementation keeps, for one output
// element, one order of floating-point operations over K, whatever M and however the work is cut.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/implementation.h"
#include "tensor/tensor.h"

namespace quire::ops::linear {

// How activations meet a weight. Sums are always fp32 (or exact integers); what the mode means for
// the types of weights:
//                      kFp32            kBlock8               kBf16                kFp8
//   f32, f16           fp32             fp32                  fp32                 as kBf16
//   bf16               fp32             fp32                  bf16 products        as kBf16
//   f8e4m3             fp32             fp32                  bf16 products        f8 per 128 of K
//   GGUF blocks, int4  expanded, fp32   8 bits per 32 of K    8 bits per 32 of K   as kBf16
//   i8                 expanded, fp32   8 bits per row        8 bits per row       as kBf16
// - fp32: activations as they are.
// - bf16 products: each activation is rounded to bf16 (nearest even) and multiplied with the
//   weight, which bf16 holds exactly. CPUs with bf16 dot products use them ("avx512_bf16", which
//   also takes subnormal inputs for zero); others multiply the same rounded values in fp32. The
//   order of the sum depends on K alone in either, but the two orders differ.
// - 8 bits per 32 of K: one scale for 32 input features, quantize_activations.h.
// - 8 bits per row: code = round(x * 127 / max|x|), one scale for the row; the integer sums are
//   exact, out = sum * (weight scale * row scale). The same bits in every instruction set.
// - f8 per 128 of K (DeepSeek-AI, 2024, "DeepSeek-V3", section 3.3): each 128 input features of a
//   row (the last may be fewer) have a scale = max|x| / 448 in fp32, and x becomes scale * code,
//   code = x * (448 / max|x|) rounded to f8e4m3 (nearest even). Features whose maximum is below
//   2^-100 count as zero; those that hold a NaN or infinity become NaN, so that the damage shows in
//   the output. CPUs multiply scale * code, in fp32, with the expanded weight.
// Other devices round activations to 16 bits at most, and read split_activations as if it were
// not set:
//                      kFp32            others
//   f32                fp32             fp32
//   f16                fp32             rounded to f16, f16 products
//   bf16               fp32             rounded to bf16, bf16 products
//   all others         expanded, fp32   rounded to bf16; weights as they are ("few_rows",
//                                       "fixed_order") or, in products of more rows ("matmul"),
//                                       rounded to bf16 too
// f8e4m3 with kFp8 is rounded as above; "few_rows" and "fixed_order" round scale * code to bf16
// once more, "matmul" the weights too. But where the device multiplies f8e4m3 and the weight has
// scales of squares, one of the tensor or none, "fp8_rows" and, of whole 16 features, "matmul"
// multiply codes with codes: sums of 128 input features, of which tensor cores keep about 14 bits,
// times both scales are added in fp32.
// There "few_rows", "fp8_rows" and "fixed_order" keep the contract above: the bits of a row do not
// depend on the others. "matmul" takes the algorithm that measured best for about as many rows, so
// they may depend on their number. Where the context is batch_invariant it declines, and so do
// "fp8_rows" and, with f16 and bf16 weights, "few_rows", which add in another order than
// "fixed_order"; so all numbers of rows have the same bits.
enum class ActivationMode : uint8_t { kFp32, kBlock8, kBf16, kFp8 };

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

// How a checkpoint stores a weight [N, K].
enum class WeightFormat : uint8_t {
  // weight [N, K] in its own type. i8 and f8e4m3 may have scales (none means 1), w = scale * code:
  //   [1] for the tensor, [N] for each output feature, or, f8e4m3 only, [ceil(N / 128),
  //   ceil(K / 128)] for each square of 128 x 128 elements (DeepSeek-V3; that they are called
  //   "inverse" there changes nothing).
  kPlain,
  // 4-bit groups, w = scale * (code - zero), 8 codes in an i32, G = K / group input features share
  // a scale and a zero point. AWQ (Lin et al., 2023; AutoAWQ's "gemm" files):
  //   weight [K, N / 8]: bits 4i .. 4i + 3 of word j belong to output feature 8j + o[i],
  //                      o = 0, 2, 4, 6, 1, 3, 5, 7
  //   zeros [G, N / 8]   in the same order; scales [G, N]
  kAwq,
  // GPTQ (Frantar et al., 2022; AutoGPTQ's files, "gptq" version 1):
  //   weight [K / 8, N]: bits 4i .. 4i + 3 of word [r, n] belong to input feature 8r + i
  //   zeros [G, N / 8]:  bits 4i .. 4i + 3 of word j belong to output feature 8j + i and hold the
  //                      zero point minus one (so 15 means 16)
  //   scales [G, N]
  //   group_index [K], optional: the group of each input feature ("act-order"), else k / group
  kGptq,
  // The same with the zero point itself ("gptq_v2").
  kGptq2,
};

// One weight of a checkpoint. All views are in host memory, with contiguous rows.
struct WeightSource {
  TensorView weight;
  TensorView scales = {};       // f32, f16 or bf16
  TensorView zeros = {};        // i32; without it zero points of int4 groups are 8
  TensorView group_index = {};  // i32; each group appears equally often
  WeightFormat format = WeightFormat::kPlain;
};

// Packs `weights` [N, K] for the stream's device. Several sources are stacked along N in order, so
// that projections that share an input (q, k, v; gate, up) run as one product; they may have
// different types: then the packed form keeps segments. With group_index (and not kFp32) all must
// have the same. The views are not needed afterwards. Errors: invalid_argument (shapes, unequal K,
// scales), unsupported (type; groups that are no multiple of 32; rows of i8 over 65536),
// resource_exhausted.
Result<std::shared_ptr<const PackedWeight>> PackWeight(const OpContext& context,
                                                       std::span<const WeightSource> weights,
                                                       ActivationMode mode);
// The same for plain weights without scales: f32, f16, bf16, f8e4m3, i8 or GGUF blocks.
Result<std::shared_ptr<const PackedWeight>> PackWeight(const OpContext& context,
                                                       std::span<const TensorView> weights,
                                                       ActivationMode mode);

// rms_norm of x before a product, as in rms_norm::Args.
struct InputNorm {
  TensorView weight = {};  // f32 or the type of x, [K]; without it x stays as it is
  float epsilon = 1e-5f;
  float weight_offset = 0.0f;
};

struct Args {
  TensorView x;  // f32, f16 or bf16 [M, K], rows may be strided
  const PackedWeight* weight = nullptr;
  TensorView bias = {};     // optional f32 [N]
  TensorView out;           // f32, f16 or bf16 [M, N], rows may be strided; does not overlap x
  bool accumulate = false;  // out += instead of out =: the residual connection
  // Each row enters as the sum of two terms, the second the rounding error of the first (to 8 bits
  // or bf16, as the weight's mode has it): about 16-bit activations for twice the arithmetic;
  // weights are read once for few rows.
  bool split_activations = false;
  // Finite: of each row only the outputs near its largest are touched, those whose 16 neighbours
  // (features [16 i, 16 i + 16) of a weight) hold one within this distance of the largest, as `out`
  // is before. With split_activations the first term is computed for all and this goes for the
  // second: logits that may be drawn get it, at the cost of one term. Needs f32 `out`, and
  // accumulate or else split_activations.
  float near_largest = std::numeric_limits<float>::infinity();
  // The weight of the product that comes next on this stream, if it is known: it is asked for
  // while threads wait. Only speed depends on it.
  const PackedWeight* next = nullptr;
  InputNorm norm = {};  // x enters as rms_norm rounds it to its type
  // Given: the first half of the weight's features is a gate, the second is up, and out [M, N / 2]
  // = activation(gate) * up, with both rounded to the type of `out` first. Not with accumulate or
  // near_largest.
  std::optional<act_and_mul::Activation> activation = {};
};

// Whether more is asked for than a product.
inline bool IsFused(const Args& args) {
  return args.norm.weight.defined() || args.activation.has_value();
}

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// f16 and bf16 activations are widened first; sum, bias and out (if accumulated) are added in fp32
// and rounded once. What IsFused() runs as one kernel where the implementation accepts that, else
// as rms_norm, the product and act_and_mul: the same bits either way. M = 0 is allowed and does
// nothing. Errors: invalid_argument (shapes, types, places).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::linear
