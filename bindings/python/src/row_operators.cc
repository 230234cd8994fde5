#include <nanobind/stl/vector.h>

#include <algorithm>

#include "bindings/python/src/activation.h"
#include "bindings/python/src/context.h"
#include "bindings/python/src/operators.h"
#include "bindings/python/src/rope_style.h"
#include "ops/act_and_mul/act_and_mul.h"
#include "ops/embedding/embedding.h"
#include "ops/gather_last_rows/gather_last_rows.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/rope_table/rope_table.h"
#include "ops/soft_cap/soft_cap.h"

namespace quire::python {

namespace {

constexpr const char* kRmsNormDoc =
    R"(x / sqrt(mean(x^2) + epsilon) * (weight + weight_offset), row by row.

Args:
    x: float32, float16 or bfloat16 [T, D] or [T, H, D].
    weight: float32 or of x's type [D].
    residual: of x's type and shape: residual += x in place, and the sum is normed.

Returns:
    of x's type and shape.)";

constexpr const char* kLayerNormDoc =
    R"((x - mean) / sqrt(variance + epsilon) * weight + bias, row by row.

Args:
    x: float32, float16 or bfloat16 [T, D] or [T, H, D].
    weight, bias: float32 or of x's type [D]; bias may be None.

Returns:
    of x's type and shape.)";

constexpr const char* kRopeDoc =
    R"(Rotary position embedding of the first r elements of each head.

Args:
    x: float32, float16 or bfloat16 [T, H, D].
    positions: int32 [T], or [S, T] with sections.
    inverse_frequency: float32 [r / 2]; r <= D.
    style: 'neox' turns the pairs (i, i + r / 2), 'interleaved' (2 i, 2 i + 1).
    attention_factor: multiplies cos and sin (yarn).
    sections: the pairs that turn by positions[0], by positions[1], ... (multi-section rope).

Returns:
    of x's type and shape.)";

constexpr const char* kActAndMulDoc =
    R"(activation(gate) * up, the gated feed-forward.

Args:
    gate_up: float32, float16 or bfloat16 [T, 2 F]: the gate, then up.
    activation: 'silu', 'gelu_tanh' or 'gelu'.

Returns:
    [T, F] of gate_up's type.)";

constexpr const char* kEmbeddingDoc =
    R"(Rows of a table by token id, times scale.

Args:
    ids: int32 or int64 [T].
    table: float32, float16 or bfloat16 [V, D].

Returns:
    [T, D] of the table's type, or as `out`.

Raises:
    ValueError: an id outside the table.)";

constexpr const char* kGatherLastRowsDoc =
    R"(Some rows of x: those that `rows` names, or the last row of each sequence.

Args:
    x: float32, float16 or bfloat16 [T, D].
    rows: int32 [R]; or instead
    query_start: int32 [R + 1]; sequence r has the rows query_start[r] .. query_start[r + 1].

Returns:
    [R, D] of x's type.)";

constexpr const char* kRopeTableDoc =
    R"(Cosines and sines of positions[t] * inverse_frequency[i], a product in float32.

Args:
    positions: int32 [T].
    inverse_frequency: float32 [r / 2].
    scale: multiplies cos and sin.

Returns:
    float32 [T, r / 2, 2].)";

constexpr const char* kSoftCapDoc =
    R"(x = cap * tanh(x / cap), in place.

Args:
    x: float32 [R, V]; changed.
    cap: positive.)";

