#include <cstring>

#include "ops/cpu_rows.h"
#include "ops/gather_last_rows/gather_last_rows.h"

namespace quire::ops::gather_last_rows {

namespace {

Status CopyRows(const OpContext& context, const Args& args) {
  const DType dtype = args.x.dtype();
  const auto* x = static_cast<const std::byte*>(args.x.data());
  auto* out = static_cast<std::byte*>(args.out.data());
  const int64_t x_stride = BytesOf(dtype, args.x.stride(0));
  const int64_t out_stride = BytesOf(dtype, args.out.stride(0));
  const auto bytes = static_cast<size_t>(BytesOf(dtype, args.x.dim(1)));
  ForRowRanges(context, args.out.dim(0), args.x.dim(1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(out + r * out_stride, x + SourceRow(args, r) * x_stride, bytes);
    }
  });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {{"copy_rows", DeviceHas<CpuIsa::kBaseline, Args>, CopyRows}};
}

}  // namespace quire::ops::gather_last_rows
