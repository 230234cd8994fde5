#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include "bindings/python/src/activation.h"
#include "bindings/python/src/context.h"
#include "bindings/python/src/operators.h"
#include "ops/linear/linear.h"
#include "ops/moe/moe.h"
#include "ops/moe_route/moe_route.h"

namespace quire::python {

namespace {

using ops::linear::ActivationMode;
using ops::linear::PackedWeight;
using ops::linear::WeightFormat;

constexpr const char* kPackWeightDoc =
    R"(A weight [N, K] in the layout that linear reads.

Args:
    weight: float32, float16, bfloat16, int8 or float8_e4m3fn [N, K]; uint8 [N, bytes of a row] with
        block_type; or the int32 words of format 'awq', 'gptq' or 'gptq_v2'.
    mode: what activations become: 'fp32', 'block8' (8-bit integers), 'bf16' or 'fp8' (f8e4m3, for
        float8 weights; others as with 'bf16').
    block_type: a block format of GGUF: 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'q4_k', 'q5_k',
        'q6_k'.
    scales: of int8 and float8 weights [1], [N] or (float8) [ceil(N/128), ceil(K/128)]; of int4
        groups [G, N].
    zeros, group_index: int32, of int4 groups.

Returns:
    PackedWeight, for linear and moe.)";

constexpr const char* kLinearDoc =
    R"(x W^T (+ bias) (+ out), with x normed before and a gated activation after it on request.

Args:
    x: float32, float16 or bfloat16 [M, K].
    weight: PackedWeight [N, K].
    bias: float32 [N] or None.
    accumulate: adds to `out`, which must then be given.
    norm_weight: float32 or x's type [K]; rms_norm of x comes first.
    activation: 'silu', 'gelu_tanh' or 'gelu': the first half of the features is the gate of the
        second.

Returns:
    [M, N], or [M, N / 2] with an activation, of x's type, or as `out`.)";

constexpr const char* kMoeRouteDoc =
    R"(Which experts each token goes to, and with which weights.

Args:
    logits: float32, float16 or bfloat16 [T, E].
    top_k: experts of a token.
    scoring: 'softmax', 'topk_softmax' or 'sigmoid'.
    bias: float32 [E], with 'sigmoid': takes part in the choice alone.
    groups, top_groups: only the best top_groups of the groups can be chosen from.

Returns:
    (ids int32 [T, top_k], weights float32 [T, top_k]).)";

constexpr const char* kMoeDoc =
    R"(The feed-forward of a mixture of experts: sum over j of weights[j] * expert[ids[j]](x).

Args:
    x: float32, float16 or bfloat16 [T, H].
    ids, weights: int32 and float32 [T, k]; -1 is skipped.
    experts: (gate_up [2 I, H], down [H, I]) PackedWeights for each expert.
    shared: the same, always on.
    activation: 'silu', 'gelu_tanh' or 'gelu'.

Returns:
    [T, H] of x's type.)";

using SharedWeight = std::shared_ptr<PackedWeight>;
using ExpertWeights = std::vector<std::pair<SharedWeight, SharedWeight>>;

ActivationMode ModeNamed(const std::string& name) {
  if (name != "fp32" && name != "block8" && name != "bf16" && name != "fp8") {
    ThrowIfError(InvalidArgument("mode is '", name, "'; use 'fp32', 'block8', 'bf16' or 'fp8'"));
  }
  return name == "fp32"   ? ActivationMode::kFp32
         : name == "bf16" ? ActivationMode::kBf16
         : name == "fp8"  ? ActivationMode::kFp8
                          : ActivationMode::kBlock8;
}

WeightFormat FormatNamed(const std::string& name) {
  if (name != "plain" && name != "awq" && name != "gptq" && name != "gptq_v2") {
    ThrowIfError(
        InvalidArgument("format is '", name, "'; use 'plain', 'awq', 'gptq' or 'gptq_v2'"));
  }
  return name == "plain"  ? WeightFormat::kPlain
         : name == "awq"  ? WeightFormat::kAwq
         : name == "gptq" ? WeightFormat::kGptq
                          : WeightFormat::kGptq2;
}

