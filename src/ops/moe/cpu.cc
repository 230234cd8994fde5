// Rows sorted by expert: one product per weight and expert over all rows that chose it, so that
// each weight is read once.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/cpu_rows.h"
#include "ops/moe/expert.h"
#include "tensor/element.h"

namespace quire::ops::moe {

namespace {

// The choices of all tokens, grouped by expert: choice c = t * k + j is row row_of[c] of the sorted
// rows; the rows of expert e are [first[e], first[e + 1]).
struct Sorted {
  int64_t* first;     // [E + 1]
  int64_t* row_of;    // [T * k]; -1 for skipped choices
  int64_t* token_of;  // [rows]
  int64_t rows;
};

Sorted SortByExpert(const OpContext& context, const Args& args) {
  const int64_t choices = args.ids.dim(0) * args.ids.dim(1);
  const size_t experts = args.experts.size();
  const auto* ids = args.ids.as<const int32_t>();
  Sorted sorted;
  sorted.first = context.workspace.Allocate<int64_t>(experts + 1);
  sorted.row_of = context.workspace.Allocate<int64_t>(static_cast<size_t>(choices));
  sorted.token_of = context.workspace.Allocate<int64_t>(static_cast<size_t>(choices));
  std::fill_n(sorted.first, experts + 1, 0);
  for (int64_t c = 0; c < choices; ++c) {
    if (ids[c] >= 0) {
      ++sorted.first[ids[c] + 1];
    }
  }
  for (size_t e = 0; e < experts; ++e) {
    sorted.first[e + 1] += sorted.first[e];
  }
  sorted.rows = sorted.first[experts];
  for (int64_t c = 0; c < choices; ++c) {
    sorted.row_of[c] = -1;
    if (ids[c] >= 0) {  // first[e] walks to the start of e + 1
      sorted.row_of[c] = sorted.first[ids[c]]++;
      sorted.token_of[sorted.row_of[c]] = c / args.ids.dim(1);
    }
  }
  std::copy_backward(sorted.first, sorted.first + experts, sorted.first + experts + 1);
  sorted.first[0] = 0;
  return sorted;
}

// The rows of x that the tokens name.
TensorView GatherRows(const OpContext& context, const TensorView& x, const int64_t* tokens,
                      int64_t rows) {
  const int64_t row_bytes = BytesOf(x.dtype(), x.dim(1));
  auto* out = context.workspace.Allocate<uint8_t>(static_cast<size_t>(rows * row_bytes));
  ForRowRanges(context, rows, x.dim(1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::memcpy(
          out + row * row_bytes,
          static_cast<const uint8_t*>(x.data()) + BytesOf(x.dtype(), tokens[row] * x.stride(0)),
          static_cast<size_t>(row_bytes));
    }
  });
  return {out, x.dtype(), {rows, x.dim(1)}};
}

// sum [H] += factor * row [H]
void AddRow(const float* row, float factor, int64_t count, float* sum) {
  for (int64_t i = 0; i < count; ++i) {
    sum[i] += factor * row[i];
  }
}

// out of token t from what its experts gave.
void SumToken(const Args& args, const Sorted& sorted, const float* results, const SharedSum& shared,
              int64_t t, float* sum) {
  const int64_t hidden = args.x.dim(1);
  const int64_t k = args.ids.dim(1);
  std::fill_n(sum, hidden, 0.0f);
  for (int64_t c = t * k; c < (t + 1) * k; ++c) {
    if (sorted.row_of[c] >= 0) {
      AddRow(results + sorted.row_of[c] * hidden, args.weights.as<const float>()[c], hidden, sum);
    }
  }
  if (shared.sum != nullptr) {
    const float gate = shared.gates == nullptr ? 1.0f : 1.0f / (1.0f + std::exp(-shared.gates[t]));
    AddRow(shared.sum + t * hidden, gate, hidden, sum);
  }
  WithElementType(args.out.dtype(), [&](auto type) {
    auto* out = args.out.as<decltype(type)>() + t * args.out.stride(0);
    for (int64_t i = 0; i < hidden; ++i) {
      FromFloat(args.accumulate ? ToFloat(out[i]) + sum[i] : sum[i], out[i]);
    }
  });
}

Status RunSorted(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  const int64_t hidden = args.x.dim(1);
  const int64_t tokens = args.x.dim(0);
  const Sorted sorted = SortByExpert(context, args);
  auto* results = context.workspace.Allocate<float>(static_cast<size_t>(sorted.rows * hidden));
  for (size_t e = 0; e < args.experts.size(); ++e) {
    const int64_t first = sorted.first[e];
    const int64_t rows = sorted.first[e + 1] - first;
    if (rows == 0) {
      continue;
    }
    const Workspace::Scope expert_scope(context.workspace);
    const TensorView x = GatherRows(context, args.x, sorted.token_of + first, rows);
    const TensorView out(results + first * hidden, DType::kF32, {rows, hidden});
    QUIRE_RETURN_IF_ERROR(RunExpert(context, args.activation, args.experts[e], x, out, false));
  }
  QUIRE_ASSIGN_OR_RETURN(const SharedSum shared, RunShared(context, args));
  auto* sums = context.workspace.Allocate<float>(static_cast<size_t>(tokens * hidden));
  ForRowRanges(context, tokens, hidden * (1 + args.ids.dim(1)), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      SumToken(args, sorted, results, shared, t, sums + begin * hidden);
    }
  });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {{"sorted_by_expert", [](const OpContext&, const Args&) { return true; }, RunSorted,
           "f32, f16, bf16"}};
}

}  // namespace quire::ops::moe
