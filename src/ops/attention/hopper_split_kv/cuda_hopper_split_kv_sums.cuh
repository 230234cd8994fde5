// Where a thread of the kernel of cuda_hopper_split_kv.cuh keeps the sums that do not fit into its
// registers: spans in shared memory, rows, which grow once in a thousand keys, in its local memory.
#pragma once

#include "ops/attention/split_kv/cuda_row_sums.cuh"

namespace quire::ops::attention::cuda::hopper_split_kv {

// Four floats at a time of a warp's threads side by side.
struct SharedSums {
  uint32_t memory;
  int lane;

  __device__ __forceinline__ uint32_t At(int i) const {
    return memory + static_cast<uint32_t>(i * 32 + lane) * 16;
  }
  __device__ __forceinline__ float4 Load(int i) const {
    float4 x;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "r"(At(i))
                 : "memory");
    return x;
  }
  __device__ __forceinline__ void Store(int i, const float4& x) const {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(At(i)), "f"(x.x), "f"(x.y),
                 "f"(x.z), "f"(x.w)
                 : "memory");
  }
};

struct LocalSums {
  uint64_t memory;

  __device__ __forceinline__ float4 Load(int i) const {
    float4 x;
    asm volatile("ld.local.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "l"(memory + i * 16)
                 : "memory");
    return x;
  }
  __device__ __forceinline__ void Store(int i, const float4& x) const {
    asm volatile("st.local.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(memory + i * 16), "f"(x.x),
                 "f"(x.y), "f"(x.z), "f"(x.w)
                 : "memory");
  }
};

template <int kDim>
struct LocalMemory {
  float4 data[kDim / 8];

  __device__ __forceinline__ LocalSums Sums() const { return {__cvta_generic_to_local(data)}; }
};

}  // namespace quire::ops::attention::cuda::hopper_split_kv
