#include "ops/paged_attention/paged_attention.h"

#include <algorithm>
#include <bit>

namespace quire::ops::paged_attention {

namespace {

constexpr int kMaxHeadDim = 512;

Status CheckQuery(const Args& args, Place place) {
  const TensorView& query = args.query;
  if (query.rank() != 3 || query.dtype() != DType::kF32 || !query.defined() ||
      query.place() != place) {
    return InvalidArgument("paged_attention: query must be f32 [tokens, heads, head_dim] on ",
                           PlaceName(place), ", not ", Describe(query));
  }
  if (query.stride(2) != 1) {
    return InvalidArgument("paged_attention: the elements of a query head must be contiguous, not ",
                           query.stride(2), " apart");
  }
  const TensorView& out = args.out;
  if (out.dtype() != DType::kF32 || out.shape() != query.shape() || !out.IsContiguous() ||
      !out.defined() || out.place() != place) {
    return InvalidArgument("paged_attention: out must be contiguous f32 ", ShapeName(query.shape()),
                           " on ", PlaceName(place), ", not ", Describe(out));
  }
  return OkStatus();
}

Status CheckCache(const Args& args, Place place) {
  const PagedKvView& cache = args.cache;
  if (cache.dtype != DType::kF32 && cache.dtype != DType::kF16 && cache.dtype != DType::kBF16) {
    return InvalidArgument("paged_attention: a cache of ", InfoOf(cache.dtype).name,
                           " is not read; use f32, f16 or bf16");
  }
  if (cache.page_size < 1 || !std::has_single_bit(static_cast<uint32_t>(cache.page_size))) {
    return InvalidArgument("paged_attention: page size ", cache.page_size,
                           " is not a power of two");
  }
  if (cache.head_dim < 16 || cache.head_dim > kMaxHeadDim || cache.head_dim % 16 != 0) {
    return InvalidArgument("paged_attention: head dim ", cache.head_dim,
                           " is not a multiple of 16 up to ", kMaxHeadDim);
  }
  if (cache.head_dim != args.query.dim(2)) {
    return InvalidArgument("paged_attention: query has head dim ", args.query.dim(2),
                           ", the cache ", cache.head_dim);
  }
  if (cache.num_kv_heads < 1 || args.query.dim(1) % cache.num_kv_heads != 0) {
    return InvalidArgument("paged_attention: ", args.query.dim(1),
                           " query heads are not a multiple of ", cache.num_kv_heads, " kv heads");
  }
  if (cache.place != place) {
    return InvalidArgument("paged_attention: the cache is on ", PlaceName(cache.place),
                           ", the stream on ", PlaceName(place));
  }
  if (cache.num_pages > 0 && (cache.k == nullptr || cache.v == nullptr)) {
    return InvalidArgument("paged_attention: the cache has no memory");
  }
  return OkStatus();
}

Status CheckSequence(const Args& args, int32_t b) {
  const PagedSequences& sequences = args.sequences;
  const PagedKvView& cache = args.cache;
  const int64_t first_row = sequences.query_start[b];
  const int64_t rows = sequences.query_start[b + 1] - first_row;
  const int64_t length = sequences.kv_length[b];
  if (first_row < 0 || rows < 0 || first_row + rows > args.query.dim(0)) {
    return InvalidArgument("paged_attention: sequence ", b, " has the rows ", first_row, " to ",
                           first_row + rows, " of ", args.query.dim(0));
  }
  if (rows > length) {
    return InvalidArgument("paged_attention: sequence ", b, " has ", rows, " query rows but ",
                           length, " tokens in the cache");
  }
  if (rows == 0) {
    return OkStatus();
  }
  const int64_t last_page = (length - 1) / cache.page_size;
  if (last_page >= sequences.max_pages) {
    return InvalidArgument("paged_attention: sequence ", b, " has ", length, " tokens, more than ",
                           sequences.max_pages, " pages of ", cache.page_size, " hold");
  }
  const int64_t first_position = length - rows;
  const int64_t first_key =
      args.window_left < 0 ? 0 : std::max<int64_t>(first_position - args.window_left, 0);
  const int32_t* pages = sequences.page_table + int64_t{b} * sequences.max_pages;
  for (int64_t page = first_key / cache.page_size; page <= last_page; ++page) {
    if (pages[page] < 0 || pages[page] >= cache.num_pages) {
      return InvalidArgument("paged_attention: page ", page, " of sequence ", b, " is ",
                             pages[page], "; the cache has ", cache.num_pages, " pages");
    }
  }
  return OkStatus();
}

Status Validate(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(CheckQuery(args, place));
  QUIRE_RETURN_IF_ERROR(CheckCache(args, place));
  const PagedSequences& sequences = args.sequences;
  if (sequences.num_sequences < 0 ||
      (sequences.num_sequences > 0 &&
       (sequences.page_table == nullptr || sequences.kv_length == nullptr ||
        sequences.query_start == nullptr))) {
    return InvalidArgument("paged_attention: ", sequences.num_sequences,
                           " sequences without page tables, lengths or rows");
  }
  if (args.window_left < -1) {
    return InvalidArgument("paged_attention: window_left ", args.window_left,
                           " is negative; use -1 for no window");
  }
  if (!(args.logit_soft_cap >= 0.0f)) {
    return InvalidArgument("paged_attention: logit_soft_cap ", args.logit_soft_cap,
                           " is negative; use 0 for no cap");
  }
  for (int32_t b = 0; b < sequences.num_sequences; ++b) {
    QUIRE_RETURN_IF_ERROR(CheckSequence(args, b));
  }
  return OkStatus();
}

}  // namespace

Status Run(const OpContext& context, const Args& args) {
  QUIRE_RETURN_IF_ERROR(Validate(context, args));
  return RunBest("paged_attention", ImplementationsOf(context.stream.device().place().platform),
                 context, args);
}

}  // namespace quire::ops::paged_attention
