// Element by element from the codes and scales of the format, not through DequantizeRow().
#include <vector>

#include "ops/embedding/embedding.h"
#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace quire::ops::embedding {

namespace {

void ReadPlainRow(DType dtype, const void* row, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    if (dtype == DType::kF32) {
      out[i] = static_cast<const float*>(row)[i];
    } else if (dtype == DType::kF16) {
      out[i] = HalfToFloat(static_cast<const uint16_t*>(row)[i]);
    } else {
      out[i] = BFloat16ToFloat(static_cast<const uint16_t*>(row)[i]);
    }
  }
}

void ReadQuantizedRow(DType dtype, const void* row, std::span<float> out) {
  const GroupQuantInfo info = GroupInfoOf(dtype);
  std::vector<uint8_t> codes(out.size());
  std::vector<float> scales(out.size() / info.group);
  std::vector<float> mins(out.size() / info.group);
  UnpackGroups(dtype, row, static_cast<int64_t>(out.size()), codes.data(), scales.data(),
               mins.data());
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t group = i / info.group;
    out[i] = scales[group] * static_cast<float>(codes[i] - info.offset);
    if (info.has_min) {
      out[i] += mins[group];
    }
  }
}

Status RunReference(const OpContext&, const Args& args) {
  const TensorView& table = args.table;
  const int64_t row_bytes = BytesOf(table.dtype(), table.stride(0));
  for (size_t t = 0; t < args.tokens.size(); ++t) {
    const void* row = static_cast<const std::byte*>(table.data()) + args.tokens[t] * row_bytes;
    const std::span<float> out(args.out.as<float>() + static_cast<int64_t>(t) * args.out.stride(0),
                               static_cast<size_t>(table.dim(1)));
    if (IsQuantized(table.dtype())) {
      ReadQuantizedRow(table.dtype(), row, out);
    } else {
      ReadPlainRow(table.dtype(), row, out);
    }
    for (float& value : out) {
      value *= args.scale;
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::embedding
