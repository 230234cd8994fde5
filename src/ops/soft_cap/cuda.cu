#include "ops/soft_cap/soft_cap.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::soft_cap {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) Cap(float* x, int64_t count, float cap) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < count) {
    x[at] = cap * tanhf(x[at] / cap);
  }
}

Status RunCap(const OpContext& context, const Args& args) {
  const int64_t count = args.x.shape().elements();
  if (count == 0) {
    return OkStatus();
  }
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  Cap<<<blocks, kThreads, 0, AsCudaStream(context.stream).handle()>>>(args.x.as<float>(), count,
                                                                      args.cap);
  return LaunchStatus("soft_cap");
}

}  // namespace

Implementations CudaImplementations() {
  return {{.name = "thread_per_element",
           .accepts = [](const OpContext&, const Args&) { return true; },
           .run = RunCap,
           .types = "f32"}};
}

}  // namespace quire::ops::soft_cap
