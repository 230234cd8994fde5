// Kernels that start while the one before them on the stream still runs (programmatic dependent
// launch), so that starting costs nothing.
//
// A kernel that was launched so must call WaitForLastKernel() before it touches anything that
// another kernel writes or reads; only constants, such as weights, may come before. It starts once
// every block of the kernel before it has called LetNextKernelStart() or ended.
#pragma once

#include <cuda_runtime.h>

namespace quire::ops {

__device__ inline void LetNextKernelStart() {
  asm volatile("griddepcontrol.launch_dependents;");
}

__device__ inline void WaitForLastKernel() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// Enqueues `kernel`, with `overlapped` so that it may start early.
template <typename... Params>
cudaError_t LaunchOverlapped(void (*kernel)(Params...), bool overlapped, unsigned blocks,
                             unsigned threads, size_t shared_bytes, cudaStream_t stream,
                             Params... params) {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = overlapped ? 1 : 0;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, params...);
}

}  // namespace quire::ops
