#include "ops/speculative_sampling/speculative_sampling.h"

#include "ops/speculative_sampling/rejection.h"

namespace quire::ops::speculative_sampling {

namespace {

using topk_topp_sampling::ValidateAdjustment;
using topk_topp_sampling::ValidateLogits;
using topk_topp_sampling::ValidateRow;

Status ValidateCounts(const Args& args, size_t sequences) {
  const size_t drafts = args.draft_tokens.size();
  if (args.draft_start.size() != sequences + 1 || args.positions.size() != sequences ||
      args.accepted.size() != sequences) {
    return InvalidArgument(kName, ": ", sequences, " params with ", args.draft_start.size(),
                           " draft_start, ", args.positions.size(), " positions and ",
                           args.accepted.size(),
                           " accepted; the counts must be equal, draft_start one more");
  }
  if (!args.history.empty() && args.history.size() != sequences) {
    return InvalidArgument(kName, ": ", sequences, " sequences with ", args.history.size(),
                           " histories; give one for each sequence or none");
  }
  for (size_t i = 0; i < sequences; ++i) {
    if (args.draft_start[i + 1] < args.draft_start[i]) {
      return InvalidArgument(kName, ": draft_start falls from ", args.draft_start[i], " to ",
                             args.draft_start[i + 1], " at sequence ", i, "; it must ascend");
    }
  }
  if (args.draft_start.front() != 0 || args.draft_start.back() != static_cast<int64_t>(drafts)) {
    return InvalidArgument(kName, ": draft_start runs from ", args.draft_start.front(), " to ",
                           args.draft_start.back(), " for ", drafts,
                           " draft_tokens; it must run from 0 to their number");
  }
  const size_t rows = drafts + sequences;
  if (args.logits.dim(0) != static_cast<int64_t>(rows) || args.out.size() != rows) {
    return InvalidArgument(kName, ": ", drafts, " drafts of ", sequences, " sequences with ",
                           args.logits.dim(0), " rows of logits and ", args.out.size(),
                           " places for tokens; both must be their sum, ", rows);
  }
  return OkStatus();
}

Status ValidateDrafts(const Args& args, Place place) {
  const int64_t vocabulary = args.logits.dim(1);
  for (size_t i = 0; i < args.draft_tokens.size(); ++i) {
    if (args.draft_tokens[i] < 0 || args.draft_tokens[i] >= vocabulary) {
      return InvalidArgument(kName, ": draft_tokens[", i, "] is ", args.draft_tokens[i],
                             "; it must be within the vocabulary of ", vocabulary);
    }
  }
  const TensorView& probs = args.draft_probs;
  if (!probs.defined()) {
    return OkStatus();
  }
  const auto drafts = static_cast<int64_t>(args.draft_tokens.size());
  if (probs.dtype() != DType::kF32 || probs.rank() != 2 || probs.place() != place ||
      probs.dim(0) != drafts || probs.dim(1) != vocabulary) {
    return InvalidArgument(kName, ": draft_probs is ", Describe(probs), "; it must be f32 [",
                           drafts, ", ", vocabulary, "] on ", PlaceName(place));
  }
  if (vocabulary > 1 && probs.stride(1) != 1) {
    return InvalidArgument(kName, ": the last axis of draft_probs has stride ", probs.stride(1),
                           "; it must be contiguous");
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateLogits(kName, args.logits, place));
  QUIRE_RETURN_IF_ERROR(ValidateCounts(args, args.params.size()));
  QUIRE_RETURN_IF_ERROR(ValidateDrafts(args, place));
  for (size_t i = 0; i < args.params.size(); ++i) {
    const SamplingParams& params = args.params[i];
    const auto index = static_cast<int64_t>(i);
    QUIRE_RETURN_IF_ERROR(ValidateRow(kName, index, params, args.logits.dim(1)));
    if (params.UsesHistory() && args.history.empty()) {
      return InvalidArgument(kName, ": row ", index,
                             " has a penalty but there is no history; give one for each sequence");
    }
    const Sequence sequence(args, index);
    QUIRE_RETURN_IF_ERROR(ValidateAdjustment(
        kName, index, params, sequence.HistoryAt(static_cast<int64_t>(sequence.drafts.size())),
        args.logits.dim(1)));
  }
  return OkStatus();
}

}  // namespace

Status FirstFault(std::span<const SequenceFault> faults) {
  for (const SequenceFault& fault : faults) {
    if (fault.draft_prob) {
      return InvalidArgument(kName, ": the draft_probs for row ", fault.row,
                             " are not those of its draft; they must be in [0, 1] and that of the "
                             "draft more than 0");
    }
    if (!fault.ok()) {
      return topk_topp_sampling::FaultStatus(kName, fault.logits, fault.row);
    }
  }
  return OkStatus();
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest(kName, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::speculative_sampling
