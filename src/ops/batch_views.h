// BatchViews: the arrays of a Batch where a step's operators read them.
#pragma once

#include <vector>

#include "ops/batch.h"
#include "tensor/tensor_view.h"

namespace quire {

// Shapes and meaning as in Batch; all contiguous at the place of the stream that runs the step.
struct BatchViews {
  TensorView tokens;        // i32 [T]
  TensorView positions;     // i32 [T]
  TensorView query_start;   // i32 [B + 1]
  TensorView kv_length;     // i32 [B]
  TensorView page_table;    // i32 [B, max_pages]
  TensorView slot_mapping;  // i64 [T]
  TensorView logit_rows;    // i32 [R]
  TensorView drawn = {};    // i32, what DrawnToken() refers to; undefined if there is none

  int64_t num_tokens() const { return tokens.dim(0); }
};

// The batch's own arrays, in host memory; valid as long as it is.
inline BatchViews HostViews(const Batch& batch) {
  // A view has no const form; operators read these arrays.
  const auto view = [](const auto& values, DType dtype, const Shape& shape) {
    using T = typename std::remove_cvref_t<decltype(values)>::value_type;
    return TensorView(const_cast<T*>(values.data()), dtype, shape);
  };
  const int64_t tokens = batch.num_tokens();
  const int64_t sequences = batch.num_sequences();
  return {.tokens = view(batch.tokens, DType::kI32, {tokens}),
          .positions = view(batch.positions, DType::kI32, {tokens}),
          .query_start = view(batch.query_start, DType::kI32, {sequences + 1}),
          .kv_length = view(batch.kv_length, DType::kI32, {sequences}),
          .page_table = view(batch.page_table, DType::kI32, {sequences, batch.max_pages}),
          .slot_mapping = view(batch.slot_mapping, DType::kI64, {tokens}),
          .logit_rows =
              view(batch.logit_rows, DType::kI32, {static_cast<int64_t>(batch.logit_rows.size())})};
}

}  // namespace quire
