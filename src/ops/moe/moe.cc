#include "ops/moe/moe.h"

namespace quire::ops::moe {

namespace {

bool IsActivationType(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

Status CheckRows(std::string_view name, const TensorView& view, int64_t tokens, int64_t hidden,
                 Place place) {
  if (view.rank() != 2 || !IsActivationType(view.dtype()) || view.dim(0) != tokens ||
      view.dim(1) != hidden) {
    return InvalidArgument("moe: ", name, " is ", Describe(view), ", needs f32, f16 or bf16 ",
                           ShapeName({tokens, hidden}));
  }
  if (tokens > 0 && (!view.defined() || view.place() != place)) {
    return InvalidArgument("moe: ", name, " is not in memory on ", PlaceName(place));
  }
  if (view.stride(1) != 1 || (tokens > 1 && view.stride(0) < hidden)) {
    return InvalidArgument("moe: ", name, " has strides ", view.stride(0), ", ", view.stride(1),
                           "; its rows must be contiguous and must not overlap");
  }
  return OkStatus();
}

Status CheckChoice(std::string_view name, const TensorView& view, DType dtype, int64_t tokens,
                   int64_t k, Place place) {
  const bool shaped = view.rank() == 2 && view.dtype() == dtype && view.dim(0) == tokens &&
                      view.dim(1) == k && view.IsContiguous();
  const bool placed = tokens * k == 0 || (view.defined() && view.place() == place);
  return shaped && placed ? OkStatus()
                          : InvalidArgument("moe: ", name, " are ", Describe(view),
                                            ", need contiguous ", InfoOf(dtype).name, " ",
                                            ShapeName({tokens, k}), " on ", PlaceName(place));
}

Status CheckExperts(std::string_view name, std::span<const Expert> experts, int64_t hidden) {
  for (size_t e = 0; e < experts.size(); ++e) {
    const Expert& expert = experts[e];
    if (expert.gate_up == nullptr || expert.down == nullptr) {
      return InvalidArgument("moe: ", name, " ", e, " lacks a weight");
    }
    if (expert.gate_up->k() != hidden || expert.down->n() != hidden ||
        expert.gate_up->n() != 2 * expert.down->k()) {
      return InvalidArgument("moe: ", name, " ", e, " has gate_up ",
                             ShapeName({expert.gate_up->n(), expert.gate_up->k()}), " and down ",
                             ShapeName({expert.down->n(), expert.down->k()}), "; needs [2 I, ",
                             hidden, "] and [", hidden, ", I]");
    }
  }
  return OkStatus();
}

Status CheckIds(const Args& args) {
  if (args.ids.shape().elements() == 0 || !args.ids.place().IsHost()) {
    return OkStatus();
  }
  const auto* ids = args.ids.as<const int32_t>();
  const int64_t k = args.ids.dim(1);
  for (int64_t i = 0; i < args.ids.dim(0) * k; ++i) {
    if (ids[i] < -1 || ids[i] >= static_cast<int64_t>(args.experts.size())) {
      return InvalidArgument("moe: id ", ids[i], " of token ", i / k, " is not -1 and not one of ",
                             args.experts.size(), " experts");
    }
  }
  return OkStatus();
}

Status Validate(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  if (args.x.rank() != 2) {
    return InvalidArgument("moe: x is ", Describe(args.x), ", needs [T, H]");
  }
  const int64_t tokens = args.x.dim(0);
  const int64_t hidden = args.x.dim(1);
  const int64_t k = args.ids.rank() == 2 ? args.ids.dim(1) : 0;
  QUIRE_RETURN_IF_ERROR(CheckRows("x", args.x, tokens, hidden, place));
  QUIRE_RETURN_IF_ERROR(CheckRows("out", args.out, tokens, hidden, place));
  QUIRE_RETURN_IF_ERROR(CheckChoice("ids", args.ids, DType::kI32, tokens, k, place));
  QUIRE_RETURN_IF_ERROR(CheckChoice("weights", args.weights, DType::kF32, tokens, k, place));
  QUIRE_RETURN_IF_ERROR(CheckExperts("expert", args.experts, hidden));
  QUIRE_RETURN_IF_ERROR(CheckExperts("shared expert", args.shared, hidden));
  if (args.shared_gate != nullptr &&
      (args.shared_gate->n() != 1 || args.shared_gate->k() != hidden)) {
    return InvalidArgument("moe: shared_gate is ",
                           ShapeName({args.shared_gate->n(), args.shared_gate->k()}), ", needs ",
                           ShapeName({1, hidden}));
  }
  return CheckIds(args);
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  QUIRE_RETURN_IF_ERROR(Validate(context, args));
  if (args.x.dim(0) == 0) {
    return OkStatus();
  }
  return RunBest("moe", ImplementationsOf(context.stream.device().place().platform), context, args);
}

}  // namespace quire::ops::moe
