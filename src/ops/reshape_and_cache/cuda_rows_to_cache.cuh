// A warp's write of a row of new keys or values into the cache, for the operators that do so.
#pragma once

#include <type_traits>

#include "ops/cuda_rows.cuh"

namespace quire::ops::reshape_and_cache {

inline constexpr int kRowPack = 4;  // elements that a lane converts at a time: 32 lanes, 128

// Calls body(T{}) with the type that stores f32, f16, bf16 or f8e4m3.
template <typename Body>
void WithCacheType(DType dtype, const Body& body) {
  if (dtype == DType::kF8E4M3) {
    body(Float8{});
  } else {
    WithPlainType(dtype, body);
  }
}

// The slot of a token, i32 or i64; -1 if it is past the cache.
struct Slots {
  explicit Slots(const TensorView& mapping, int64_t num_slots)
      : data(mapping.data()), wide(mapping.dtype() == DType::kI64), count(num_slots) {}

  __device__ int64_t Of(int64_t token) const {
    const int64_t slot =
        wide ? static_cast<const int64_t*>(data)[token] : static_cast<const int32_t*>(data)[token];
    return slot < count ? slot : -1;
  }

  const void* data;
  bool wide;
  int64_t count;
};

// What the cache stores of a pack: its bits where the types are one, x / scale as f8e4m3, else
// rounded.
template <typename To, typename From, int kCount>
__device__ Pack<To, kCount> ToCache(const Pack<From, kCount>& pack, float scale) {
  if constexpr (std::is_same_v<From, To>) {
    return pack;
  } else {
    Pack<To, kCount> out;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float value = Widen(pack.values[i]);
      Narrow(std::is_same_v<To, Float8> ? KeepNaN(value, value / scale) : value, out.values[i]);
    }
    return out;
  }
}

// Writes from[0, elements) to `to`. Each lane of a warp calls it.
template <bool kWhole, typename From, typename To>
__device__ void WriteRow(const From* from, int64_t elements, float scale, To* to) {
  const int64_t lane = threadIdx.x % 32;
  for (int64_t at = lane * kRowPack; at < elements; at += 32 * kRowPack) {
    const Pack<From, kRowPack> pack = LoadPack<kWhole, kRowPack>(from, at, elements);
    StorePack<kWhole>(ToCache<To>(pack, scale), to, at, elements);
  }
}

}  // namespace quire::ops::reshape_and_cache
