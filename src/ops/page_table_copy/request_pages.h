// What page_table_copy and repack_kv_index read: the cache manager's table of requests, and which
// of them the sequences of a step are.
#pragma once

#include <cstdint>
#include <string_view>

#include "ops/implementation.h"
#include "tensor/tensor_view.h"

namespace quire::ops::page_table_copy {

// Pages that `length` tokens take. REQUIRES: length >= 0, page_size >= 1.
inline int64_t PagesOf(int64_t length, int64_t page_size) {
  return (length + page_size - 1) / page_size;
}

// The pages of request `id`. REQUIRES: checked arrays, 0 <= id < R.
inline const int32_t* PagesOfRequest(const TensorView& request_pages, int32_t id) {
  return request_pages.as<const int32_t>() + id * request_pages.stride(0);
}

// For the operator `op`: OK if `array` is i32 of one axis at `place`, contiguous, and has `extent`
// elements (any number for -1); else invalid_argument.
Status CheckIntegers(std::string_view op, std::string_view name, const TensorView& array,
                     int64_t extent, Place place);

// The same for i32 of two axes, of which the first may be strided.
Status CheckTable(std::string_view op, std::string_view name, const TensorView& table, Place place);

// OK if the three arrays have types and shapes that belong together and, where the host can read
// them, each id is in the table and each length needs no more pages than a row of the table has;
// else invalid_argument.
Status CheckRequests(std::string_view op, const TensorView& request_pages,
                     const TensorView& request_ids, const TensorView& kv_length, int32_t page_size,
                     Place place);

}  // namespace quire::ops::page_table_copy
