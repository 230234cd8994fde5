// Pages are cut into pieces, so that few large pages keep all threads busy too. Copies that are
// large in all go past the caches: their destination would have to be read before it is written,
// and would drive out what is in use.
#include <algorithm>
#include <cstring>

#include "ops/copy_pages/copy_pages.h"
#include "ops/copy_pages/page_bytes.h"
#include "ops/cpu_rows.h"
#include "ops/cpu_stream.h"

namespace quire::ops::copy_pages {

namespace {

constexpr std::string_view kTypes = "all types";
constexpr int64_t kPieceBytes = 256 * 1024;

// Calls copy(from, bytes, to, ahead) for every piece; `ahead` is where a piece of the near future
// starts, or the last of them. Each thread calls finish() after its pieces.
template <typename Copy, typename Finish>
void ForPieces(const OpContext& context, const Args& args, const Copy& copy, const Finish& finish) {
  constexpr int64_t kPiecesAhead = 2;
  const PageCopies copies(args);
  const int64_t page_pieces = (copies.page_bytes + kPieceBytes - 1) / kPieceBytes;
  const int64_t piece_bytes = std::min(copies.page_bytes, kPieceBytes);
  const auto offset_of = [=](int64_t piece) { return piece % page_pieces * kPieceBytes; };
  ForRowRanges(context, copies.count * page_pieces, piece_bytes, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t pair = piece / page_pieces;
      const int64_t offset = offset_of(piece);
      const int64_t ahead = std::min(piece + kPiecesAhead, end - 1);
      copy(copies.From(pair) + offset, std::min(kPieceBytes, copies.page_bytes - offset),
           copies.To(pair) + offset, copies.From(ahead / page_pieces) + offset_of(ahead));
    }
    finish();
  });
}

Status CopyPieces(const OpContext& context, const Args& args) {
  ForPieces(
      context, args,
      [](const std::byte* from, int64_t bytes, std::byte* to, const std::byte*) {
        std::memcpy(to, from, static_cast<size_t>(bytes));
      },
      [] {});
  return OkStatus();
}

#if QUIRE_HAVE_X86

template <CpuIsa kIsa>
Status StreamPieces(const OpContext& context, const Args& args) {
  constexpr int64_t kLineBytes = 64;
  const int64_t page_bytes = PageCopies(args).page_bytes;
  const StreamFunction stream = StreamerOf(kIsa);
  ForPieces(
      context, args,
      [=](const std::byte* from, int64_t bytes, std::byte* to, const std::byte* ahead) {
        // The hardware's own prefetching starts late in each page and ends with it.
        for (int64_t i = 0; i < std::min<int64_t>(page_bytes, 1024); i += kLineBytes) {
          __builtin_prefetch(ahead + i);
        }
        stream(from, bytes, to);
      },
      FinishStreaming);
  return OkStatus();
}

// It can take any problem, and does so when it is asked for by name.
template <CpuIsa kIsa>
bool AcceptsLarge(const OpContext& context, const Args& args) {
  const PageCopies copies(args);
  const bool pays =
      StreamingPays(copies.count * copies.page_bytes, copies.page_bytes, copies.destination);
  return DeviceHas<kIsa>(context, args) && (pays || !context.implementation.empty());
}

#endif

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512_stream", AcceptsLarge<CpuIsa::kAvx512>, StreamPieces<CpuIsa::kAvx512>, kTypes},
      {"stream", AcceptsLarge<CpuIsa::kBaseline>, StreamPieces<CpuIsa::kBaseline>, kTypes},
#endif
      {"memcpy", [](const OpContext&, const Args&) { return true; }, CopyPieces, kTypes},
  };
}

}  // namespace quire::ops::copy_pages
