#include <bit>

#include "ops/reshape_and_cache/cuda_rows_to_cache.cuh"
#include "ops/rope/cuda_rotate.cuh"
#include "ops/rope_and_cache/rope_and_cache.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::rope_and_cache {

namespace {

using reshape_and_cache::Slots;
using reshape_and_cache::ToCache;

constexpr int kThreads = 128;

template <typename T>
struct Heads {
  explicit Heads(const TensorView& view)
      : data(view.as<T>()),
        token_stride(view.stride(0)),
        head_stride(view.stride(1)),
        heads(static_cast<uint32_t>(view.dim(1))) {}

  __device__ T* At(int64_t token, uint32_t head) const {
    return data + token * token_stride + head * head_stride;
  }

  T* data;
  int64_t token_stride;
  int64_t head_stride;
  uint32_t heads;
};

template <typename T>
struct Pages {
  T* data;
  PageStrides strides;
  const float* scale;  // null: elements are stored as they are
};

// Where a token's row of one head goes.
template <typename T>
struct CacheRow {
  T* data = nullptr;  // null: nowhere
  float scale = 1.0f;

  template <typename From, int kCount>
  __device__ void Write(const Pack<From, kCount>& pack, uint32_t at) const {
    if (data != nullptr) {
      StorePack<true>(ToCache<T>(pack, scale), data, at, 0);
    }
  }
};

template <typename From, typename To>
struct Job {
  Heads<From> query;
  Heads<From> key;
  Heads<From> value;
  const float2* cos_sin;  // [T, pairs]
  uint32_t pairs;
  uint32_t turning;      // items of a head of `query` and `key` that turn
  uint32_t key_items;    // and all of them
  uint32_t value_items;  // of a head of `value`
  Pages<To> key_pages;
  Pages<To> value_pages;
  Slots slots;
  int page_shift;  // a page has 1 << page_shift tokens

  __device__ CacheRow<To> RowOf(const Pages<To>& pages, int64_t token, uint32_t head) const {
    const int64_t slot = slots.Of(token);
    if (slot < 0) {
      return {};
    }
    const int64_t page = slot >> page_shift;
    return {pages.data + pages.strides.Offset(page, head, slot - (page << page_shift)),
            pages.scale == nullptr ? 1.0f : *pages.scale};
  }
};

// Turns one pack of each half of a row, or one pack of neighbours.
template <bool kNeox, typename From, typename To>
__device__ void Turn(const Job<From, To>& job, const float2* cos_sin, From* row,
                     const CacheRow<To>& to, uint32_t item) {
  constexpr int kPack = kPackOf<From>;
  constexpr int kPairs = kNeox ? kPack : kPack / 2;
  const uint32_t at = item * kPack;
  const auto angles = LoadPack<true, kPairs>(cos_sin, item * kPairs, 0);
  auto pack = LoadPack<true, kPack>(row, at, 0);
  if constexpr (kNeox) {
    auto second = LoadPack<true, kPack>(row, job.pairs + at, 0);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      rope::Rotate(angles.values[i], pack.values[i], second.values[i]);
    }
    StorePack<true>(second, row, job.pairs + at, 0);
    to.Write(second, job.pairs + at);
  } else {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      rope::Rotate(angles.values[i], pack.values[2 * i], pack.values[2 * i + 1]);
    }
  }
  StorePack<true>(pack, row, at, 0);
  to.Write(pack, at);
}

// A thread turns or copies one item of a token.
template <typename From, typename To, bool kNeox>
__global__ void __launch_bounds__(kThreads)
    TurnAndWrite(const __grid_constant__ Job<From, To> job) {
  constexpr int kPack = kPackOf<From>;
  cudaTriggerProgrammaticLaunchCompletion();  // attention may come and wait
  const int64_t token = blockIdx.x;
  const uint32_t index = blockIdx.y * kThreads + threadIdx.x;
  const uint32_t of_keys = (job.query.heads + job.key.heads) * job.key_items;
  if (index >= of_keys) {
    const uint32_t head = (index - of_keys) / job.value_items;
    const uint32_t at = (index - of_keys) % job.value_items * kPack;
    if (head < job.value.heads) {
      job.RowOf(job.value_pages, token, head)
          .Write(LoadPack<true, kPack>(job.value.At(token, head), at, 0), at);
    }
    return;
  }
  const uint32_t head = index / job.key_items;
  const uint32_t item = index % job.key_items;
  const bool is_key = head >= job.query.heads;
  From* const row = is_key ? job.key.At(token, head - job.query.heads) : job.query.At(token, head);
  const CacheRow<To> to =
      is_key ? job.RowOf(job.key_pages, token, head - job.query.heads) : CacheRow<To>{};
  if (item < job.turning) {
    Turn<kNeox>(job, job.cos_sin + token * job.pairs, row, to, item);
  } else {
    const uint32_t at = 2 * job.pairs + (item - job.turning) * kPack;
    to.Write(LoadPack<true, kPack>(row, at, 0), at);
  }
}

