// topk_topp_sampling: one token per row from logits, by that row's own parameters.
//
// A row's distribution, in this order (the order of OpenAI-compatible servers):
//   1. temperature == 0: the arg max, ties to the lowest token id; nothing below applies.
//   2. logits / temperature
//   3. top-k: only the k largest logits stay (ties at the border: lowest ids stay); k <= 0 = off
//   4. softmax over what stays
//   5. top-p: the shortest prefix of the descending order whose probabilities sum to >= p stays, at
//   least
//      one token; p >= 1 = off
//   6. min-p: tokens with probability < min_p * the largest probability go; 0 = off
//   7. renormalize and draw by inverse CDF in descending order, with u = Uniform(seed, position)
// Uniform() is counter-based (Philox 4x32-10; Salmon et al., SC'11): a row's draw depends on its
// seed, its position and its logits alone, never on the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire {

// How one request wants its tokens drawn.
struct SamplingParams {
  float temperature = 1.0f;  // >= 0; 0 = greedy
  int32_t top_k = 0;         // <= 0 = off
  float top_p = 1.0f;        // (0, 1]
  float min_p = 0.0f;        // [0, 1]
  uint64_t seed = 0;
  int32_t top_logprobs = -1;  // -1: no log-probabilities; n >= 0: the chosen token's and the n best

  // Errors: invalid_argument naming the field, its value and its range.
  Status Validate() const;
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // natural log of the softmax of the unmodified logits
};

struct SampledToken {
  int32_t token = 0;
  float logprob = 0.0f;           // set if top_logprobs >= 0
  std::vector<TokenLogprob> top;  // top_logprobs entries, descending; ties by lowest id
};

}  // namespace quire

namespace quire::ops::topk_topp_sampling {

struct Args {
  TensorView logits;                       // f32 [R, V]; not changed
  std::span<const SamplingParams> params;  // [R]
  std::span<const int64_t> positions;      // [R] the counter of each row's draw
  std::span<SampledToken> out;             // [R]
};

using Implementations = ImplementationList<Args>;

// The uniform number in [0, 1) of (seed, position).
float Uniform(uint64_t seed, int64_t position);

// The implementations of a platform, best first, ending in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shapes, types, parameters; a row of logits that holds NaN names the
// row).
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::topk_topp_sampling
