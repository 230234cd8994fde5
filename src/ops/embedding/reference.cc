// Element by element from the codes and scales of the format, not through DequantizeRow().
#include <vector>

#include "ops/embedding/token_ids.h"
#include "tensor/block_formats.h"
#include "tensor/element.h"

namespace quire::ops::embedding {

namespace {

void ReadPlainRow(DType dtype, const void* row, std::vector<float>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = LoadElement(row, dtype, static_cast<int64_t>(i));
  }
}

void ReadQuantizedRow(DType dtype, const void* row, std::vector<float>& values) {
  const GroupQuantInfo info = GroupInfoOf(dtype);
  std::vector<uint8_t> codes(values.size());
  std::vector<float> scales(values.size() / info.group);
  std::vector<float> mins(values.size() / info.group);
  UnpackGroups(dtype, row, static_cast<int64_t>(values.size()), codes.data(), scales.data(),
               mins.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t group = i / info.group;
    values[i] = scales[group] * static_cast<float>(codes[i] - info.offset);
    if (info.has_min) {
      values[i] += mins[group];
    }
  }
}

Status RunReference(const OpContext&, const Args& args) {
  const TensorView& table = args.table;
  const TokenIds ids(args);
  const int64_t row_bytes = BytesOf(table.dtype(), table.stride(0));
  std::vector<float> values(static_cast<size_t>(table.dim(1)));
  for (int64_t t = 0; t < ids.size(); ++t) {
    const void* row = static_cast<const std::byte*>(table.data()) + ids[t] * row_bytes;
    if (IsQuantized(table.dtype())) {
      ReadQuantizedRow(table.dtype(), row, values);
    } else {
      ReadPlainRow(table.dtype(), row, values);
    }
    for (int64_t i = 0; i < table.dim(1); ++i) {
      StoreElement(values[static_cast<size_t>(i)] * args.scale, args.out.data(), args.out.dtype(),
                   t * args.out.stride(0) + i);
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::embedding
