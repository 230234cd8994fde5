#include "ops/topk_topp_sampling/topk_topp_sampling.h"

#include <algorithm>
#include <cmath>

#include "ops/topk_topp_sampling/distribution.h"
#include "ops/topk_topp_sampling/logit_adjustment.h"
#include "ops/topk_topp_sampling/philox.h"

namespace quire {

namespace {

Status ValidatePenalty(const char* name, float penalty) {
  if (!(penalty >= -2.0f && penalty <= 2.0f)) {
    return InvalidArgument(name, " ", penalty, " is out of range; use -2 to 2");
  }
  return OkStatus();
}

Status ValidateAdjustments(const SamplingParams& params) {
  if (!(params.repetition_penalty > 0.0f) || std::isinf(params.repetition_penalty)) {
    return InvalidArgument("repetition_penalty ", params.repetition_penalty,
                           " is out of range; use more than 0 (1 = off)");
  }
  QUIRE_RETURN_IF_ERROR(ValidatePenalty("presence_penalty", params.presence_penalty));
  QUIRE_RETURN_IF_ERROR(ValidatePenalty("frequency_penalty", params.frequency_penalty));
  for (const TokenBias& entry : params.logit_bias) {
    if (entry.token < 0) {
      return InvalidArgument("logit_bias names token ", entry.token, "; token ids start at 0");
    }
    if (!(entry.bias >= -100.0f && entry.bias <= 100.0f)) {
      return InvalidArgument("logit_bias ", entry.bias, " of token ", entry.token,
                             " is out of range; use -100 to 100");
    }
  }
  return OkStatus();
}

}  // namespace

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
  return ValidateAdjustments(*this);
}

}  // namespace quire

namespace quire::ops::topk_topp_sampling {

Status ValidateLogits(const char* op, const TensorView& logits, Place place) {
  if (logits.dtype() != DType::kF32 || logits.rank() != 2 || logits.place() != place) {
    return InvalidArgument(op, ": logits is ", Describe(logits), "; it must be f32 [R, V] on ",
                           PlaceName(place));
  }
  if (logits.dim(1) < 1 || logits.dim(1) > kMaxVocabulary) {
    return InvalidArgument(op, ": a vocabulary of ", logits.dim(1),
                           " tokens is out of range; use 1 to ", kMaxVocabulary);
  }
  if (logits.dim(1) > 1 && logits.stride(1) != 1) {
    return InvalidArgument(op, ": the last axis of logits has stride ", logits.stride(1),
                           "; it must be contiguous");
  }
  return OkStatus();
}

namespace {

Status ValidateDrawn(const char* name, const TensorView& drawn, int64_t size, Place place) {
  if (drawn.defined() && (drawn.dtype() != DType::kI32 || drawn.shape() != Shape{size} ||
                          drawn.place() != place || !drawn.IsContiguous())) {
    return InvalidArgument("topk_topp_sampling: ", name, " is ", Describe(drawn),
                           "; it must be contiguous i32 [", size, "] on ", PlaceName(place));
  }
  return OkStatus();
}

// How many tokens histories may take from drawn_before.
int64_t DrawnBefore(const Args& args) {
  return args.drawn_before.defined() ? args.drawn_before.shape().elements() : 0;
}

// Histories that name tokens of drawn_before, with these in place, which only the host can do.
class KnownHistories {
 public:
  // REQUIRES: args.drawn_before is on the host.
  explicit KnownHistories(const Args& args)
      : before_(args.drawn_before.as<const int32_t>(), static_cast<size_t>(DrawnBefore(args))),
        rows_(args.history.begin(), args.history.end()) {
    outputs_.reserve(rows_.size());
    for (TokenHistory& row : rows_) {
      if (std::ranges::any_of(row.output, [](int32_t token) { return token < 0; })) {
        row.output = outputs_.emplace_back(Known(row.output));
      }
    }
  }
  std::span<const TokenHistory> rows() const { return rows_; }

 private:
  // What is no number of before_ stays as it is.
  std::vector<int32_t> Known(std::span<const int32_t> tokens) const {
    std::vector<int32_t> known(tokens.begin(), tokens.end());
    for (int32_t& token : known) {
      const auto number = static_cast<size_t>(-1 - int64_t{token});
      token = token < 0 && number < before_.size() ? before_[number] : token;
    }
    return known;
  }

