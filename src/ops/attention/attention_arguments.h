// What the attention operators check alike, and how their arguments become parts of a Problem. All
// errors are invalid_argument with messages that start with the operator's name; `place` is where
// the stream runs.
#pragma once

#include <string_view>

#include "base/status.h"
#include "ops/attention/attention_problem.h"

namespace quire::ops::attention {

// The first words of messages and the place of arrays.
struct Caller {
  std::string_view op;
  Place place;
};

// Whether `view` is f32, f16 or bf16 [rows, heads, elements] with contiguous elements.
Status CheckHeads(const Caller& caller, std::string_view name, const TensorView& view);

// Whether `out` has the type and first axes of `query` and `value_dim` elements; likewise `lse` and
// `sinks`, where they are defined, f32 [T, Hq] and f32 [Hq].
Status CheckOutputs(const Caller& caller, const TensorView& query, const TensorView& out,
                    const TensorView& lse, const TensorView& sinks, int64_t value_dim);

// Whether `view` is a contiguous i32 array of `shape`, on the host or at the caller's place.
Status CheckIndices(const Caller& caller, std::string_view name, const TensorView& view,
                    const Shape& shape);

// Whether `query_start` is i32 [sequences + 1].
Status CheckQueryStart(const Caller& caller, const TensorView& query_start, int64_t sequences);

// Whether page_table is i32 [B, max_pages] and kv_length i32 [B].
Status CheckPages(const Caller& caller, const TensorView& page_table, const TensorView& kv_length);

// Whether a cache has memory at the caller's place, a page size and a type with its scales.
Status CheckCache(const Caller& caller, const PagedKvView& cache);
Status CheckCache(const Caller& caller, const PagedLatentView& cache);

// Whether the sizes, the masks and, where the host can read them, the rows, lengths and pages of
// the sequences make sense together.
Status CheckProblem(const Caller& caller, const Problem& problem);

// Parts of a problem from checked arguments.
void SetRows(const TensorView& query, const TensorView& out, const TensorView& lse,
             const TensorView& sinks, Problem& problem);
void SetPages(const TensorView& page_table, const TensorView& kv_length, Problem& problem);
void SetCache(const PagedKvView& cache, Problem& problem);
void SetCache(const PagedLatentView& cache, Problem& problem);

}  // namespace quire::ops::attention
