#include <algorithm>

#include "ops/page_table_copy/page_table_copy.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::page_table_copy {

namespace {

constexpr int kThreads = 256;

struct Job {
  const int32_t* request_pages;
  const int32_t* request_ids;
  const int32_t* kv_length;
  int32_t* out;
  int64_t request_stride;
  int64_t out_stride;
  int64_t requests;
  int64_t request_width;  // pages
  int64_t out_width;
  int32_t page_size;
};

__global__ void __launch_bounds__(kThreads) CopyTables(Job job) {
  const int64_t id = job.request_ids[blockIdx.x];
  const bool known = id >= 0 && id < job.requests;
  const int64_t length = known ? job.kv_length[blockIdx.x] : 0;
  const int32_t* from = job.request_pages + (known ? id * job.request_stride : 0);
  int32_t* to = job.out + blockIdx.x * job.out_stride;
  const int64_t step = int64_t{gridDim.y} * kThreads;
  for (int64_t page = int64_t{blockIdx.y} * kThreads + threadIdx.x; page < job.out_width;
       page += step) {
    const bool used = page * job.page_size < length && page < job.request_width;
    to[page] = used ? from[page] : -1;
  }
}

Status RunCopyTables(const OpContext& context, const Args& args) {
  if (args.out.dim(0) == 0 || args.out.dim(1) == 0) {
    return OkStatus();
  }
  const Job job = {.request_pages = args.request_pages.as<const int32_t>(),
                   .request_ids = args.request_ids.as<const int32_t>(),
                   .kv_length = args.kv_length.as<const int32_t>(),
                   .out = args.out.as<int32_t>(),
                   .request_stride = args.request_pages.stride(0),
                   .out_stride = args.out.stride(0),
                   .requests = args.request_pages.dim(0),
                   .request_width = args.request_pages.dim(1),
                   .out_width = args.out.dim(1),
                   .page_size = args.page_size};
  const int64_t blocks_per_row = (job.out_width + kThreads - 1) / kThreads;
  const dim3 blocks(static_cast<unsigned>(args.out.dim(0)),
                    static_cast<unsigned>(std::min<int64_t>(blocks_per_row, 64)));
  CopyTables<<<blocks, kThreads, 0, AsCudaStream(context.stream).handle()>>>(job);
  return LaunchStatus("page_table_copy");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"copy_rows", [](const OpContext&, const Args&) { return true; }, RunCopyTables, "i32"}};
}

}  // namespace quire::ops::page_table_copy