  std::span<const int32_t> before_;
  std::vector<TokenHistory> rows_;
  std::vector<std::vector<int32_t>> outputs_;
};

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(ValidateLogits("topk_topp_sampling", args.logits, place));
  const auto rows = static_cast<size_t>(args.logits.dim(0));
  if (args.params.size() != rows || args.positions.size() != rows || args.out.size() != rows) {
    return InvalidArgument("topk_topp_sampling: ", rows, " rows of logits with ",
                           args.params.size(), " params, ", args.positions.size(),
                           " positions and ", args.out.size(),
                           " places for tokens; the counts must be equal");
  }
  QUIRE_RETURN_IF_ERROR(ValidateDrawn("drawn", args.drawn, args.logits.dim(0), place));
  if (!args.history.empty() && args.history.size() != rows) {
    return InvalidArgument("topk_topp_sampling: ", rows, " rows of logits with ",
                           args.history.size(), " histories; give one for each row or none");
  }
  for (size_t row = 0; row < rows; ++row) {
    QUIRE_RETURN_IF_ERROR(ValidateRow("topk_topp_sampling", static_cast<int64_t>(row),
                                      args.params[row], args.logits.dim(1)));
    if (!args.params[row].AdjustsLogits()) {
      continue;
    }
    if (args.params[row].UsesHistory() && args.history.empty()) {
      return InvalidArgument("topk_topp_sampling: row ", row,
                             " has a penalty but there is no history; give one for each row");
    }
    const auto index = static_cast<int64_t>(row);
    QUIRE_RETURN_IF_ERROR(ValidateAdjustment("topk_topp_sampling", index, args.params[row],
                                             HistoryOf(args, index), args.logits.dim(1),
                                             DrawnBefore(args)));
  }
  return OkStatus();
}

}  // namespace

Status ValidateRow(const char* op, int64_t row, const SamplingParams& params, int64_t vocabulary) {
  if (Status status = params.Validate(); !status.ok()) {
    return status.WithContext(StrCat(op, ": row ", row));
  }
  if (params.top_logprobs > vocabulary) {
    return InvalidArgument(op, ": row ", row, ": top_logprobs ", params.top_logprobs,
                           " exceeds the vocabulary of ", vocabulary);
  }
  return OkStatus();
}

float Uniform(uint64_t seed, int64_t position, uint32_t stream) {
  const auto counter = static_cast<uint64_t>(position);
  const std::array<uint32_t, 4> words =
      Philox4x32({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), stream, 0},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return static_cast<float>(words[0] >> 8) * 0x1p-24f;
}

Status FaultStatus(const char* op, RowFault fault, int64_t row) {
  switch (fault) {
    case RowFault::kNone: return OkStatus();
    case RowFault::kNan: return InvalidArgument(op, ": the logits of row ", row, " hold NaN");
    case RowFault::kInfinite:
      return InvalidArgument(op, ": the largest logit of row ", row,
                             " is +infinity; only -infinity (a masked token) has a meaning");
    case RowFault::kMasked:
      return InvalidArgument(op, ": every token of row ", row,
                             " is masked (-infinity); at least one must be allowed");
  }
  return InternalError(op, ": unknown fault in row ", row);
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(ValidateDrawn("drawn_before", args.drawn_before, DrawnBefore(args), place));
  if (args.drawn_before.defined() && place.IsHost()) {
    const KnownHistories known(args);
    Args all_known = args;
    all_known.history = known.rows();
    all_known.drawn_before = {};
    return Run(context, all_known);
  }
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  if (args.finish != nullptr) {
    *args.finish = nullptr;
  }
  const Status status =
      RunBest("topk_topp_sampling", ImplementationsOf(place.platform), context, args);
  if (args.drawn.defined() && place.IsHost()) {
    std::transform(args.out.begin(), args.out.end(), args.drawn.as<int32_t>(),
                   [](const SampledToken& token) { return token.token; });
  }
  return status;
}

}  // namespace quire::ops::topk_topp_sampling
