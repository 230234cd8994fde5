// speculative_sampling: which draft tokens of a sequence stand, and the token after them.
//
// The emitted tokens have exactly the distribution that topk_topp_sampling draws from, one token
// after the other, with all its parameters (Leviathan et al. 2023, "Fast inference from
// transformers via speculative decoding"; Chen et al. 2023, "Accelerating large language model
// decoding with speculative sampling"). With p the target distribution of a row after bias,
// penalties, temperature and filters:
//   - Without draft_probs (drafts of prompt lookup, of a greedy model, ...) the token of every row
//     is drawn by the rules of topk_topp_sampling with that row's seed and position, and a draft
//     stands if and only if it is that token. This accepts with probability p(draft) and otherwise
//     draws from p without the draft, as the rejection rule for one-hot drafts asks. More: the
//     emitted tokens are bit for bit those that sampling without drafts would have drawn.
//   - With draft_probs, q: a draft x stands with probability min(1, p(x) / q(x)); the token after
//     the first that falls is drawn from max(p - q, 0), renormalized. Its numbers come from streams
//     1 (acceptance) and 2 (replacement) of Uniform(seed, position), so that the drafts may have
//     been drawn with stream 0. The token after the last draft is that of topk_topp_sampling.
//   - temperature 0: a draft stands if and only if it is the arg max.
// The penalties of a row see the drafts before it as output. All numbers depend on a sequence's own
// inputs alone, never on the batch.
#pragma once

#include <cstdint>
#include <span>

#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::speculative_sampling {

struct Args {
  // f32 [N + B, V]; not changed. A sequence with n drafts has n + 1 rows, from draft_start[b] + b
  // on; row i is the distribution of the token after its first i drafts.
  TensorView logits;
  std::span<const int32_t> draft_start;   // [B + 1] ascending from 0 to N
  std::span<const int32_t> draft_tokens;  // [N] each in [0, V)
  // f32 [N, V] what each draft was drawn from, after the filters of the draft model; or undefined.
  // Read only where the target has weight.
  TensorView draft_probs;
  std::span<const SamplingParams> params;      // [B]
  std::span<const int64_t> positions;          // [B] the counter of each sequence's first row
  std::span<const TokenHistory> history = {};  // [B], or empty if no sequence has a penalty
  std::span<int32_t> accepted;                 // [B] how many drafts stand
  // [N + B], like the rows: the first accepted[b] + 1 of each sequence are its tokens; the others
  // are not written.
  std::span<SampledToken> out;
};

using Implementations = ImplementationList<Args>;

// The implementations of a platform, best first; those of the CPU end in "reference".
const Implementations& ImplementationsOf(PlatformKind platform);

// Errors: invalid_argument (shapes, types, parameters, tokens outside the vocabulary; a row of
// logits that cannot be sampled or a draft whose probability is not in (0, 1], which names the row:
// the other sequences are drawn). Rows after a sequence's last token are not looked at.
Status Run(const OpContext& context, const Args& args);

}  // namespace quire::ops::speculative_sampling
