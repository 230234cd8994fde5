#include "ops/copy_pages/copy_pages.h"

#include <algorithm>

#include "ops/copy_pages/page_bytes.h"

namespace quire::ops::copy_pages {

namespace {

constexpr std::string_view kOp = "copy_pages";

Status CheckArray(std::string_view name, const TensorView& pages, Place place) {
  if (pages.rank() < 1 || !pages.IsContiguous() ||
      (pages.place() != place && !pages.place().IsHost()) ||
      (!pages.defined() && pages.shape().elements() > 0)) {
    return InvalidArgument(kOp, ": ", name, " is ", Describe(pages),
                           "; it must be contiguous [pages, ...] on ", PlaceName(place),
                           " or the host");
  }
  if (PageElements(pages) % InfoOf(pages.dtype()).block_elements != 0) {
    return InvalidArgument(kOp, ": ", name, " is ", Describe(pages), ", pages of ",
                           PageElements(pages), " elements; they must be whole blocks of ",
                           InfoOf(pages.dtype()).block_elements);
  }
  return OkStatus();
}

// Whether two arrays of different starts share memory.
bool Overlap(const Args& args) {
  const PageCopies copies(args);
  const std::byte* source_end = copies.source + args.source.dim(0) * copies.page_bytes;
  const std::byte* destination_end =
      copies.destination + args.destination.dim(0) * copies.page_bytes;
  return args.source.place() == args.destination.place() && copies.source != copies.destination &&
         copies.source < destination_end && copies.destination < source_end;
}

Status CheckArrays(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(CheckArray("source", args.source, place));
  QUIRE_RETURN_IF_ERROR(CheckArray("destination", args.destination, place));
  bool same = args.source.dtype() == args.destination.dtype() &&
              args.source.rank() == args.destination.rank();
  for (int axis = 1; same && axis < args.source.rank(); ++axis) {
    same = args.source.dim(axis) == args.destination.dim(axis);
  }
  if (!same) {
    return InvalidArgument(kOp, ": source is ", Describe(args.source), ", destination ",
                           Describe(args.destination), "; their pages must be alike");
  }
  if (args.pairs.dtype() != DType::kI32 || args.pairs.rank() != 2 || args.pairs.dim(1) != 2 ||
      !args.pairs.IsContiguous() || args.pairs.place() != place ||
      (!args.pairs.defined() && args.pairs.dim(0) > 0)) {
    return InvalidArgument(kOp, ": pairs is ", Describe(args.pairs),
                           "; it must be contiguous i32 [N, 2] on ", PlaceName(place));
  }
  if (Overlap(args)) {
    return InvalidArgument(kOp,
                           ": source and destination overlap and start at different pages; "
                           "give the same array for both");
  }
  return OkStatus();
}

Status CheckRanges(const Args& args) {
  const auto* pairs = args.pairs.as<const int32_t>();
  for (int64_t i = 0; i < args.pairs.dim(0); ++i) {
    const int32_t from = pairs[2 * i];
    const int32_t to = pairs[2 * i + 1];
    if (from < 0 || from >= args.source.dim(0) || to < 0 || to >= args.destination.dim(0)) {
      return InvalidArgument(kOp, ": pair ", i, " copies page ", from, " of ", args.source.dim(0),
                             " to page ", to, " of ", args.destination.dim(0));
    }
  }
  return OkStatus();
}

// A destination page and the pair that writes it, in an order that sorts by page, then by pair.
int64_t Keyed(int32_t page, int64_t pair) {
  return int64_t{page} << 32 | pair;
}
int64_t PageOf(int64_t key) {
  return key >> 32;
}
int64_t PairOf(int64_t key) {
  return key & 0xffffffff;
}

// REQUIRES: pages in range.
Status CheckDestinations(const OpContext& context, const Args& args) {
  const auto* pairs = args.pairs.as<const int32_t>();
  const int64_t count = args.pairs.dim(0);
  const Workspace::Scope scope(context.workspace);
  auto* keys = context.workspace.Allocate<int64_t>(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    keys[i] = Keyed(pairs[2 * i + 1], i);
  }
  std::sort(keys, keys + count);
  for (int64_t i = 1; i < count; ++i) {
    if (PageOf(keys[i]) == PageOf(keys[i - 1])) {
      return InvalidArgument(kOp, ": pairs ", PairOf(keys[i - 1]), " and ", PairOf(keys[i]),
                             " both write page ", PageOf(keys[i]), "; give each page once");
    }
  }
  for (int64_t i = 0; args.source.data() == args.destination.data() && i < count; ++i) {
    const int64_t* writer = std::lower_bound(keys, keys + count, Keyed(pairs[2 * i], 0));
    if (writer != keys + count && PageOf(*writer) == pairs[2 * i]) {
      return InvalidArgument(kOp, ": pair ", PairOf(*writer), " writes page ", pairs[2 * i],
                             ", which pair ", i, " reads; a page cannot be both in one call");
    }
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(CheckArrays(args, place));
  if (place.IsHost()) {
    QUIRE_RETURN_IF_ERROR(CheckRanges(args));
    QUIRE_RETURN_IF_ERROR(CheckDestinations(context, args));
  }
  return RunBest(kOp, ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::copy_pages
