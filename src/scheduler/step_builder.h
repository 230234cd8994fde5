// StepBuilder: from chosen rows to the arrays of a Batch.
#pragma once

#include <cstdint>

#include "kv_cache/batch_builder.h"
#include "kv_cache/page_table.h"
#include "scheduler/request.h"
#include "scheduler/step.h"

namespace quire {

class StepBuilder {
 public:
  // `sequences` and `rows` are how many are expected.
  StepBuilder(uint64_t serial, size_t sequences, size_t rows);

  // Adds the next `rows` tokens and drafts of `request`, whose KV goes to the end of `table`.
  // REQUIRES: table.length() == request.computed() + rows, 1 <= rows <= request.remaining() and
  // its drafts.
  void Add(const Request& request, const PageTable& table, int32_t rows);

  // The step; REQUIRES: at least one Add.
  Step Finish() &&;

 private:
  Step step_;
  BatchBuilder batch_;
};

}  // namespace quire
