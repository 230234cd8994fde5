// The query vectors of one unit of CPU attention. Included like cpu_tile.h.
#pragma once

#include <algorithm>
#include <utility>

#include "ops/attention/cpu/cpu_tile.h"
#include "tensor/element.h"

namespace quire::ops::attention::cpu {

// Where a unit's queries lie in the call and, scaled, as fp32 in scratch memory. They are ordered
// by row, then head: those of a row are neighbours. V: vector.
template <class V>
class QueryRows {
 public:
  // columns: in scratch memory kLanes queries lie together (ColumnOf), not one after another.
  QueryRows(const Problem& problem, const Unit& unit, bool columns, float* scratch)
      : problem_(problem),
        unit_(unit),
        group_(problem.group()),
        key_dim_(problem.key_dim),
        queries_(unit.rows * group_),
        columns_(columns),
        scratch_(scratch) {}

  int64_t RowOf(int query) const { return unit_.first_row + query / group_; }
  int HeadOf(int query) const { return unit_.kv_head * group_ + query % group_; }
  int64_t Offset(const HeadRows& rows, int query) const {
    return RowOf(query) * rows.row_stride + HeadOf(query) * rows.head_stride;
  }
  // In scratch memory.
  float* At(int query) const {
    return columns_ ? scratch_ + int64_t{query / kLanes} * kLanes * key_dim_ + query % kLanes
                    : scratch_ + int64_t{query} * key_dim_;
  }

  // Brings the queries into scratch memory.
  void Load() const {
    const HeadRows& rows = problem_.query;
    switch (rows.dtype) {
      case DType::kF16: Load(static_cast<const Half*>(rows.data)); break;
      case DType::kBF16: Load(static_cast<const BFloat16*>(rows.data)); break;
      default: Load(static_cast<const float*>(rows.data)); break;
    }
  }

 private:
  template <class Q>
  void Load(const Q* from) const {
    const V scale = V::Broadcast(QueryScale(problem_));
    int64_t offsets[2][kLanes];
    int64_t* rows = offsets[0];
    int64_t* next = offsets[1];
    int count = Locate(0, rows);
    for (int first = 0; first < queries_; first += kLanes, std::swap(rows, next)) {
      const int next_count = Locate(first + kLanes, next);
      for (int i = 0; i < next_count; ++i) {
        Ahead<Q>{from, next}.Fetch(i, key_dim_);
      }
      for (int d = 0; d < key_dim_; d += kLanes) {
        V block[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          block[i] = i < count ? V::Mul(V::Load(from + rows[i] + d), scale) : V::Zero();
        }
        Store(first, count, d, block);
      }
      count = next_count;
    }
  }

  // Where up to kLanes queries from `first` on lie; returns how many.
  int Locate(int first, int64_t* offsets) const {
    const int count = std::clamp(queries_ - first, 0, kLanes);
    for (int i = 0; i < count; ++i) {
      offsets[i] = Offset(problem_.query, first + i);
    }
    return count;
  }

  // Elements [d, d + kLanes) of kLanes queries, as rows or as columns.
  void Store(int first, int count, int d, V* block) const {
    if (!columns_) {
      for (int i = 0; i < count; ++i) {
        V::Store(At(first + i) + d, block[i]);
      }
      return;
    }
    V::Transpose(block);
    for (int i = 0; i < kLanes; ++i) {
      V::Store(At(first) + ColumnOf(d + i, key_dim_) * kLanes, block[i]);
    }
  }

  const Problem& problem_;
  const Unit& unit_;
  const int group_;
  const int key_dim_;
  const int queries_;
  const bool columns_;
  float* const scratch_;
};

}  // namespace quire::ops::attention::cpu
