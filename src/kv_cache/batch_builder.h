// BatchBuilder: from the newest tokens of sequences to the arrays of a Batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kv_cache/page_table.h"
#include "ops/batch.h"

namespace quire {

class BatchBuilder {
 public:
  // How many sequences and rows are expected.
  BatchBuilder(size_t sequences, size_t rows);

  // One sequence's rows: `tokens` are the last ones that `table` has room for, and the logits of
  // the last `logits` rows are wanted. The table must stay as it is until Finish.
  // REQUIRES: 1 <= tokens.size() <= table.length(), 0 <= logits <= tokens.size().
  void Add(std::span<const int32_t> tokens, const PageTable& table, int32_t logits);

  int32_t num_rows() const { return batch_.num_tokens(); }

  // REQUIRES: at least one Add.
  Batch Finish() &&;

 private:
  Batch batch_;
  std::vector<const PageTable*> tables_;
};

}  // namespace quire
