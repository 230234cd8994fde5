// DraftSource: guesses the next tokens of requests, for speculative decoding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quire {

struct DraftQuery {
  uint64_t id = 0;                  // of the request
  std::span<const int32_t> tokens;  // its prompt and output, at least one
  int32_t most = 0;                 // at least 1
  std::vector<int32_t> drafts;      // the answer: at most `most` tokens to follow, maybe none
};

// A guess costs rows of a step where it is wrong and saves steps where it is right; it never
// changes an answer. The tokens of a request only grow. One thread at a time.
class DraftSource {
 public:
  virtual ~DraftSource() = default;

  // Answers all queries of a step together, so that a model can run them as one batch.
  virtual void Propose(std::span<DraftQuery> queries) = 0;
  // The request has ended.
  virtual void Forget(uint64_t id) = 0;
};

}  // namespace quire
