// Token by token and expert by expert, with the reference products; sums in double.
#include <cmath>
#include <vector>

#include "ops/moe/moe.h"
#include "tensor/element.h"

namespace quire::ops::moe {

namespace {

Result<std::vector<float>> Multiply(const OpContext& context, const TensorView& x,
                                    const linear::PackedWeight& weight) {
  std::vector<float> out(static_cast<size_t>(weight.n()));
  const TensorView view(out.data(), DType::kF32, {1, weight.n()});
  QUIRE_RETURN_IF_ERROR(linear::Run({context.stream, context.workspace, "reference"},
                                    {.x = x, .weight = &weight, .bias = {}, .out = view}));
  return out;
}

// sum += factor * expert(x)
Status AddExpert(const OpContext& context, const Args& args, const Expert& expert,
                 const TensorView& x, double factor, std::vector<double>& sum) {
  QUIRE_ASSIGN_OR_RETURN(std::vector<float> gate_up, Multiply(context, x, *expert.gate_up));
  const int64_t features = expert.down->k();
  std::vector<float> hidden(static_cast<size_t>(features));
  const act_and_mul::Args activate = {
      .gate_up = TensorView(gate_up.data(), DType::kF32, {1, 2 * features}),
      .out = TensorView(hidden.data(), DType::kF32, {1, features}),
      .activation = args.activation};
  QUIRE_RETURN_IF_ERROR(
      act_and_mul::Run({context.stream, context.workspace, "reference"}, activate));
  QUIRE_ASSIGN_OR_RETURN(
      const std::vector<float> out,
      Multiply(context, TensorView(hidden.data(), DType::kF32, {1, features}), *expert.down));
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += factor * out[i];
  }
  return OkStatus();
}

Status RunToken(const OpContext& context, const Args& args, int64_t t) {
  const TensorView x = args.x.Rows(t, t + 1);
  const int64_t k = args.ids.dim(1);
  std::vector<double> sum(static_cast<size_t>(args.x.dim(1)), 0.0);
  for (int64_t j = 0; j < k; ++j) {
    const int32_t id = args.ids.as<const int32_t>()[t * k + j];
    if (id >= 0) {
      QUIRE_RETURN_IF_ERROR(AddExpert(context, args, args.experts[static_cast<size_t>(id)], x,
                                      args.weights.as<const float>()[t * k + j], sum));
    }
  }
  double gate = 1.0;
  if (args.shared_gate != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(const std::vector<float> logit, Multiply(context, x, *args.shared_gate));
    gate = 1.0 / (1.0 + std::exp(-double{logit[0]}));
  }
  for (const Expert& expert : args.shared) {
    QUIRE_RETURN_IF_ERROR(AddExpert(context, args, expert, x, gate, sum));
  }
  for (int64_t i = 0; i < args.x.dim(1); ++i) {
    const int64_t index = t * args.out.stride(0) + i;
    double value = sum[static_cast<size_t>(i)];
    if (args.accumulate) {
      value += LoadElement(args.out.data(), args.out.dtype(), index);
    }
    StoreElement(static_cast<float>(value), args.out.data(), args.out.dtype(), index);
  }
  return OkStatus();
}

Status RunReference(const OpContext& context, const Args& args) {
  for (int64_t t = 0; t < args.x.dim(0); ++t) {
    QUIRE_RETURN_IF_ERROR(RunToken(context, args, t));
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference,
           "f32, f16, bf16"}};
}

}  // namespace quire::ops::moe
