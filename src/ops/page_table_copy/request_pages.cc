#include "ops/page_table_copy/request_pages.h"

#include "ops/page_size.h"

namespace quire::ops::page_table_copy {

Status CheckIntegers(std::string_view op, std::string_view name, const TensorView& array,
                     int64_t extent, Place place) {
  if (array.dtype() != DType::kI32 || array.rank() != 1 || !array.IsContiguous() ||
      (extent >= 0 && array.dim(0) != extent) || array.place() != place ||
      (!array.defined() && array.dim(0) > 0)) {
    const std::string shape = extent < 0 ? "of one axis" : ShapeName({extent});
    return InvalidArgument(op, ": ", name, " is ", Describe(array), "; it must be contiguous i32 ",
                           shape, " on ", PlaceName(place));
  }
  return OkStatus();
}

Status CheckTable(std::string_view op, std::string_view name, const TensorView& table,
                  Place place) {
  if (table.dtype() != DType::kI32 || table.rank() != 2 || table.place() != place ||
      (table.dim(1) > 1 && table.stride(1) != 1) ||
      (!table.defined() && table.shape().elements() > 0)) {
    return InvalidArgument(op, ": ", name, " is ", Describe(table),
                           "; it must be i32 of two axes, the last contiguous, on ",
                           PlaceName(place));
  }
  return OkStatus();
}

Status CheckRequests(std::string_view op, const TensorView& request_pages,
                     const TensorView& request_ids, const TensorView& kv_length, int32_t page_size,
                     Place place) {
  QUIRE_RETURN_IF_ERROR(CheckPageSize(op, page_size));
  QUIRE_RETURN_IF_ERROR(CheckTable(op, "request_pages", request_pages, place));
  QUIRE_RETURN_IF_ERROR(CheckIntegers(op, "request_ids", request_ids, -1, place));
  QUIRE_RETURN_IF_ERROR(CheckIntegers(op, "kv_length", kv_length, request_ids.dim(0), place));
  for (int64_t b = 0; place.IsHost() && b < request_ids.dim(0); ++b) {
    const int32_t id = request_ids.as<const int32_t>()[b];
    const int32_t length = kv_length.as<const int32_t>()[b];
    if (id < 0 || id >= request_pages.dim(0)) {
      return InvalidArgument(op, ": sequence ", b, " is request ", id,
                             "; the table has requests 0 to ", request_pages.dim(0) - 1);
    }
    if (length < 0 || PagesOf(length, page_size) > request_pages.dim(1)) {
      return InvalidArgument(op, ": sequence ", b, " has ", length, " tokens, ",
                             length < 0 ? 0 : PagesOf(length, page_size), " pages of ", page_size,
                             "; request_pages has room for 0 to ", request_pages.dim(1), " pages");
    }
  }
  return OkStatus();
}

}  // namespace quire::ops::page_table_copy
