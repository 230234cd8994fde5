// Rows of one head are converted whole; tokens are shared out among the threads. All
// implementations write the same bits.
#include <algorithm>
#include <cstring>

#include "ops/reshape_and_cache/slots.h"
#include "platform/cpu/cpu_device.h"
#include "platform/cpu/isa_targets.h"
#include "tensor/half.h"

namespace quire::ops::reshape_and_cache {

namespace {

// Tokens that a thread takes at a time: a decode step is one task and stays on its thread.
constexpr int64_t kTokensPerTask = 64;

using RowFunction = void (*)(const float* from, int64_t elements, void* to);

struct RowFunctions {
  RowFunction f16;
  RowFunction bf16;
};

void CopyRow(const float* from, int64_t elements, void* to) {
  std::memcpy(to, from, static_cast<size_t>(elements) * sizeof(float));
}

void HalfRow(const float* from, int64_t elements, void* to) {
  auto* out = static_cast<uint16_t*>(to);
  for (int64_t i = 0; i < elements; ++i) {
    out[i] = FloatToHalf(from[i]);
  }
}

void BFloat16Row(const float* from, int64_t elements, void* to) {
  auto* out = static_cast<uint16_t*>(to);
  for (int64_t i = 0; i < elements; ++i) {
    out[i] = FloatToBFloat16(from[i]);
  }
}

void WriteToken(const Args& args, RowFunction convert, int64_t token) {
  const int64_t slot = SlotOf(args.slot_mapping, token);
  if (slot < 0) {
    return;
  }
  const PagedKvView& cache = args.cache;
  for (int32_t head = 0; head < cache.num_kv_heads; ++head) {
    const int64_t to = BytesOf(cache.dtype, OffsetOf(cache, slot, head));
    const float* key =
        args.key.as<const float>() + token * args.key.stride(0) + head * args.key.stride(1);
    const float* value =
        args.value.as<const float>() + token * args.value.stride(0) + head * args.value.stride(1);
    convert(key, cache.head_dim, static_cast<std::byte*>(cache.k) + to);
    convert(value, cache.head_dim, static_cast<std::byte*>(cache.v) + to);
  }
}

Status WriteTokens(const OpContext& context, const Args& args, const RowFunctions& functions) {
  const DType dtype = args.cache.dtype;
  const RowFunction convert = dtype == DType::kF16    ? functions.f16
                              : dtype == DType::kBF16 ? functions.bf16
                                                      : CopyRow;
  const int64_t tokens = args.slot_mapping.dim(0);
  const int64_t tasks = (tokens + kTokensPerTask - 1) / kTokensPerTask;
  AsCpuStream(context.stream).threads().ParallelFor(tasks, [&](int64_t task, int) {
    const int64_t end = std::min(tokens, (task + 1) * kTokensPerTask);
    for (int64_t token = task * kTokensPerTask; token < end; ++token) {
      WriteToken(args, convert, token);
    }
  });
  return OkStatus();
}

bool AcceptsAny(const OpContext&, const Args&) {
  return true;
}

Status RunBaseline(const OpContext& context, const Args& args) {
  return WriteTokens(context, args, {HalfRow, BFloat16Row});
}

#if QUIRE_HAVE_X86

QUIRE_BEGIN_AVX2

// The instruction keeps part of a NaN's payload; FloatToHalf() does not.
void HalfRowAvx2(const float* from, int64_t elements, void* to) {
  auto* out = static_cast<uint16_t*>(to);
  const __m256 sign_bit = _mm256_set1_ps(-0.0f);
  const __m256 quiet_nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
  for (int64_t i = 0; i < elements; i += 8) {
    const __m256 x = _mm256_loadu_ps(from + i);
    const __m256 nan = _mm256_or_ps(_mm256_and_ps(x, sign_bit), quiet_nan);
    const __m256 plain = _mm256_blendv_ps(x, nan, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(plain, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
}

void BFloat16RowAvx2(const float* from, int64_t elements, void* to) {
  auto* out = static_cast<uint16_t*>(to);
  const __m256i half = _mm256_set1_epi32(0x7fff);
  const __m256i one = _mm256_set1_epi32(1);
  const __m256i quiet = _mm256_set1_epi32(0x40);
  for (int64_t i = 0; i < elements; i += 8) {
    const __m256 x = _mm256_loadu_ps(from + i);
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, half), _mm256_and_si256(high, one));
    const __m256i rounded = _mm256_srli_epi32(sum, 16);
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i words = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, quiet), is_nan);
    const __m256i packed = _mm256_packus_epi32(words, words);  // each half twice
    const __m256i joined = _mm256_permute4x64_epi64(packed, 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_castsi256_si128(joined));
  }
}

QUIRE_END_TARGET

// Memory is the limit: wider vectors would not be faster.
bool AcceptsAvx2(const OpContext& context, const Args& args) {
  return AsCpuStream(context.stream).isa() >= CpuIsa::kAvx2 && args.cache.head_dim % 8 == 0;
}

Status RunAvx2(const OpContext& context, const Args& args) {
  return WriteTokens(context, args, {HalfRowAvx2, BFloat16RowAvx2});
}

#endif

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx2", AcceptsAvx2, RunAvx2},
#endif
      {"baseline", AcceptsAny, RunBaseline},
  };
}

}  // namespace quire::ops::reshape_and_cache
