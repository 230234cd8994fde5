#include "ops/cuda_rows.cuh"
#include "ops/gather_last_rows/gather_last_rows.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::gather_last_rows {

namespace {

constexpr int kThreads = 256;

struct Job {
  const uint8_t* x;
  const int32_t* rows;  // row r of out is row rows[r] + offset of x
  int32_t offset;
  uint8_t* out;
  int64_t x_rows;
  int64_t x_stride;  // bytes
  int64_t out_stride;
  int64_t bytes;  // of a row
};

template <bool kWhole>
__global__ void __launch_bounds__(kThreads) CopyRows(Job job) {
  const int64_t row = int64_t{job.rows[blockIdx.x]} + job.offset;
  if (row < 0 || row >= job.x_rows) {
    return;
  }
  const int64_t step = int64_t{gridDim.y} * kThreads * 16;
  for (int64_t at = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * 16; at < job.bytes;
       at += step) {
    StorePack<kWhole>(LoadPack<kWhole, 16>(job.x + row * job.x_stride, at, job.bytes),
                      job.out + blockIdx.x * job.out_stride, at, job.bytes);
  }
}

Status RunCopyRows(const OpContext& context, const Args& args) {
  const int64_t rows = args.out.dim(0);
  if (rows == 0 || args.out.dim(1) == 0) {
    return OkStatus();
  }
  const DType dtype = args.x.dtype();
  const bool by_row = IsGiven(args.rows);
  const Job job = {
      .x = static_cast<const uint8_t*>(args.x.data()),
      .rows = by_row ? args.rows.as<const int32_t>() : args.query_start.as<const int32_t>() + 1,
      .offset = by_row ? 0 : -1,
      .out = static_cast<uint8_t*>(args.out.data()),
      .x_rows = args.x.dim(0),
      .x_stride = BytesOf(dtype, args.x.stride(0)),
      .out_stride = BytesOf(dtype, args.out.stride(0)),
      .bytes = BytesOf(dtype, args.x.dim(1))};
  const int64_t packs = (job.bytes + 15) / 16;
  const dim3 blocks(static_cast<unsigned>(rows), static_cast<unsigned>(std::min<int64_t>(
                                                     (packs + kThreads - 1) / kThreads, 64)));
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  WithConstant(IsAligned(args.x) && IsAligned(args.out) && job.bytes % 16 == 0,
               [&](auto whole) { CopyRows<whole.value><<<blocks, kThreads, 0, stream>>>(job); });
  return LaunchStatus("gather_last_rows");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"copy_rows", [](const OpContext&, const Args&) { return true; }, RunCopyRows}};
}

}  // namespace quire::ops::gather_last_rows
