// Both parts of a row are converted whole; tokens are shared out among the threads. All
// implementations write the same bits.
#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"
#include "ops/cpu_convert.h"
#include "ops/cpu_rows.h"
#include "ops/cpu_stream.h"
#include "ops/reshape_and_cache/slots.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::concat_and_cache_mla {

namespace {

constexpr std::string_view kTypes = "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3";

// Calls write(from, elements, to) for both parts of every token that is not skipped. Each thread
// calls finish() after its tokens.
template <typename Write, typename Finish>
void ForParts(const OpContext& context, const Args& args, const Write& write,
              const Finish& finish) {
  const PagedLatentView& cache = args.cache;
  const DType input = args.latent.dtype();
  const auto* latent = static_cast<const std::byte*>(args.latent.data());
  const auto* rope = static_cast<const std::byte*>(args.rope.data());
  const int64_t latent_stride = BytesOf(input, args.latent.stride(0));
  const int64_t rope_stride = BytesOf(input, args.rope.stride(0));
  const int64_t row_bytes = BytesOf(cache.dtype, cache.row_elements());
  const int64_t latent_bytes = BytesOf(cache.dtype, cache.latent_dim);
  ForRowRanges(context, args.slot_mapping.dim(0), cache.row_elements(),
               [&](int64_t begin, int64_t end) {
                 for (int64_t token = begin; token < end; ++token) {
                   const int64_t slot = reshape_and_cache::SlotOf(args.slot_mapping, token);
                   if (slot >= 0) {
                     std::byte* to = static_cast<std::byte*>(cache.data) + slot * row_bytes;
                     write(latent + token * latent_stride, cache.latent_dim, to);
                     write(rope + token * rope_stride, cache.rope_dim, to + latent_bytes);
                   }
                 }
                 finish();
               });
}

template <CpuIsa kIsa>
Status WriteTokens(const OpContext& context, const Args& args) {
  const PagedLatentView& cache = args.cache;
  const DType from = args.latent.dtype();
  if (cache.dtype == DType::kF8E4M3) {
    const ScaledConvertFunction divide = DividerOf(kIsa, from, cache.dtype);
    const float scale = *cache.scale;
    ForParts(
        context, args,
        [=](const void* in, int64_t elements, void* out) { divide(in, elements, scale, out); },
        [] {});
    return OkStatus();
  }
  const int64_t row_bytes = BytesOf(cache.dtype, cache.row_elements());
  if (!StreamingPays(args.slot_mapping.dim(0) * row_bytes, row_bytes, cache.data)) {
    ForParts(context, args, ConverterOf(kIsa, from, cache.dtype), [] {});
    return OkStatus();
  }
  const RowWriter writer(kIsa, from, cache.dtype, /*streaming=*/true);
  ForParts(
      context, args,
      [&](const void* in, int64_t elements, void* out) { writer.Write(in, elements, out); },
      [&] { writer.Finish(); });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, WriteTokens<CpuIsa::kAvx512>, kTypes},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, WriteTokens<CpuIsa::kAvx2>, kTypes},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, WriteTokens<CpuIsa::kBaseline>, kTypes},
  };
}

}  // namespace quire::ops::concat_and_cache_mla
