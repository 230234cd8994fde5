#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"
#include "ops/reshape_and_cache/cuda_rows_to_cache.cuh"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::concat_and_cache_mla {

namespace {

using reshape_and_cache::kRowPack;
using reshape_and_cache::Slots;

constexpr int kWarps = 4;  // of a block; each writes a token

template <typename From, typename To>
struct Job {
  const From* latent;
  const From* rope;
  int64_t latent_stride;
  int64_t rope_stride;
  int64_t latent_dim;
  int64_t rope_dim;
  To* cache;
  const float* scale;  // or null
  Slots slots;
  int64_t tokens;
};

template <typename From, typename To, bool kWhole>
__global__ void __launch_bounds__(32 * kWarps) WriteTokens(Job<From, To> job) {
  const int64_t token = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t slot = token < job.tokens ? job.slots.Of(token) : -1;
  if (slot < 0) {
    return;
  }
  const float scale = job.scale != nullptr ? *job.scale : 1.0f;
  To* row = job.cache + slot * (job.latent_dim + job.rope_dim);
  reshape_and_cache::WriteRow<kWhole>(job.latent + token * job.latent_stride, job.latent_dim, scale,
                                      row);
  reshape_and_cache::WriteRow<kWhole>(job.rope + token * job.rope_stride, job.rope_dim, scale,
                                      row + job.latent_dim);
}

Status RunWriteTokens(const OpContext& context, const Args& args) {
  const PagedLatentView& cache = args.cache;
  const int64_t tokens = args.slot_mapping.dim(0);
  if (tokens == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const auto blocks = static_cast<unsigned>((tokens + kWarps - 1) / kWarps);
  const bool whole = IsAligned(args.latent) && IsAligned(args.rope) &&
                     reinterpret_cast<uintptr_t>(cache.data) % 16 == 0 &&
                     cache.latent_dim % kRowPack == 0 && cache.rope_dim % kRowPack == 0;
  WithPlainType(args.latent.dtype(), [&](auto from) {
    reshape_and_cache::WithCacheType(cache.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const Job<From, To> job = {
          .latent = args.latent.as<From>(),
          .rope = args.rope.as<From>(),
          .latent_stride = args.latent.stride(0),
          .rope_stride = args.rope.stride(0),
          .latent_dim = cache.latent_dim,
          .rope_dim = cache.rope_dim,
          .cache = static_cast<To*>(cache.data),
          .scale = cache.scale,
          .slots = Slots(args.slot_mapping, cache.num_pages * cache.page_size),
          .tokens = tokens};
      WithConstant(whole, [&](auto constant) {
        WriteTokens<From, To, constant.value><<<blocks, 32 * kWarps, 0, stream>>>(job);
      });
    });
  });
  return LaunchStatus("concat_and_cache_mla");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"warp_per_token", [](const OpContext&, const Args&) { return true; }, RunWriteTokens,
           "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3"}};
}

}  // namespace quire::ops::concat_and_cache_mla
