#include "ops/linear/linear.h"

#include <algorithm>
#include <cmath>

#include "ops/linear/split_activations.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/row_views.h"
#include "ops/scratch.h"

namespace quire::ops::linear {

namespace {

Status CheckMatrix(std::string_view name, const TensorView& view, int64_t rows, int64_t columns,
                   Place place) {
  const bool typed =
      view.dtype() == DType::kF32 || view.dtype() == DType::kF16 || view.dtype() == DType::kBF16;
  if (view.rank() != 2 || !typed || view.dim(0) != rows || view.dim(1) != columns) {
    return InvalidArgument("linear: ", name, " is ", Describe(view), ", needs f32, f16 or bf16 ",
                           ShapeName({rows, columns}));
  }
  if (rows == 0 || columns == 0) {
    return OkStatus();
  }
  if (!view.defined() || view.place() != place) {
    return InvalidArgument("linear: ", name, " is ", view.defined() ? Describe(view) : "undefined",
                           ", needs memory on ", PlaceName(place));
  }
  if (view.stride(1) != 1 || (rows > 1 && view.stride(0) < columns)) {
    return InvalidArgument("linear: ", name, " has strides ", view.stride(0), ", ", view.stride(1),
                           "; its rows must be contiguous and must not overlap");
  }
  return OkStatus();
}

Status CheckActivation(const Args& args) {
  if (args.activation.has_value() &&
      (args.weight->n() % 2 != 0 || args.accumulate || std::isfinite(args.near_largest))) {
    return InvalidArgument("linear: an activation is given with ", args.weight->n(),
                           " features, accumulate ", args.accumulate, ", near_largest ",
                           args.near_largest, "; it needs two halves and neither of the others");
  }
  return OkStatus();
}

Status Validate(const OpContext& context, const Args& args) {
  if (args.weight == nullptr) {
    return InvalidArgument("linear: no weight is given; pass what PackWeight() returned");
  }
  QUIRE_RETURN_IF_ERROR(CheckActivation(args));
  const Place place = context.stream.device().place();
  const int64_t m = args.x.rank() == 2 ? args.x.dim(0) : 0;
  const int64_t columns = args.weight->n() / (args.activation.has_value() ? 2 : 1);
  QUIRE_RETURN_IF_ERROR(CheckMatrix("x", args.x, m, args.weight->k(), place));
  QUIRE_RETURN_IF_ERROR(CheckMatrix("out", args.out, m, columns, place));
  if (args.norm.weight.defined()) {
    QUIRE_RETURN_IF_ERROR(ValidateWeight("linear", "the norm's weight", args.norm.weight, args.x));
  }
  if (std::isfinite(args.near_largest) &&
      (args.out.dtype() != DType::kF32 || args.accumulate == args.split_activations)) {
    return InvalidArgument("linear: near_largest is ", args.near_largest, " with out ",
                           Describe(args.out), ", accumulate ", args.accumulate,
                           ", split_activations ", args.split_activations,
                           "; it needs f32 out and one of the two");
  }
  if (!args.bias.defined()) {
    return OkStatus();
  }
  const bool fits = args.bias.rank() == 1 && args.bias.dtype() == DType::kF32 &&
                    args.bias.dim(0) == args.weight->n() && args.bias.IsContiguous() &&
                    args.bias.place() == place;
  return fits ? OkStatus()
              : InvalidArgument("linear: bias is ", Describe(args.bias), ", needs contiguous f32 ",
                                ShapeName({args.weight->n()}), " on ", PlaceName(place));
}

// Whether the implementation that `context` asks for, or any, runs `args` as they are.
bool IsAccepted(const OpContext& context, const Implementations& list, const Args& args) {
  return std::any_of(list.begin(), list.end(), [&](const Implementation<Args>& implementation) {
    return (context.implementation.empty() || context.implementation == implementation.name) &&
           implementation.accepts(context, args);
  });
}

// The norm and the activation by operators of their own.
Status RunApart(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  OpContext others = context;
  if (context.implementation != "reference") {  // the one name that all operators know
    others.implementation = {};
  }
  Args rest = args;
  if (args.norm.weight.defined()) {
    const TensorView normed = Scratch(context, args.x.dtype(), args.x.shape());
    rest.x = normed;
    rest.norm = {};
    QUIRE_RETURN_IF_ERROR(rms_norm::Run(others, {.x = args.x,
                                                 .weight = args.norm.weight,
                                                 .out = normed,
                                                 .epsilon = args.norm.epsilon,
                                                 .weight_offset = args.norm.weight_offset}));
    return Run(context, rest);
  }
  rest.out = Scratch(context, args.out.dtype(), {args.out.dim(0), args.weight->n()});
  rest.activation.reset();
  QUIRE_RETURN_IF_ERROR(Run(context, rest));
  return act_and_mul::Run(others,
                          {.gate_up = rest.out, .out = args.out, .activation = *args.activation});
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  QUIRE_RETURN_IF_ERROR(Validate(context, args));
  if (args.x.dim(0) == 0) {
    return OkStatus();
  }
  const Place place = context.stream.device().place();
  const Implementations& list = ImplementationsOf(place.platform);
  if (args.split_activations && !place.IsHost()) {  // nothing is rounded to 8 bits there
    Args whole = args;
    whole.split_activations = false;
    whole.near_largest = std::numeric_limits<float>::infinity();
    return Run(context, whole);
  }
  if (IsFused(args) && !IsAccepted(context, list, args)) {
    return RunApart(context, args);
  }
  if (!args.split_activations) {
    return RunBest("linear", list, context, args);
  }
  const Workspace::Scope scope(context.workspace);
  if (std::isfinite(args.near_largest)) {
    Args coarse = args;
    coarse.near_largest = std::numeric_limits<float>::infinity();
    QUIRE_RETURN_IF_ERROR(RunBest("linear", list, context, coarse));
    return RunBest("linear", list, context, SecondTerms(context, args));
  }
  const SplitProblem split = SplitActivations(context, args);
  QUIRE_RETURN_IF_ERROR(RunBest("linear", list, context, split.args));
  SumTerms(context, split, args);
  return OkStatus();
}

}  // namespace quire::ops::linear
