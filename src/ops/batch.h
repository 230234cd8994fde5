// Batch: the one description of a step that the scheduler makes and everything below it reads.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

// In Batch::tokens, the token that the step before draws as its number `sample`: for a step that is
// enqueued before the host knows it.
constexpr int32_t DrawnToken(int32_t sample) {
  return -1 - sample;
}

// B sequences bring T query tokens, ragged: sequence b owns the rows query_start[b] ..
// query_start[b + 1] of every [T] array. Decode rows, prefill chunks and verification rows of
// speculative decoding all have this form. Made once, then never changed: who needs other arrays
// makes its own.
struct Batch {
  std::vector<int32_t> tokens;       // [T] token ids, or DrawnToken()
  std::vector<int32_t> positions;    // [T] position in the sequence, from 0
  std::vector<int32_t> query_start;  // [B + 1] ascending, query_start[0] = 0, query_start[B] = T
  std::vector<int32_t>
      kv_length;  // [B] tokens of the sequence in the cache once this step has written its own
  std::vector<int32_t>
      page_table;  // [B, max_pages] physical page ids; entries past a sequence's pages are -1
  int32_t max_pages = 0;  // row length of page_table
  std::vector<int64_t>
      slot_mapping;  // [T] page * page size + offset of each new token; -1 = not written
  std::vector<int32_t> logit_rows;  // [R] rows of T whose logits are wanted, ascending

  int32_t num_sequences() const { return static_cast<int32_t>(kv_length.size()); }
  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
};

}  // namespace quire
