// Runs one sequence straight through a ModelRunner, without scheduler or cache: for tests that
// compare logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model_runner.h"

namespace quire {

// Sequence pages are taken in order from page 0. One sequence at a time per runner.
class SequenceRunner {
 public:
  explicit SequenceRunner(ModelRunner& runner) : runner_(runner) {}

  // Appends `tokens` in steps of at most `chunk` and returns the logits [n, V] of the last `n` of
  // them.
  Result<std::vector<std::vector<float>>> Append(std::span<const int32_t> tokens, size_t n,
                                                 size_t chunk = 512);

  // Forgets the sequence.
  void Reset() { length_ = 0; }

 private:
  Batch MakeBatch(std::span<const int32_t> tokens, size_t logits_from) const;

  ModelRunner& runner_;
  int32_t length_ = 0;
};

// Index of the largest value, the first of equals.
int32_t ArgMax(std::span<const float> logits);

// -log softmax(logits)[token]
double NegativeLogLikelihood(std::span<const float> logits, int32_t token);

// Perplexity as llama-perplexity defines it: chunks of 512 tokens from empty caches, tokens 257 ..
// 512 scored; `first_token` >= 0 replaces each chunk's first token.
Result<double> Perplexity(ModelRunner& runner, std::span<const int32_t> tokens,
                          int32_t first_token);

}  // namespace quire
