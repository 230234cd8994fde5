#include "scheduler/step.h"

namespace quire {

int32_t AcceptedSamples(const Step& step, const Step::Sequence& sequence, size_t first,
                        std::span<const SampledToken> sampled) {
  const int32_t first_draft =
      sequence.first_row + sequence.num_rows - sequence.num_samples + 1;  // its row
  int32_t accepted = 1;
  while (accepted < sequence.num_samples &&
         sampled[first + accepted - 1].token == step.batch.tokens[first_draft + accepted - 1]) {
    ++accepted;
  }
  return accepted;
}

}  // namespace quire
