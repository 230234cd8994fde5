#include "ops/topk_topp_sampling/cuda_batch.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

namespace {

Status Finish(const PendingRows& pending, std::span<SampledToken> out) {
  Status first_error;
  for (size_t row = 0; row < pending.size(); ++row) {
    if (const RowFault fault = pending.FaultAt(row); fault == RowFault::kNone) {
      out[row] = pending.TokenAt(row);
    } else if (first_error.ok()) {
      first_error = FaultStatus("topk_topp_sampling", fault, static_cast<int64_t>(row));
    }
  }
  return first_error;
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
  QUIRE_ASSIGN_OR_RETURN(const PendingRows pending,
                         PendingRows::Enqueue(context, args.logits.dim(1), requests));
  if (args.finish != nullptr) {
    *args.finish = [pending, out = args.out] { return Finish(pending, out); };
    return OkStatus();
  }
  QUIRE_RETURN_IF_ERROR(context.stream.Synchronize());
  return Finish(pending, args.out);
}

}  // namespace

Implementations CudaImplementations() {
  return {{"select", [](const OpContext&, const Args&) { return true; }, RunSelect, "f32"}};
}

}  // namespace quire::ops::topk_topp_sampling
