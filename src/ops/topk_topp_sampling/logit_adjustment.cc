#include "ops/topk_topp_sampling/logit_adjustment.h"

#include <algorithm>

namespace quire::ops::topk_topp_sampling {

namespace {

Status ValidateTokens(const char* op, int64_t row, const char* what,
                      std::span<const int32_t> tokens, int64_t vocabulary,
                      int64_t drawn_before = 0) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < -drawn_before || tokens[i] >= vocabulary) {
      return InvalidArgument(op, ": row ", row, ": token ", i, " of the ", what, " is ", tokens[i],
                             "; with a penalty it must be within the vocabulary of ", vocabulary);
    }
  }
  return OkStatus();
}

using TokenLists = std::span<const std::span<const int32_t>>;

template <typename Body>
void ForEachToken(TokenLists lists, const Body& body) {
  for (const std::span<const int32_t> tokens : lists) {
    std::for_each(tokens.begin(), tokens.end(), body);
  }
}

// Once for a token, however often it comes.
void PenalizeRepetition(TokenLists lists, float penalty, float* adjusted, int32_t* counts) {
  ForEachToken(lists, [&](int32_t token) { counts[token] = 0; });
  ForEachToken(lists, [&](int32_t token) {
    if (counts[token]++ == 0) {
      float& logit = adjusted[token];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  });
}

void PenalizeFrequency(TokenLists lists, float presence, float frequency, float* adjusted,
                       int32_t* counts) {
  ForEachToken(lists, [&](int32_t token) { counts[token] = 0; });
  ForEachToken(lists, [&](int32_t token) { ++counts[token]; });
  ForEachToken(lists, [&](int32_t token) {
    if (counts[token] > 0) {  // its first time here
      adjusted[token] -= presence + frequency * static_cast<float>(counts[token]);
      counts[token] = 0;
    }
  });
}

}  // namespace

Status ValidateAdjustment(const char* op, int64_t row, const SamplingParams& params,
                          const RowHistory& history, int64_t vocabulary, int64_t drawn_before) {
  for (const TokenBias& entry : params.logit_bias) {
    if (entry.token >= vocabulary) {
      return InvalidArgument(op, ": row ", row, ": logit_bias names token ", entry.token,
                             "; it must be within the vocabulary of ", vocabulary);
    }
  }
  if (!params.UsesHistory()) {
    return OkStatus();
  }
  QUIRE_RETURN_IF_ERROR(ValidateTokens(op, row, "prompt", history.prompt, vocabulary));
  QUIRE_RETURN_IF_ERROR(
      ValidateTokens(op, row, "output", history.output, vocabulary, drawn_before));
  return ValidateTokens(op, row, "drafts", history.drafts, vocabulary);
}

void AdjustLogits(std::span<const float> logits, const SamplingParams& params,
                  const RowHistory& history, float* adjusted, int32_t* counts) {
  std::copy(logits.begin(), logits.end(), adjusted);
  for (const TokenBias& entry : params.logit_bias) {
    adjusted[entry.token] += entry.bias;
  }
  const std::span<const int32_t> lists[] = {history.prompt, history.output, history.drafts};
  if (params.repetition_penalty != 1.0f) {
    PenalizeRepetition(lists, params.repetition_penalty, adjusted, counts);
  }
  if (params.presence_penalty != 0.0f || params.frequency_penalty != 0.0f) {
    PenalizeFrequency(TokenLists(lists).subspan(1), params.presence_penalty,
                      params.frequency_penalty, adjusted, counts);
  }
}

}  // namespace quire::ops::topk_topp_sampling
