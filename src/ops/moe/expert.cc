#include "ops/moe/expert.h"

#include "ops/scratch.h"

namespace quire::ops::moe {

namespace {

// For other operators: what was asked for by name is one of this operator's implementations.
OpContext BestOf(const OpContext& context) {
  OpContext best = context;
  best.implementation = {};
  return best;
}

}  // namespace

Status RunExpert(const OpContext& context, act_and_mul::Activation activation, const Expert& expert,
                 const TensorView& x, const TensorView& out, bool accumulate) {
  const Workspace::Scope scope(context.workspace);
  const OpContext best = BestOf(context);
  const int64_t features = expert.down->k();
  const TensorView gate_up = Scratch(context, DType::kF32, {x.dim(0), 2 * features});
  QUIRE_RETURN_IF_ERROR(
      linear::Run(best, {.x = x, .weight = expert.gate_up, .bias = {}, .out = gate_up}));
  const TensorView hidden = gate_up.Columns(0, features);
  QUIRE_RETURN_IF_ERROR(
      act_and_mul::Run(best, {.gate_up = gate_up, .out = hidden, .activation = activation}));
  return linear::Run(
      best, {.x = hidden, .weight = expert.down, .bias = {}, .out = out, .accumulate = accumulate});
}

Result<SharedSum> RunShared(const OpContext& context, const Args& args) {
  SharedSum shared;
  if (args.shared.empty()) {
    return shared;
  }
  const TensorView sum = Scratch(context, DType::kF32, args.x.shape());
  for (size_t e = 0; e < args.shared.size(); ++e) {
    QUIRE_RETURN_IF_ERROR(RunExpert(context, args.activation, args.shared[e], args.x, sum, e > 0));
  }
  shared.sum = sum.as<const float>();
  if (args.shared_gate != nullptr) {
    const TensorView gates = Scratch(context, DType::kF32, {args.x.dim(0), 1});
    QUIRE_RETURN_IF_ERROR(linear::Run(
        BestOf(context), {.x = args.x, .weight = args.shared_gate, .bias = {}, .out = gates}));
    shared.gates = gates.as<const float>();
  }
  return shared;
}

}  // namespace quire::ops::moe