// Rows of blocks, given as bytes, as [N, K].
TensorView Blocks(const TensorView& bytes, const std::string& type) {
  for (int i = static_cast<int>(DType::kQ4_0); i <= static_cast<int>(DType::kQ6_K); ++i) {
    const auto dtype = static_cast<DType>(i);
    const DTypeInfo& info = InfoOf(dtype);
    if (info.name != type) {
      continue;
    }
    if (bytes.dtype() != DType::kU8 || bytes.rank() != 2 || !bytes.IsContiguous() ||
        bytes.dim(1) % info.block_bytes != 0) {
      ThrowIfError(InvalidArgument("weight is ", Describe(bytes), "; rows of ", type,
                                   " are contiguous uint8, a multiple of ", info.block_bytes));
    }
    const int64_t elements = bytes.dim(1) / info.block_bytes * info.block_elements;
    return {bytes.data(), dtype, {bytes.dim(0), elements}};
  }
  ThrowIfError(InvalidArgument("block_type is '", type, "'; use q4_0 ... q6_k"));
  return {};
}

SharedWeight PackWeight(nb::handle weight, const std::string& mode, const std::string& block_type,
                        nb::handle scales, nb::handle zeros, nb::handle group_index,
                        const std::string& format, Context& context) {
  Arrays arrays;
  ops::linear::WeightSource source;
  source.weight = arrays.View("weight", weight);
  if (!block_type.empty()) {
    source.weight = Blocks(source.weight, block_type);
  }
  source.scales = arrays.View("scales", scales);
  source.zeros = arrays.View("zeros", zeros);
  source.group_index = arrays.View("group_index", group_index);
  source.format = FormatNamed(format);
  auto packed = ops::linear::PackWeight(
      context.For(""), std::span<const ops::linear::WeightSource>(&source, 1), ModeNamed(mode));
  ThrowIfError(packed.status());
  return std::const_pointer_cast<PackedWeight>(
      *packed);  // Python knows no const; nothing writes it
}

