#include "ops/topk_topp_sampling/cuda_batch.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

namespace {

Status Finish(const PendingRows& pending, size_t row, std::span<SampledToken> out) {
  const RowFault fault = pending.FaultAt(row);
  if (fault == RowFault::kNone) {
    out[row] = pending.TokenAt(row);
  }
  return FaultStatus("topk_topp_sampling", fault, static_cast<int64_t>(row));
}

Status RunSelect(const OpContext& context, const Args& args) {
  std::vector<RowRequest> requests;
  for (int64_t row = 0; row < args.logits.dim(0); ++row) {
    requests.push_back({.logits = args.logits.as<const float>() + row * args.logits.stride(0),
                        .params = &args.params[row],
                        .history = HistoryOf(args, row),
                        .position = args.positions[row]});
  }
  if (requests.empty()) {
    return OkStatus();
  }
  int32_t* const drawn = args.drawn.defined() ? args.drawn.as<int32_t>() : nullptr;
  const int32_t* const before =
      args.drawn_before.defined() ? args.drawn_before.as<const int32_t>() : nullptr;
  QUIRE_ASSIGN_OR_RETURN(
      const PendingRows pending,
      PendingRows::Enqueue(context, args.logits.dim(1), requests, drawn, before));
  if (args.finish != nullptr) {
    *args.finish = [pending, out = args.out](size_t row) { return Finish(pending, row, out); };
    return OkStatus();
  }
  QUIRE_RETURN_IF_ERROR(context.stream.Synchronize());
  Status first_error;
  for (size_t row = 0; row < pending.size(); ++row) {
    const Status status = Finish(pending, row, args.out);
    first_error = first_error.ok() ? status : first_error;
  }
  return first_error;
}

}  // namespace

Implementations CudaImplementations() {
  return {{"select", [](const OpContext&, const Args&) { return true; }, RunSelect, "f32"}};
}

}  // namespace quire::ops::topk_topp_sampling
