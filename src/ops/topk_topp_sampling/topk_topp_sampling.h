// topk_topp_sampling: one token per row from logits, by that row's own parameters.
//
// A row's distribution, in this order (that of OpenAI-compatible servers):
//   1. logit_bias: bias is added to its token's logit
//   2. repetition_penalty r: the logit of a token that the prompt or the output holds is divided by
//      r if it is positive, else multiplied by r (CTRL; Keskar et al. 2019)
//   3. presence and frequency penalty: a token that the output holds n > 0 times loses
//      presence + frequency * n (OpenAI; the prompt does not count)
//   4. temperature == 0: the arg max, ties to the lowest token id; nothing below applies
//   5. logits / temperature
//   6. top-k: only the k largest logits stay (ties at the border: lowest ids stay); k <= 0 = off
//   7. top-p: the shortest prefix of the descending order whose probabilities sum to >= p stays, at
//      least one token; p >= 1 = off. The probabilities are the softmax over what top-k left
//      (FilterOrder::kTopKFirst) or over all tokens (kJoint: what both would keep stays).
//   8. min-p: tokens with probability < min_p * the largest probability go; 0 = off
//   9. renormalize and draw by inverse CDF with u = Uniform(seed, position). The CDF runs in
//      descending order of probability if top-k, top-p or min-p is on (top-k: k < V), in ascending
//      order of token ids if all are off.
// Uniform() is counter-based (Philox 4x32-10; Salmon et al., SC'11): a row's draw depends on its
// seed, its position, its history and its logits alone, never on the batch. Probabilities are
// fixed-point numbers (distribution.h), so every implementation draws the same token.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire {

// How top-k and top-p combine.
enum class FilterOrder : uint8_t {
  kTopKFirst,  // top-p of the softmax over what top-k left
  kJoint,      // both of the softmax over all tokens
};

struct TokenBias {
  int32_t token = 0;  // [0, V)
  float bias = 0.0f;  // [-100, 100]
};

// How one request wants its tokens drawn.
struct SamplingParams {
  float temperature = 1.0f;  // >= 0; 0 = greedy
  int32_t top_k = 0;         // <= 0 = off
  float top_p = 1.0f;        // (0, 1]
  float min_p = 0.0f;        // [0, 1]
  uint64_t seed = 0;
  int32_t top_logprobs = -1;  // -1: no log-probabilities; n >= 0: the chosen token's and the n best
  float repetition_penalty = 1.0f;         // > 0; 1 = off
  float presence_penalty = 0.0f;           // [-2, 2]; 0 = off
  float frequency_penalty = 0.0f;          // [-2, 2]; 0 = off
  std::vector<TokenBias> logit_bias = {};  // those of one token add up
  FilterOrder order = FilterOrder::kTopKFirst;

  // Whether the distribution depends on the tokens before.
  bool UsesHistory() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
  // Whether the distribution is not that of the logits themselves.
  bool AdjustsLogits() const { return UsesHistory() || !logit_bias.empty(); }

  // Errors: invalid_argument naming the field, its value and its range. The vocabulary is not known
  // here: a biased token beyond it is an error of the operator.
  Status Validate() const;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // log of the softmax of the unmodified logits: no bias, no penalty
};

struct SampledToken {
  int32_t token = 0;
  float logprob = 0.0f;           // set if top_logprobs >= 0
  std::vector<TokenLogprob> top;  // top_logprobs entries, descending; ties by lowest id
};

// The tokens of a request before the one to draw, for penalties.
struct TokenHistory {
  std::span<const int32_t> prompt;  // each in [0, V)
  std::span<const int32_t> output;  // each in [0, V), or -1 - i for Args::drawn_before
};

}  // namespace quire

namespace quire::ops::topk_topp_sampling {

struct Args {
  TensorView logits;                           // f32 [R, V]; not changed
  std::span<const SamplingParams> params;      // [R]
  std::span<const int64_t> positions;          // [R] the counter of each row's draw
  std::span<const TokenHistory> history = {};  // [R], or empty if no row has a penalty
  std::span<SampledToken> out;                 // [R]
  // Optional i32 [R], contiguous, on the device: the tokens once more, for what is enqueued behind
  // the draw. That of a row that cannot be drawn is any.
  TensorView drawn = {};
  // Optional i32 [n], contiguous, on the device: a token of -1 - i in the output of a history is
  // its element i, which the device may still be to write when this is enqueued. May be the memory
  // of `drawn`.
  TensorView drawn_before = {};
  // Where the device is asynchronous and this is given, Run() only enqueues the draw and sets
  // *finish: call it for each row after the stream has come past the draw (Stream::Synchronize(),
  // or an event recorded behind it). It sets the row's `out` and returns what its logits are guilty
  // of, the same each time. Left empty where `out` is already set. Without it Run() waits for the
  // stream.
  std::function<Status(size_t row)>* finish = nullptr;
};

using Implementations = ImplementationList<Args>;

// The uniform number in [0, 1) of (seed, position). Other streams than 0 are for what draws several
// numbers at one position; all are independent.
float Uniform(uint64_t seed, int64_t position, uint32_t stream = 0);

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shapes, types, parameters, tokens of a bias or a needed history outside
// the vocabulary; a row of logits that holds NaN names the row: all other rows are drawn).
//
// Rows with a penalty or a bias work on a copy of their logits in the workspace; others do not pay.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::topk_topp_sampling