template <typename From, typename To>
Job<From, To> JobOf(const Args& args) {
  constexpr int kPack = kPackOf<From>;
  const PagedKvView& cache = args.cache;
  const bool scaled = cache.scaling == KvScaling::kPerTensor;
  const auto pairs = static_cast<uint32_t>(args.cos_sin.dim(1));
  const uint32_t turning = pairs / (args.style == rope::Style::kNeox ? kPack : kPack / 2);
  const auto rest = static_cast<uint32_t>(args.key.dim(2)) - 2 * pairs;
  return {.query = Heads<From>(args.query),
          .key = Heads<From>(args.key),
          .value = Heads<From>(args.value),
          .cos_sin = reinterpret_cast<const float2*>(args.cos_sin.as<float>()),
          .pairs = pairs,
          .turning = turning,
          .key_items = turning + rest / kPack,
          .value_items = static_cast<uint32_t>(args.value.dim(2)) / kPack,
          .key_pages = {static_cast<To*>(cache.k), cache.KeyStrides(),
                        scaled ? cache.k_scale : nullptr},
          .value_pages = {static_cast<To*>(cache.v), cache.ValueStrides(),
                          scaled ? cache.v_scale : nullptr},
          .slots = Slots(args.slot_mapping, cache.num_pages * cache.page_size),
          .page_shift = std::countr_zero(static_cast<uint32_t>(cache.page_size))};
}

template <typename From, typename To>
void Launch(const Args& args, cudaStream_t stream) {
  const Job<From, To> job = JobOf<From, To>(args);
  const uint32_t items =
      (job.query.heads + job.key.heads) * job.key_items + job.value.heads * job.value_items;
  const dim3 blocks(static_cast<unsigned>(args.query.dim(0)), (items + kThreads - 1) / kThreads);
  WithConstant(args.style == rope::Style::kNeox, [&](auto neox) {
    TurnAndWrite<From, To, neox.value><<<blocks, kThreads, 0, stream>>>(job);
  });
}

Status RunTurnAndWrite(const OpContext& context, const Args& args) {
  if (args.query.dim(0) == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  WithPlainType(args.query.dtype(), [&](auto from) {
    reshape_and_cache::WithCacheType(
        args.cache.dtype, [&](auto to) { Launch<decltype(from), decltype(to)>(args, stream); });
  });
  return LaunchStatus("rope_and_cache");
}

bool IsAddressAligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// Rows must be in whole packs, and no scale come from a whole row.
bool TakesPacks(const OpContext&, const Args& args) {
  const int64_t pack = 16 / BytesOf(args.query.dtype(), 1);
  const int64_t half =
      args.style == rope::Style::kNeox ? args.cos_sin.dim(1) : 2 * args.cos_sin.dim(1);
  return args.cache.scaling != KvScaling::kPerTokenHead && half % pack == 0 &&
         args.key.dim(2) % pack == 0 && args.value.dim(2) % pack == 0 && IsAligned(args.query) &&
         IsAligned(args.key) && IsAligned(args.value) && IsAddressAligned(args.cos_sin.data()) &&
         IsAddressAligned(args.cache.k) && IsAddressAligned(args.cache.v);
}

}  // namespace

Implementations CudaImplementations() {
  return {{"pack_per_thread", TakesPacks, RunTurnAndWrite,
           "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3 with scales per tensor; whole packs"},
          Composed()};
}

}  // namespace quire::ops::rope_and_cache
