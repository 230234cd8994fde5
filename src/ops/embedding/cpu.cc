#include "ops/cpu_rows.h"
#include "ops/embedding/embedding.h"
#include "tensor/block_formats.h"

namespace quire::ops::embedding {

namespace {

void ReadRows(const Args& args, int64_t begin, int64_t end) {
  const TensorView& table = args.table;
  const int64_t elements = table.dim(1);
  const int64_t row_bytes = BytesOf(table.dtype(), table.stride(0));
  for (int64_t t = begin; t < end; ++t) {
    const void* row = static_cast<const std::byte*>(table.data()) + args.tokens[t] * row_bytes;
    float* out = args.out.as<float>() + t * args.out.stride(0);
    DequantizeRow(table.dtype(), row, elements, out);
    if (args.scale != 1.0f) {
      for (int64_t i = 0; i < elements; ++i) {
        out[i] *= args.scale;
      }
    }
  }
}

Status RunRows(const OpContext& context, const Args& args) {
  ForRowRanges(context, args.out.dim(0), args.out.dim(1),
               [&](int64_t begin, int64_t end) { ReadRows(args, begin, end); });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {{"dequantize_rows", DeviceHas<CpuIsa::kBaseline, Args>, RunRows}};
}

}  // namespace quire::ops::embedding