nb::object Linear(nb::handle x, const PackedWeight& weight, nb::handle bias, bool accumulate,
                  bool split_activations, nb::handle norm_weight, float norm_epsilon,
                  float norm_weight_offset, const std::string& activation, nb::handle out,
                  const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::linear::Args args;
  args.x = arrays.View("x", x);
  args.weight = &weight;
  args.bias = arrays.View("bias", bias);
  if (accumulate && out.is_none()) {
    ThrowIfError(InvalidArgument("accumulate adds to out; give one"));
  }
  args.norm = {.weight = arrays.View("norm_weight", norm_weight),
               .epsilon = norm_epsilon,
               .weight_offset = norm_weight_offset};
  if (!activation.empty()) {
    args.activation = ActivationNamed(activation);
  }
  args.out = arrays.Output(
      "out", out, args.x.dtype(),
      {args.x.rank() == 2 ? args.x.dim(0) : 0, activation.empty() ? weight.n() : weight.n() / 2});
  args.accumulate = accumulate;
  args.split_activations = split_activations;
  ThrowIfError(ops::linear::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object MoeRoute(nb::handle logits, int top_k, const std::string& scoring, nb::handle bias,
                    bool renormalize, int groups, int top_groups, float scale,
                    const std::string& implementation, Context& context) {
  using ops::moe_route::Scoring;
  if (scoring != "softmax" && scoring != "topk_softmax" && scoring != "sigmoid") {
    ThrowIfError(
        InvalidArgument("scoring is '", scoring, "'; use 'softmax', 'topk_softmax' or 'sigmoid'"));
  }
  Arrays arrays;
  ops::moe_route::Args args;
  args.logits = arrays.View("logits", logits);
  args.bias = arrays.View("bias", bias);
  const Shape shape = {args.logits.rank() == 2 ? args.logits.dim(0) : 0, int64_t{top_k}};
  args.ids = arrays.Output("ids", nb::none(), DType::kI32, shape);
  args.weights = arrays.Output("weights", nb::none(), DType::kF32, shape);
  args.scoring = scoring == "softmax"   ? Scoring::kSoftmax
                 : scoring == "sigmoid" ? Scoring::kSigmoid
                                        : Scoring::kTopKSoftmax;
  args.renormalize = renormalize;
  args.groups = groups;
  args.top_groups = top_groups;
  args.scale = scale;
  ThrowIfError(ops::moe_route::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

std::vector<ops::moe::Expert> Experts(const ExpertWeights& weights) {
  std::vector<ops::moe::Expert> experts;
  for (const auto& [gate_up, down] : weights) {
    experts.push_back({gate_up.get(), down.get()});
  }
  return experts;
}

nb::object Moe(nb::handle x, nb::handle ids, nb::handle weights, const ExpertWeights& experts,
               const ExpertWeights& shared, const PackedWeight* shared_gate,
               const std::string& activation, nb::handle out, const std::string& implementation,
               Context& context) {
  Arrays arrays;
  const std::vector<ops::moe::Expert> routed = Experts(experts);
  const std::vector<ops::moe::Expert> always = Experts(shared);
  ops::moe::Args args;
  args.x = arrays.View("x", x);
  args.ids = arrays.View("ids", ids);
  args.weights = arrays.View("weights", weights);
  args.experts = routed;
  args.shared = always;
  args.shared_gate = shared_gate;
  args.out = arrays.Output("out", out, args.x.dtype(), args.x.shape());
  args.activation = ActivationNamed(activation);
  ThrowIfError(ops::moe::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

}  // namespace

void BindLinearOperators(nb::module_& module) {
  const nb::none none;
  nb::class_<PackedWeight>(module, "PackedWeight", "A weight in the layout that linear reads.")
      .def_prop_ro("n", &PackedWeight::n, "Output features.")
      .def_prop_ro("k", &PackedWeight::k, "Input features.")
      .def_prop_ro("bytes", &PackedWeight::bytes);
  module.def("pack_weight", PackWeight, nb::arg("weight"), nb::arg("mode") = "fp32", nb::kw_only(),
             nb::arg("block_type") = "", nb::arg("scales") = none, nb::arg("zeros") = none,
             nb::arg("group_index") = none, nb::arg("format") = "plain", nb::arg("context"),
             kPackWeightDoc);
  module.def("linear", Linear, nb::arg("x"), nb::arg("weight"), nb::arg("bias") = none,
             nb::kw_only(), nb::arg("accumulate") = false, nb::arg("split_activations") = false,
             nb::arg("norm_weight") = none, nb::arg("norm_epsilon") = 1e-5f,
             nb::arg("norm_weight_offset") = 0.0f, nb::arg("activation") = "",
             nb::arg("out") = none, nb::arg("implementation") = "", nb::arg("context"), kLinearDoc);
  module.def("moe_route", MoeRoute, nb::arg("logits"), nb::arg("top_k"), nb::kw_only(),
             nb::arg("scoring") = "softmax", nb::arg("bias") = none, nb::arg("renormalize") = false,
             nb::arg("groups") = 1, nb::arg("top_groups") = 1, nb::arg("scale") = 1.0f,
             nb::arg("implementation") = "", nb::arg("context"), kMoeRouteDoc);
  module.def("moe", Moe, nb::arg("x"), nb::arg("ids"), nb::arg("weights"), nb::arg("experts"),
             nb::kw_only(), nb::arg("shared") = ExpertWeights{},
             nb::arg("shared_gate").none() = none, nb::arg("activation") = "silu",
             nb::arg("out") = none, nb::arg("implementation") = "", nb::arg("context"), kMoeDoc);
}

}  // namespace quire::python
