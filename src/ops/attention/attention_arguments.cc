#include "ops/attention/attention_arguments.h"

#include "ops/page_size.h"

namespace quire::ops::attention {

namespace {

bool IsMissing(const TensorView& view) {
  return !view.defined() && view.shape().elements() > 0;
}

bool IsRowType(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// An optional contiguous f32 array.
Status CheckFloats(const Caller& caller, std::string_view name, const TensorView& view,
                   const Shape& shape) {
  if (view.defined() && (view.dtype() != DType::kF32 || view.shape() != shape ||
                         !view.IsContiguous() || view.place() != caller.place)) {
    return InvalidArgument(caller.op, ": ", name, " is ", Describe(view),
                           "; it must be contiguous f32 ", ShapeName(shape), " on ",
                           PlaceName(caller.place));
  }
  return OkStatus();
}

Status CheckCacheMemory(const Caller& caller, DType dtype, Place place, bool missing, bool scaled) {
  if (!IsRowType(dtype) && dtype != DType::kF8E4M3) {
    return InvalidArgument(caller.op, ": a cache of ", InfoOf(dtype).name,
                           " is not read; use f32, f16, bf16 or f8e4m3");
  }
  if (scaled != (dtype == DType::kF8E4M3)) {
    return InvalidArgument(caller.op, ": a cache of ", InfoOf(dtype).name, " comes ",
                           scaled ? "with" : "without",
                           " scales; f8e4m3 needs them, other types have none");
  }
  if (place != caller.place) {
    return InvalidArgument(caller.op, ": the cache is on ", PlaceName(place), ", the stream on ",
                           PlaceName(caller.place));
  }
  if (missing) {
    return InvalidArgument(caller.op, ": the cache has no memory");
  }
  return OkStatus();
}

Status CheckSizes(const Caller& caller, const Problem& problem) {
  for (const auto& [name, dim] :
       {std::pair("key", problem.key_dim), {"value", problem.value_dim}}) {
    if (dim < kDimMultiple || dim > kMaxDim || dim % kDimMultiple != 0) {
      return InvalidArgument(caller.op, ": head dim ", dim, " of the ", name,
                             "s is not a multiple of ", kDimMultiple, " up to ", kMaxDim);
    }
  }
  if (problem.kv_heads < 1 || problem.q_heads < 1 || problem.q_heads % problem.kv_heads != 0) {
    return InvalidArgument(caller.op, ": ", problem.q_heads, " query heads are not a multiple of ",
                           problem.kv_heads, " kv heads");
  }
  if (problem.window_left < -1 || problem.window_right < -1) {
    return InvalidArgument(caller.op, ": the window (", problem.window_left, ", ",
                           problem.window_right, ") is negative; use -1 for no limit");
  }
  if (!(problem.logit_soft_cap >= 0.0f)) {
    return InvalidArgument(caller.op, ": logit_soft_cap ", problem.logit_soft_cap,
                           " is negative; use 0 for no cap");
  }
  return OkStatus();
}

// The pages of the keys that some row of sequence b sees.
Status CheckSequencePages(const Caller& caller, const Problem& problem, int32_t b) {
  const int64_t keys = problem.Keys(b);
  const KeySpan first = problem.VisibleKeys(problem.FirstPosition(b), keys);
  const KeySpan last = problem.VisibleKeys(keys - 1, keys);
  const int64_t page_end = (last.end + problem.page_size - 1) / problem.page_size;
  if (page_end > problem.max_pages) {
    return InvalidArgument(caller.op, ": sequence ", b, " has ", keys, " tokens, more than ",
                           problem.max_pages, " pages of ", problem.page_size, " hold");
  }
  const int32_t* pages = problem.page_table + int64_t{b} * problem.max_pages;
  for (int64_t page = first.begin / problem.page_size; page < page_end; ++page) {
    if (pages[page] < 0 || pages[page] >= problem.num_pages) {
      return InvalidArgument(caller.op, ": page ", page, " of sequence ", b, " is ", pages[page],
                             "; the cache has ", problem.num_pages, " pages");
    }
  }
  return OkStatus();
}

Status CheckSequence(const Caller& caller, const Problem& problem, int32_t b) {
  const int64_t first_row = problem.FirstRow(b);
  const int64_t rows = problem.Rows(b);
  if (first_row < 0 || rows < 0 || first_row + rows > problem.num_rows) {
    return InvalidArgument(caller.op, ": sequence ", b, " has the query rows ", first_row, " to ",
                           first_row + rows, " of ", problem.num_rows);
  }
  const int64_t keys = problem.Keys(b);
  if (keys < 0) {
    return InvalidArgument(caller.op, ": sequence ", b, " has ", keys, " keys");
  }
  if (problem.paged()) {
    return rows == 0 ? OkStatus() : CheckSequencePages(caller, problem, b);
  }
  const int64_t first_key = problem.key_start[b];
  if (first_key < 0 || first_key + keys > problem.num_keys) {
    return InvalidArgument(caller.op, ": sequence ", b, " has the keys ", first_key, " to ",
                           first_key + keys, " of ", problem.num_keys);
  }
  return OkStatus();
}

HeadRows RowsOf(const TensorView& view) {
  return {view.data(), view.dtype(), view.stride(0), view.stride(1)};
}

}  // namespace

Status CheckHeads(const Caller& caller, std::string_view name, const TensorView& view) {
  if (view.rank() != 3 || !IsRowType(view.dtype()) || IsMissing(view) ||
      view.place() != caller.place) {
    return InvalidArgument(caller.op, ": ", name, " is ", Describe(view),
                           "; it must be f32, f16 or bf16 [tokens, heads, head_dim] on ",
                           PlaceName(caller.place));
  }
  if (view.stride(2) != 1) {
    return InvalidArgument(caller.op, ": the elements of a head of ", name, " are ", view.stride(2),
                           " apart; they must be contiguous");
  }
  return OkStatus();
}

Status CheckOutputs(const Caller& caller, const TensorView& query, const TensorView& out,
                    const TensorView& lse, const TensorView& sinks, int64_t value_dim) {
  QUIRE_RETURN_IF_ERROR(CheckHeads(caller, "out", out));
  const Shape shape = {query.dim(0), query.dim(1), value_dim};
  if (out.dtype() != query.dtype() || out.shape() != shape) {
    return InvalidArgument(caller.op, ": out is ", Describe(out), "; it must be ",
                           InfoOf(query.dtype()).name, " ", ShapeName(shape));
  }
  QUIRE_RETURN_IF_ERROR(CheckFloats(caller, "lse", lse, {query.dim(0), query.dim(1)}));
  return CheckFloats(caller, "sinks", sinks, {query.dim(1)});
}

Status CheckIndices(const Caller& caller, std::string_view name, const TensorView& view,
                    const Shape& shape) {
  const bool readable = view.place() == caller.place || view.place() == Place::Host();
  if (view.dtype() != DType::kI32 || view.shape() != shape || !view.IsContiguous() ||
      IsMissing(view) || !readable) {
    return InvalidArgument(caller.op, ": ", name, " is ", Describe(view),
                           "; it must be contiguous i32 ", ShapeName(shape), " on ",
                           PlaceName(caller.place), " or the host");
  }
  return OkStatus();
}

Status CheckQueryStart(const Caller& caller, const TensorView& query_start, int64_t sequences) {
  return CheckIndices(caller, "query_start", query_start, {sequences + 1});
}

Status CheckPages(const Caller& caller, const TensorView& page_table, const TensorView& kv_length) {
  if (page_table.rank() != 2) {
    return InvalidArgument(caller.op, ": page_table is ", Describe(page_table),
                           "; it must be i32 [sequences, max_pages]");
  }
  QUIRE_RETURN_IF_ERROR(
      CheckIndices(caller, "page_table", page_table, {page_table.dim(0), page_table.dim(1)}));
  return CheckIndices(caller, "kv_length", kv_length, {page_table.dim(0)});
}

Status CheckCache(const Caller& caller, const PagedKvView& cache) {
  QUIRE_RETURN_IF_ERROR(CheckPageSize(caller.op, cache.page_size));
  const bool scaled = cache.scaling != KvScaling::kNone;
  const bool missing =
      cache.num_pages > 0 && (cache.k == nullptr || cache.v == nullptr ||
                              (scaled && (cache.k_scale == nullptr || cache.v_scale == nullptr)));
  return CheckCacheMemory(caller, cache.dtype, cache.place, missing, scaled);
}

Status CheckCache(const Caller& caller, const PagedLatentView& cache) {
  QUIRE_RETURN_IF_ERROR(CheckPageSize(caller.op, cache.page_size));
  return CheckCacheMemory(caller, cache.dtype, cache.place,
                          cache.num_pages > 0 && cache.data == nullptr, cache.scale != nullptr);
}

Status CheckProblem(const Caller& caller, const Problem& problem) {
  QUIRE_RETURN_IF_ERROR(CheckSizes(caller, problem));
  for (int32_t b = 0; caller.place.IsHost() && b < problem.num_sequences; ++b) {
    QUIRE_RETURN_IF_ERROR(CheckSequence(caller, problem, b));
  }
  return OkStatus();
}

void SetRows(const TensorView& query, const TensorView& out, const TensorView& lse,
             const TensorView& sinks, Problem& problem) {
  problem.query = RowsOf(query);
  problem.out = RowsOf(out);
  problem.lse = lse.defined() ? lse.as<float>() : nullptr;
  problem.sinks = sinks.defined() ? sinks.as<const float>() : nullptr;
  problem.num_rows = query.dim(0);
  problem.q_heads = static_cast<int>(query.dim(1));
}

void SetPages(const TensorView& page_table, const TensorView& kv_length, Problem& problem) {
  problem.num_sequences = static_cast<int32_t>(kv_length.dim(0));
  problem.kv_length = kv_length.as<const int32_t>();
  problem.page_table = page_table.as<const int32_t>();
  problem.max_pages = static_cast<int32_t>(page_table.dim(1));
}

void SetCache(const PagedKvView& cache, Problem& problem) {
  problem.kv_heads = cache.num_kv_heads;
  problem.key_dim = cache.head_dim;
  problem.value_dim = cache.value_dim();
  problem.kv_dtype = cache.dtype;
  problem.key = {cache.k, cache.KeyStrides(), cache.k_scale};
  problem.value = {cache.v, cache.ValueStrides(), cache.v_scale};
  problem.scale_strides = cache.ScaleStrides();
  problem.page_size = cache.page_size;
  problem.num_pages = cache.num_pages;
}

void SetCache(const PagedLatentView& cache, Problem& problem) {
  const int64_t row = cache.row_elements();
  problem.kv_heads = 1;
  problem.key_dim = static_cast<int>(row);
  problem.value_dim = cache.latent_dim;
  problem.kv_dtype = cache.dtype;
  problem.key = {cache.data, {.page = cache.page_size * row, .head = 0, .token = row}, cache.scale};
  problem.value = problem.key;
  problem.page_size = cache.page_size;
  problem.num_pages = cache.num_pages;
}

}  // namespace quire::ops::attention
