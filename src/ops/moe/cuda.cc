// On the device alone: what the host does not know of the choices, no launch depends on, so a call
// can be captured in a graph.
#include <algorithm>

#include "ops/linear/cuda/cuda_expand.h"
#include "ops/linear/cuda/cuda_round_fp8.h"
#include "ops/moe/cuda_choices.h"
#include "ops/moe/cuda_experts.h"
#include "ops/moe/cuda_few_rows.h"
#include "ops/moe/cuda_many_rows.h"
#include "ops/moe/expert.h"
#include "ops/scratch.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::moe {

namespace {

// But for what the chosen experts give.
Result<Combine> CombineOf(const OpContext& context, const Args& args) {
  QUIRE_ASSIGN_OR_RETURN(const SharedSum shared, RunShared(context, args));
  return Combine{.weights = args.weights.as<const float>(),
                 .tokens = args.x.dim(0),
                 .hidden = args.x.dim(1),
                 .k = static_cast<int>(args.ids.dim(1)),
                 .shared = shared.sum,
                 .shared_gate = shared.gates,
                 .out = args.out.data(),
                 .out_type = args.out.dtype(),
                 .out_stride = args.out.stride(0),
                 .accumulate = args.accumulate};
}

template <typename T>
T* Array(const OpContext& context, int64_t count) {
  return context.workspace.Allocate<T>(static_cast<size_t>(count));
}

DType ProductType(const ExpertWeights& weights) {
  return weights.shape.kind == linear::DeviceKind::kF16 ? DType::kF16 : DType::kBF16;
}

// `out` [rows, whole spans] = x rounded to f8e4m3, in bf16; they may be the same.
Status Round(const OpContext& context, const TensorView& x, int64_t k, const TensorView& out) {
  return CudaStatus(
      linear::RoundToFp8({.x = x.data(),
                          .x_type = x.dtype(),
                          .x_stride = x.stride(0),
                          .m = x.dim(0),
                          .k = k,
                          .spans = out.dim(1) / linear::SpanOf(linear::DeviceKind::kF8),
                          .bf16 = out.data()},
                         AsCudaStream(context.stream).handle()),
      "moe: RoundToFp8");
}

// The rows of x as the experts' products read them.
Status SetRows(const OpContext& context, const Args& args, GroupedProduct& product) {
  const ExpertWeights& weights = product.weights;
  const DType type = ProductType(weights);
  const TensorView& x = args.x;
  const bool aligned = reinterpret_cast<uintptr_t>(x.data()) % 16 == 0 && x.stride(0) % 8 == 0;
  product.x = x.data();
  product.x_stride = x.stride(0);
  const bool rounds = RoundsToFp8(args.experts, &Expert::gate_up);
  if (x.dtype() == type && aligned && weights.columns() == weights.k && !rounds) {
    return OkStatus();
  }
  const TensorView copy = Scratch(context, type, {x.dim(0), weights.columns()});
  product.x = copy.data();
  product.x_stride = copy.stride(0);
  if (rounds) {
    return Round(context, x, weights.k, copy);
  }
  return CudaStatus(linear::CopyRows({.x = x.data(),
                                      .x_type = x.dtype(),
                                      .x_stride = x.stride(0),
                                      .m = x.dim(0),
                                      .k = weights.k,
                                      .k_padded = weights.columns(),
                                      .out = copy.data(),
                                      .out_type = type},
                                     AsCudaStream(context.stream).handle()),
                    "moe: CopyRows");
}

Result<SortedChoices> Sort(const OpContext& context, const Args& args, int32_t tile_rows) {
  const int64_t choices = args.ids.shape().elements();
  const auto experts = static_cast<int64_t>(args.experts.size());
  const SortedChoices sorted = {
      .row_of = Array<int32_t>(context, choices),
      .choice_of = Array<int32_t>(context, choices),
      .tiles = Array<RowTile>(context, TileCount(choices, experts, tile_rows)),
      .tile_rows = tile_rows};
  QUIRE_RETURN_IF_ERROR(CudaStatus(SortChoices(args.ids.as<const int32_t>(), choices, experts,
                                               sorted, AsCudaStream(context.stream).handle()),
                                   "moe: SortKernel"));
  return sorted;
}

// Rows of a tile: what measured best on an H200 for as many choices. Codes are decoded once for a
// tile, so they want more rows. The bits are those of either kernel.
int32_t TileRows(const OpContext& context, const Args& args, bool coded) {
  const int64_t many = coded ? 32 : 12;  // choices of an expert
  const auto experts = static_cast<int64_t>(args.experts.size());
  const int64_t choices = args.ids.shape().elements();
  if (!context.batch_invariant && choices >= experts * many &&
      context.stream.device().properties().instruction_set == "sm_90") {
    return kManyRows;
  }
  return choices <= experts * kFewRows / 2 ? kFewRows : kSomeRows;
}

// hidden = activation(gate) * up of the rows of `up`, each of its expert.
Status RunUp(const OpContext& context, const GroupedProduct& up, const Activate& activate) {
  cudaStream_t stream = AsCudaStream(context.stream).handle();
  if (up.tile_rows == kManyRows) {
    return CudaStatus(RunManyRows(up, &activate, stream), "moe: ManyRowsKernel");
  }
  const Workspace::Scope scope(context.workspace);
  GroupedProduct product = up;
  Activate sums = activate;
  product.out = Array<float>(context, activate.rows * 2 * activate.features);
  sums.gate_up = product.out;
  QUIRE_RETURN_IF_ERROR(CudaStatus(RunFewRows(product, stream), "moe: FewRowsKernel"));
  return CudaStatus(RunActivate(sums, stream), "moe: ActivateKernel");
}

// What the chosen experts give, into `combine`.
Status RunChosen(const OpContext& context, const Args& args, Combine& combine) {
  cudaStream_t stream = AsCudaStream(context.stream).handle();
  const int64_t choices = args.ids.shape().elements();
  GroupedProduct up = {.weights = WeightsOf(args.experts, &Expert::gate_up), .k = combine.k};
  GroupedProduct down = {.weights = WeightsOf(args.experts, &Expert::down)};
  const bool coded = !linear::IsDense(up.weights.shape.kind);
  up.tile_rows = down.tile_rows = TileRows(context, args, coded);
  up.tile_count = down.tile_count = static_cast<int32_t>(
      TileCount(choices, static_cast<int64_t>(args.experts.size()), up.tile_rows));
  QUIRE_ASSIGN_OR_RETURN(const SortedChoices sorted, Sort(context, args, up.tile_rows));
  up.tiles = down.tiles = sorted.tiles;
  up.choice_of = sorted.choice_of;
  QUIRE_RETURN_IF_ERROR(SetRows(context, args, up));
  const TensorView hidden =
      Scratch(context, ProductType(down.weights), {choices, down.weights.columns()});
  QUIRE_RETURN_IF_ERROR(RunUp(context, up,
                              {.rows = choices,
                               .features = down.weights.k,
                               .k_padded = hidden.stride(0),
                               .activation = args.activation,
                               .out = hidden.data(),
                               .out_type = hidden.dtype()}));
  if (choices > 0 && RoundsToFp8(args.experts, &Expert::down)) {
    QUIRE_RETURN_IF_ERROR(Round(context, hidden, down.weights.k, hidden));
  }
  down.x = hidden.data();
  down.x_stride = hidden.stride(0);
  down.out = Array<float>(context, choices * combine.hidden);
  combine.results = down.out;
  combine.row_of = sorted.row_of;
  return up.tile_rows == kManyRows
             ? CudaStatus(RunManyRows(down, nullptr, stream), "moe: ManyRowsKernel")
             : CudaStatus(RunFewRows(down, stream), "moe: FewRowsKernel");
}

Status RunGrouped(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  QUIRE_ASSIGN_OR_RETURN(Combine combine, CombineOf(context, args));
  if (combine.k > 0) {
    QUIRE_RETURN_IF_ERROR(RunChosen(context, args, combine));
  }
  return CudaStatus(RunCombine(combine, AsCudaStream(context.stream).handle()),
                    "moe: CombineKernel");
}

bool AcceptsGrouped(const OpContext&, const Args& args) {
  return WhyNotGrouped(args.experts, &Expert::gate_up).empty() &&
         WhyNotGrouped(args.experts, &Expert::down).empty();
}

// Each expert on all tokens, whether they chose it or not.
Status RunEveryExpert(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  cudaStream_t stream = AsCudaStream(context.stream).handle();
  QUIRE_ASSIGN_OR_RETURN(Combine combine, CombineOf(context, args));
  combine.k = args.experts.empty() ? 0 : combine.k;
  if (combine.k > 0) {
    QUIRE_ASSIGN_OR_RETURN(const SortedChoices sorted, Sort(context, args, kSomeRows));
    ChosenRows chosen = {.ids = args.ids.as<const int32_t>(),
                         .row_of = sorted.row_of,
                         .choices = args.ids.shape().elements(),
                         .k = combine.k,
                         .hidden = combine.hidden};
    chosen.results = Array<float>(context, chosen.choices * chosen.hidden);
    const TensorView result = Scratch(context, DType::kF32, args.x.shape());
    chosen.result = result.as<const float>();
    for (; chosen.expert < static_cast<int32_t>(args.experts.size()); ++chosen.expert) {
      const Expert& expert = args.experts[static_cast<size_t>(chosen.expert)];
      QUIRE_RETURN_IF_ERROR(RunExpert(context, args.activation, expert, args.x, result, false));
      QUIRE_RETURN_IF_ERROR(CudaStatus(KeepChosen(chosen, stream), "moe: KeepKernel"));
    }
    combine.results = chosen.results;
    combine.row_of = sorted.row_of;
  }
  return CudaStatus(RunCombine(combine, stream), "moe: CombineKernel");
}

}  // namespace

Implementations CudaImplementations() {
  constexpr std::string_view kTypes = "f32, f16, bf16";
  return {
      {"grouped", AcceptsGrouped, RunGrouped, kTypes},
      {"every_expert", [](const OpContext&, const Args&) { return true; }, RunEveryExpert, kTypes}};
}

}  // namespace quire::ops::moe
