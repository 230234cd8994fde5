#include "ops/topk_topp_sampling/topk_topp_sampling.h"

#include <cmath>

#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/philox.h"

namespace quire {

// The comparisons are written so that a NaN fails them.
Status SamplingParams::Validate() const {
  if (!(temperature >= 0.0f) || std::isinf(temperature)) {
    return InvalidArgument("temperature ", temperature, " is out of range; use 0 (greedy) or more");
  }
  if (!(top_p > 0.0f && top_p <= 1.0f)) {
    return InvalidArgument("top_p ", top_p, " is out of range; use more than 0, at most 1");
  }
  if (!(min_p >= 0.0f && min_p <= 1.0f)) {
    return InvalidArgument("min_p ", min_p, " is out of range; use 0 to 1");
  }
  if (top_logprobs < -1) {
    return InvalidArgument("top_logprobs ", top_logprobs,
                           " is out of range; use -1 (none) or how many tokens to list");
  }
  return OkStatus();
}

}  // namespace quire

namespace quire::ops::topk_topp_sampling {

namespace {

Status ValidateLogits(const TensorView& logits, Place place) {
  if (logits.dtype() != DType::kF32 || logits.rank() != 2 || logits.place() != place) {
    return InvalidArgument("topk_topp_sampling: logits is ", Describe(logits),
                           "; it must be f32 [R, V] on ", PlaceName(place));
  }
  if (logits.dim(1) < 1 || logits.dim(1) > kMaxVocabulary) {
    return InvalidArgument("topk_topp_sampling: a vocabulary of ", logits.dim(1),
                           " tokens is out of range; use 1 to ", kMaxVocabulary);
  }
  if (logits.dim(1) > 1 && logits.stride(1) != 1) {
    return InvalidArgument("topk_topp_sampling: the last axis of logits has stride ",
                           logits.stride(1), "; it must be contiguous");
  }
  return OkStatus();
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateLogits(args.logits, place));
  const auto rows = static_cast<size_t>(args.logits.dim(0));
  if (args.params.size() != rows || args.positions.size() != rows || args.out.size() != rows) {
    return InvalidArgument("topk_topp_sampling: ", rows, " rows of logits with ",
                           args.params.size(), " params, ", args.positions.size(),
                           " positions and ", args.out.size(),
                           " places for tokens; the counts must be equal");
  }
  for (size_t row = 0; row < rows; ++row) {
    if (Status status = args.params[row].Validate(); !status.ok()) {
      return status.WithContext(StrCat("topk_topp_sampling: row ", row));
    }
    if (args.params[row].top_logprobs > args.logits.dim(1)) {
      return InvalidArgument("topk_topp_sampling: row ", row, ": top_logprobs ",
                             args.params[row].top_logprobs, " exceeds the vocabulary of ",
                             args.logits.dim(1));
    }
  }
  return OkStatus();
}

}  // namespace

float Uniform(uint64_t seed, int64_t position) {
  const auto counter = static_cast<uint64_t>(position);
  const std::array<uint32_t, 4> words =
      Philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<float>(words[0] >> 8) * 0x1p-24f;
}

Status FaultStatus(RowFault fault, int64_t row) {
  switch (fault) {
    case RowFault::kNone: return OkStatus();
    case RowFault::kNan:
      return InvalidArgument("topk_topp_sampling: the logits of row ", row, " hold NaN");
    case RowFault::kInfinite:
      return InvalidArgument("topk_topp_sampling: the largest logit of row ", row,
                             " is +infinity; only -infinity (a masked token) has a meaning");
    case RowFault::kMasked:
      return InvalidArgument("topk_topp_sampling: every token of row ", row,
                             " is masked (-infinity); at least one must be allowed");
  }
  return InternalError("topk_topp_sampling: unknown fault in row ", row);
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest("topk_topp_sampling", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::topk_topp_sampling
