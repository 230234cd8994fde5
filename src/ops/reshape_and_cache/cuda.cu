#include <bit>

#include "ops/reshape_and_cache/cuda_rows_to_cache.cuh"
#include "ops/reshape_and_cache/quantize.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::reshape_and_cache {

namespace {

constexpr int kWarps = 4;  // of a block; each writes a row

template <typename From, typename To>
struct Rows {  // of keys or of values
  const From* from;
  int64_t token_stride;
  int64_t head_stride;
  int64_t elements;
  To* pages;
  PageStrides strides;
  float* scales;
};

template <typename From, typename To>
struct Job {
  Rows<From, To> key;
  Rows<From, To> value;
  Slots slots;
  int page_shift;  // a page has 1 << page_shift tokens
  int heads;
  KvScaling scaling;
  PageStrides scale_strides;
};

template <bool kWhole, typename From>
__device__ float LargestFinite(const From* row, int64_t elements) {
  float largest = 0;
  for (int64_t at = threadIdx.x % 32 * kRowPack; at < elements; at += 32 * kRowPack) {
    const Pack<From, kRowPack> pack = LoadPack<kWhole, kRowPack>(row, at, elements);
#pragma unroll
    for (int i = 0; i < kRowPack; ++i) {
      const float magnitude = fabsf(Widen(pack.values[i]));
      largest = isfinite(magnitude) ? fmaxf(largest, magnitude) : largest;
    }
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, offset));
  }
  return largest;
}

template <typename From, typename To, bool kWhole>
__global__ void __launch_bounds__(32 * kWarps) WriteRows(Job<From, To> job) {
  const int row = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / 32);
  const int64_t slot = job.slots.Of(blockIdx.x);
  if (slot < 0 || row >= 2 * job.heads) {
    return;
  }
  const int head = row / 2;
  const Rows<From, To>& rows = row % 2 == 0 ? job.key : job.value;
  const int64_t page = slot >> job.page_shift;
  const int64_t offset = slot - (page << job.page_shift);
  const From* from = rows.from + blockIdx.x * rows.token_stride + head * rows.head_stride;
  float scale = 1;
  if (job.scaling != KvScaling::kNone) {
    float* const stored = rows.scales + job.scale_strides.Offset(page, head, offset);
    if (job.scaling == KvScaling::kPerTensor) {
      scale = *stored;
    } else {
      scale = TokenHeadScale(LargestFinite<kWhole>(from, rows.elements));
      if (threadIdx.x % 32 == 0) {
        *stored = scale;
      }
    }
  }
  WriteRow<kWhole>(from, rows.elements, scale,
                   rows.pages + rows.strides.Offset(page, head, offset));
}

template <typename From, typename To>
Rows<From, To> RowsOf(const TensorView& from, void* pages, const PageStrides& strides,
                      float* scales) {
  return {.from = from.as<From>(),
          .token_stride = from.stride(0),
          .head_stride = from.stride(1),
          .elements = from.dim(2),
          .pages = static_cast<To*>(pages),
          .strides = strides,
          .scales = scales};
}

bool InWholePacks(const TensorView& from, const void* pages) {
  return IsAligned(from) && reinterpret_cast<uintptr_t>(pages) % 16 == 0 &&
         from.dim(2) % kRowPack == 0;
}

Status RunWriteRows(const OpContext& context, const Args& args) {
  const PagedKvView& cache = args.cache;
  const int64_t tokens = args.slot_mapping.dim(0);
  if (tokens == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const dim3 blocks(static_cast<unsigned>(tokens),
                    static_cast<unsigned>((2 * cache.num_kv_heads + kWarps - 1) / kWarps));
  WithPlainType(args.key.dtype(), [&](auto from) {
    WithCacheType(cache.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const Job<From, To> job = {
          .key = RowsOf<From, To>(args.key, cache.k, cache.KeyStrides(), cache.k_scale),
          .value = RowsOf<From, To>(args.value, cache.v, cache.ValueStrides(), cache.v_scale),
          .slots = Slots(args.slot_mapping, cache.num_pages * cache.page_size),
          .page_shift = std::countr_zero(static_cast<uint32_t>(cache.page_size)),
          .heads = cache.num_kv_heads,
          .scaling = cache.scaling,
          .scale_strides = cache.ScaleStrides()};
      const bool whole = InWholePacks(args.key, cache.k) && InWholePacks(args.value, cache.v);
      WithConstant(whole, [&](auto constant) {
        WriteRows<From, To, constant.value><<<blocks, 32 * kWarps, 0, stream>>>(job);
      });
    });
  });
  return LaunchStatus("reshape_and_cache");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"warp_per_row", [](const OpContext&, const Args&) { return true; }, RunWriteRows,
           "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3"}};
}

}  // namespace quire::ops::reshape_and_cache
