// All rows are drawn at once, as if every draft stood; the host then sees how far they do.
#include "ops/speculative_sampling/rejection.h"
#include "ops/topk_topp_sampling/cuda_batch.h"

namespace quire::ops::speculative_sampling {

namespace {

using topk_topp_sampling::PendingRows;
using topk_topp_sampling::RowFault;
using topk_topp_sampling::RowRequest;

SequenceFault FinishSequence(const Args& args, const PendingRows& pending, const Sequence& sequence,
                             int32_t& accepted) {
  accepted = 0;
  const auto drafts = static_cast<int64_t>(sequence.drafts.size());
  for (int64_t i = 0; i <= drafts; ++i) {
    const int64_t row = sequence.first_row + i;
    const auto index = static_cast<size_t>(row);
    if (const RowFault fault = pending.FaultAt(index); fault != RowFault::kNone) {
      return {.logits = fault, .row = row};
    }
    if (pending.HasBadDraftProb(index)) {
      return {.draft_prob = true, .row = row};
    }
    args.out[index] = pending.TokenAt(index);
    if (i == drafts || args.out[index].token != sequence.drafts[i]) {
      break;
    }
    ++accepted;
  }
  return {};
}

Status RunSelect(const OpContext& context, const Args& args) {
  std::vector<RowRequest> requests;
  const auto sequences = static_cast<int64_t>(args.params.size());
  for (int64_t b = 0; b < sequences; ++b) {
    const Sequence sequence(args, b);
    const auto drafts = static_cast<int64_t>(sequence.drafts.size());
    for (int64_t i = 0; i <= drafts; ++i) {
      RowRequest request = {.logits = RowOf(args.logits, sequence.first_row + i).data(),
                            .params = &sequence.params,
                            .history = sequence.HistoryAt(i),
                            .position = sequence.position + i};
      if (i < drafts && sequence.has_probs) {
        request.draft_probs = RowOf(args.draft_probs, sequence.first_draft + i).data();
        request.draft = sequence.drafts[i];
      }
      requests.push_back(request);
    }
  }
  if (requests.empty()) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(const PendingRows pending,
                         PendingRows::Enqueue(context, args.logits.dim(1), requests));
  QUIRE_RETURN_IF_ERROR(context.stream.Synchronize());
  std::vector<SequenceFault> faults;
  for (int64_t b = 0; b < sequences; ++b) {
    faults.push_back(FinishSequence(args, pending, Sequence(args, b), args.accepted[b]));
  }
  return FirstFault(faults);
}

}  // namespace

Implementations CudaImplementations() {
  return {{"select", [](const OpContext&, const Args&) { return true; }, RunSelect, "f32"}};
}

}  // namespace quire::ops::speculative_sampling
