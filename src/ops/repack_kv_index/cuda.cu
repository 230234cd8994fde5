#include "ops/repack_kv_index/repack_kv_index.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::repack_kv_index {

namespace {

constexpr int kThreads = 256;

struct Job {
  const int32_t* request_pages;
  const int32_t* request_ids;
  const int32_t* kv_length;
  int32_t* indptr;
  int32_t* indices;
  int32_t* last_page_len;
  int64_t request_stride;
  int64_t requests;
  int64_t request_width;  // pages
  int64_t capacity;
  int32_t sequences;
  int32_t page_size;
};

__device__ int64_t PagesOfSequence(const Job& job, int32_t b) {
  return (int64_t{max(job.kv_length[b], 0)} + job.page_size - 1) / job.page_size;
}

// Pages of the sequences before `b`, in every thread.
__device__ int64_t PagesBefore(const Job& job, int32_t b) {
  __shared__ unsigned long long total;
  if (threadIdx.x == 0) {
    total = 0;
  }
  __syncthreads();
  unsigned long long mine = 0;
  for (int32_t other = static_cast<int32_t>(threadIdx.x); other < b; other += kThreads) {
    mine += static_cast<unsigned long long>(PagesOfSequence(job, other));
  }
  atomicAdd(&total, mine);  // of integers: the order does not matter
  __syncthreads();
  return static_cast<int64_t>(total);
}

// A block for each sequence, which counts the pages before its own.
__global__ void __launch_bounds__(kThreads) RepackRows(Job job) {
  const auto b = static_cast<int32_t>(blockIdx.x);
  const int64_t begin = PagesBefore(job, b);
  if (b == job.sequences) {  // the last block only closes the list
    if (threadIdx.x == 0) {
      job.indptr[b] = static_cast<int32_t>(begin);
    }
    return;
  }
  const int64_t pages = PagesOfSequence(job, b);
  if (threadIdx.x == 0) {
    job.indptr[b] = static_cast<int32_t>(begin);
    const int64_t full = (pages - 1) * job.page_size;
    job.last_page_len[b] = pages == 0 ? 0 : static_cast<int32_t>(job.kv_length[b] - full);
  }
  const int64_t id = job.request_ids[b];
  if (id < 0 || id >= job.requests) {
    return;
  }
  const int64_t count = min(min(pages, job.request_width), job.capacity - begin);
  for (int64_t page = threadIdx.x; page < count; page += kThreads) {
    job.indices[begin + page] = job.request_pages[id * job.request_stride + page];
  }
}

Status RunRepackRows(const OpContext& context, const Args& args) {
  const Job job = {.request_pages = args.request_pages.as<const int32_t>(),
                   .request_ids = args.request_ids.as<const int32_t>(),
                   .kv_length = args.kv_length.as<const int32_t>(),
                   .indptr = args.indptr.as<int32_t>(),
                   .indices = args.indices.as<int32_t>(),
                   .last_page_len = args.last_page_len.as<int32_t>(),
                   .request_stride = args.request_pages.stride(0),
                   .requests = args.request_pages.dim(0),
                   .request_width = args.request_pages.dim(1),
                   .capacity = args.indices.dim(0),
                   .sequences = static_cast<int32_t>(args.request_ids.dim(0)),
                   .page_size = args.page_size};
  const auto blocks = static_cast<unsigned>(job.sequences) + 1;
  RepackRows<<<blocks, kThreads, 0, AsCudaStream(context.stream).handle()>>>(job);
  return LaunchStatus("repack_kv_index");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"block_per_sequence", [](const OpContext&, const Args&) { return true; }, RunRepackRows,
           "i32"}};
}

}  // namespace quire::ops::repack_kv_index
