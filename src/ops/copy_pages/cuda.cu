#include "ops/copy_pages/page_bytes.h"
#include "ops/cuda_rows.cuh"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::copy_pages {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kMostBlocksPerPage = 64;

struct Job {
  const uint8_t* source;
  uint8_t* destination;
  const int32_t* pairs;
  int64_t source_pages;
  int64_t destination_pages;
  int64_t bytes;  // of a page
};

template <bool kWhole>
__global__ void __launch_bounds__(kThreads) CopyPairs(Job job) {
  const int64_t from = job.pairs[2 * blockIdx.x];
  const int64_t to = job.pairs[2 * blockIdx.x + 1];
  if (from < 0 || from >= job.source_pages || to < 0 || to >= job.destination_pages) {
    return;
  }
  const int64_t step = int64_t{gridDim.y} * kThreads * 16;
  for (int64_t at = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * 16; at < job.bytes;
       at += step) {
    StorePack<kWhole>(LoadPack<kWhole, 16>(job.source + from * job.bytes, at, job.bytes),
                      job.destination + to * job.bytes, at, job.bytes);
  }
}

Status RunCopyPairs(const OpContext& context, const Args& args) {
  const PageCopies copies(args);
  if (copies.count == 0 || copies.page_bytes == 0) {
    return OkStatus();
  }
  const Job job = {.source = reinterpret_cast<const uint8_t*>(copies.source),
                   .destination = reinterpret_cast<uint8_t*>(copies.destination),
                   .pairs = copies.pairs,
                   .source_pages = args.source.dim(0),
                   .destination_pages = args.destination.dim(0),
                   .bytes = copies.page_bytes};
  const int64_t packs = (job.bytes + 15) / 16;
  const dim3 blocks(
      static_cast<unsigned>(copies.count),
      static_cast<unsigned>(std::min((packs + kThreads - 1) / kThreads, kMostBlocksPerPage)));
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const auto addresses =
      reinterpret_cast<uintptr_t>(job.source) | reinterpret_cast<uintptr_t>(job.destination);
  WithConstant(addresses % 16 == 0 && job.bytes % 16 == 0,
               [&](auto whole) { CopyPairs<whole.value><<<blocks, kThreads, 0, stream>>>(job); });
  return LaunchStatus("copy_pages");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"copy_pairs", [](const OpContext&, const Args&) { return true; }, RunCopyPairs,
           "all types"}};
}

}  // namespace quire::ops::copy_pages