nb::object RmsNorm(nb::handle x, nb::handle weight, float epsilon, nb::handle residual,
                   float weight_offset, nb::handle out, const std::string& implementation,
                   Context& context) {
  Arrays arrays;
  ops::rms_norm::Args args;
  args.x = arrays.View("x", x);
  args.weight = arrays.View("weight", weight);
  args.out = arrays.Output("out", out, args.x.dtype(), args.x.shape());
  args.epsilon = epsilon;
  args.residual = arrays.View("residual", residual);
  args.weight_offset = weight_offset;
  ThrowIfError(ops::rms_norm::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object LayerNorm(nb::handle x, nb::handle weight, nb::handle bias, float epsilon,
                     nb::handle out, const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::layer_norm::Args args;
  args.x = arrays.View("x", x);
  args.weight = arrays.View("weight", weight);
  args.bias = arrays.View("bias", bias);
  args.out = arrays.Output("out", out, args.x.dtype(), args.x.shape());
  args.epsilon = epsilon;
  ThrowIfError(ops::layer_norm::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object Rope(nb::handle x, nb::handle positions, nb::handle inverse_frequency,
                const std::string& style, float attention_factor,
                const std::vector<int32_t>& sections, nb::handle out,
                const std::string& implementation, Context& context) {
  if (sections.size() > ops::rope::kMaxSections) {
    ThrowIfError(InvalidArgument("there are ", sections.size(), " sections; use at most ",
                                 ops::rope::kMaxSections));
  }
  Arrays arrays;
  ops::rope::Args args;
  args.x = arrays.View("x", x);
  args.style = RopeStyleNamed(style);
  args.angles.positions = arrays.View("positions", positions);
  args.angles.inverse_frequency = arrays.View("inverse_frequency", inverse_frequency);
  args.angles.attention_factor = attention_factor;
  std::copy(sections.begin(), sections.end(), args.angles.sections.begin());
  args.out = arrays.Output("out", out, args.x.dtype(), args.x.shape());
  ThrowIfError(ops::rope::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object ActAndMul(nb::handle gate_up, const std::string& activation, nb::handle out,
                     const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::act_and_mul::Args args;
  args.gate_up = arrays.View("gate_up", gate_up);
  const bool matrix = args.gate_up.rank() == 2;
  args.out =
      arrays.Output("out", out, args.gate_up.dtype(),
                    {matrix ? args.gate_up.dim(0) : 0, matrix ? args.gate_up.dim(1) / 2 : 0});
  args.activation = ActivationNamed(activation);
  ThrowIfError(ops::act_and_mul::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object Embedding(nb::handle ids, nb::handle table, float scale, nb::handle out,
                     const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::embedding::Args args;
  args.ids = arrays.View("ids", ids);
  args.table = arrays.View("table", table);
  args.out =
      arrays.Output("out", out, args.table.dtype(),
                    {args.ids.shape().elements(), args.table.rank() == 2 ? args.table.dim(1) : 0});
  args.scale = scale;
  ThrowIfError(ops::embedding::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object GatherLastRows(nb::handle x, nb::handle rows, nb::handle query_start, nb::handle out,
                          const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::gather_last_rows::Args args;
  args.x = arrays.View("x", x);
  args.rows = arrays.View("rows", rows);
  args.query_start = arrays.View("query_start", query_start);
  const int64_t count =
      args.rows.defined() ? args.rows.shape().elements() : args.query_start.shape().elements() - 1;
  args.out = arrays.Output("out", out, args.x.dtype(),
                           {std::max<int64_t>(count, 0), args.x.rank() == 2 ? args.x.dim(1) : 0});
  ThrowIfError(ops::gather_last_rows::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

nb::object RopeTable(nb::handle positions, nb::handle inverse_frequency, float scale,
                     nb::handle out, const std::string& implementation, Context& context) {
  Arrays arrays;
  ops::rope_table::Args args;
  args.positions = arrays.View("positions", positions);
  args.inverse_frequency = arrays.View("inverse_frequency", inverse_frequency);
  args.out = arrays.Output(
      "out", out, DType::kF32,
      {args.positions.shape().elements(), args.inverse_frequency.shape().elements(), 2});
  args.scale = scale;
  ThrowIfError(ops::rope_table::Run(context.For(implementation), args));
  return arrays.TakeOutput();
}

void SoftCap(nb::handle x, float cap, const std::string& implementation, Context& context) {
  Arrays arrays;
  ThrowIfError(
      ops::soft_cap::Run(context.For(implementation), {.x = arrays.View("x", x), .cap = cap}));
}

}  // namespace

void BindRowOperators(nb::module_& module) {
  const nb::none none;
  module.def("rms_norm", RmsNorm, nb::arg("x"), nb::arg("weight"), nb::kw_only(),
             nb::arg("epsilon") = 1e-5f, nb::arg("residual") = none,
             nb::arg("weight_offset") = 0.0f, nb::arg("out") = none, nb::arg("implementation") = "",
             nb::arg("context"), kRmsNormDoc);
  module.def("layer_norm", LayerNorm, nb::arg("x"), nb::arg("weight"), nb::arg("bias") = none,
             nb::kw_only(), nb::arg("epsilon") = 1e-5f, nb::arg("out") = none,
             nb::arg("implementation") = "", nb::arg("context"), kLayerNormDoc);
  module.def("rope", Rope, nb::arg("x"), nb::arg("positions"), nb::arg("inverse_frequency"),
             nb::kw_only(), nb::arg("style") = "neox", nb::arg("attention_factor") = 1.0f,
             nb::arg("sections") = std::vector<int32_t>{}, nb::arg("out") = none,
             nb::arg("implementation") = "", nb::arg("context"), kRopeDoc);
  module.def("act_and_mul", ActAndMul, nb::arg("gate_up"), nb::arg("activation") = "silu",
             nb::kw_only(), nb::arg("out") = none, nb::arg("implementation") = "",
             nb::arg("context"), kActAndMulDoc);
  module.def("embedding", Embedding, nb::arg("ids"), nb::arg("table"), nb::kw_only(),
             nb::arg("scale") = 1.0f, nb::arg("out") = none, nb::arg("implementation") = "",
             nb::arg("context"), kEmbeddingDoc);
  module.def("gather_last_rows", GatherLastRows, nb::arg("x"), nb::arg("rows") = none,
             nb::kw_only(), nb::arg("query_start") = none, nb::arg("out") = none,
             nb::arg("implementation") = "", nb::arg("context"), kGatherLastRowsDoc);
  module.def("rope_table", RopeTable, nb::arg("positions"), nb::arg("inverse_frequency"),
             nb::kw_only(), nb::arg("scale") = 1.0f, nb::arg("out") = none,
             nb::arg("implementation") = "", nb::arg("context"), kRopeTableDoc);
  module.def("soft_cap", SoftCap, nb::arg("x"), nb::arg("cap"), nb::kw_only(),
             nb::arg("implementation") = "", nb::arg("context"), kSoftCapDoc);
}

}  // namespace quire::python
