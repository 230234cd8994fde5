#include "ops/cpu_stream.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops {

namespace {

constexpr int64_t kLineBytes = 64;
// More than the next steps would find in a cache.
constexpr int64_t kLargeBytes = int64_t{8} << 20;
// Lines that are only partly streamed cost more than they save in shorter rows.
constexpr int64_t kLongRowBytes = 8 * kLineBytes;

int64_t PastLine(const void* to) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(to)) % kLineBytes;
}

// One store past the caches. REQUIRES: `to` is aligned to the vector.
#if QUIRE_HAVE_X86
inline void StreamLanes(const Lanes<kBaselineLanes>::Int& v, std::byte* to) {
  __m128i bits;
  std::memcpy(&bits, &v, sizeof(bits));
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), bits);
}

QUIRE_BEGIN_AVX2
inline void StreamLanes(const Lanes<kAvx2Lanes>::Int& v, std::byte* to) {
  __m256i bits;
  std::memcpy(&bits, &v, sizeof(bits));
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), bits);
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
inline void StreamLanes(const Lanes<kAvx512Lanes>::Int& v, std::byte* to) {
  __m512i bits;
  std::memcpy(&bits, &v, sizeof(bits));
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), bits);
}
QUIRE_END_TARGET
#else
inline void StreamLanes(const Lanes<kBaselineLanes>::Int& v, std::byte* to) {
  std::memcpy(to, &v, sizeof(v));
}
#endif

struct StreamBytes {
  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const void* from, int64_t bytes, void* to) {
    const auto* in = static_cast<const std::byte*>(from);
    auto* out = static_cast<std::byte*>(to);
    const int64_t head = std::min(bytes, (kLineBytes - PastLine(to)) % kLineBytes);
    const int64_t end = head + (bytes - head) / kLineBytes * kLineBytes;
    if (head > 0) {
      std::memcpy(out, in, static_cast<size_t>(head));
    }
    typename Lanes<kLanes>::Int v;
    for (int64_t i = head; i < end; i += static_cast<int64_t>(sizeof(v))) {
      std::memcpy(&v, in + i, sizeof(v));
      StreamLanes(v, out + i);
    }
    if (end < bytes) {
      std::memcpy(out + end, in + end, static_cast<size_t>(bytes - end));
    }
  }
};

}  // namespace

bool StreamingPays(int64_t bytes, int64_t row_bytes, const void* to) {
  const bool whole_lines = row_bytes % kLineBytes == 0 && PastLine(to) == 0;
  return bytes >= kLargeBytes && (whole_lines || row_bytes >= kLongRowBytes);
}

StreamFunction StreamerOf(CpuIsa isa) {
  return KernelOf<StreamFunction, StreamBytes>(isa);
}

void FinishStreaming() {
#if QUIRE_HAVE_X86
  _mm_sfence();
#endif
}

RowWriter::RowWriter(CpuIsa isa, DType from, DType to, bool streaming)
    : streaming_(streaming),
      same_type_(from == to),
      from_bytes_(BytesOf(from, 1)),
      to_bytes_(BytesOf(to, 1)),
      convert_(ConverterOf(isa, from, to)),
      stream_(StreamerOf(isa)) {}

void RowWriter::Stream(const void* from, int64_t elements, void* to) const {
  if (same_type_) {
    stream_(from, elements * to_bytes_, to);
    return;
  }
  constexpr int64_t kPieceBytes = 4096;  // stays in the first cache
  alignas(kLineBytes) std::byte piece[kPieceBytes];
  const auto* in = static_cast<const std::byte*>(from);
  auto* out = static_cast<std::byte*>(to);
  const int64_t most = kPieceBytes / to_bytes_;
  for (int64_t i = 0; i < elements; i += most) {
    const int64_t count = std::min(most, elements - i);
    convert_(in + i * from_bytes_, count, piece);
    stream_(piece, count * to_bytes_, out + i * to_bytes_);
  }
}

}  // namespace quire::ops
