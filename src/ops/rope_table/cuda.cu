#include "ops/rope_table/rope_table.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::rope_table {

namespace {

constexpr int kThreads = 256;

struct Job {
  const int32_t* positions;
  const float* inverse_frequency;
  float2* out;
  int64_t pairs;  // of a row
  int64_t total;  // of all rows
  float scale;
};

__global__ void __launch_bounds__(kThreads) FillTable(Job job) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < job.total) {
    const float angle =
        static_cast<float>(job.positions[at / job.pairs]) * job.inverse_frequency[at % job.pairs];
    job.out[at] = make_float2(cosf(angle) * job.scale, sinf(angle) * job.scale);
  }
}

Status RunFillTable(const OpContext& context, const Args& args) {
  const int64_t pairs = args.out.dim(1);
  const Job job = {.positions = args.positions.as<const int32_t>(),
                   .inverse_frequency = args.inverse_frequency.as<const float>(),
                   .out = static_cast<float2*>(args.out.data()),
                   .pairs = pairs,
                   .total = args.out.dim(0) * pairs,
                   .scale = args.scale};
  if (job.total == 0) {
    return OkStatus();
  }
  const auto blocks = static_cast<unsigned>((job.total + kThreads - 1) / kThreads);
  FillTable<<<blocks, kThreads, 0, AsCudaStream(context.stream).handle()>>>(job);
  return LaunchStatus("rope_table");
}

}  // namespace

Implementations CudaImplementations() {
  return {{.name = "thread_per_pair",
           .accepts = [](const OpContext&, const Args&) { return true; },
           .run = RunFillTable,
           .types = "f32"}};
}

}  // namespace quire::ops::rope_table
