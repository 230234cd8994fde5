// One unit of CPU paged attention: which keys each of its queries sees, in what order. Included
// like cpu_tile.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <utility>

#include "ops/paged_attention/cpu_tile.h"

namespace quire::ops::paged_attention::cpu {

// A unit with more query vectors than this expands a tile of a 16-bit cache to fp32 once for all of
// them.
inline constexpr int kMaxDirectQueries = 2 * kMaxRun;

// A tile's keys and values: key j starts at keys + offsets[j], value j at values + offsets[j].
template <class T>
struct TileRows {
  const T* keys;
  const T* values;
  const int64_t* offsets;
  const int64_t* next;  // offsets of the next tile, to be fetched; or null
};

// One unit at work. V: vector; T: element of the cache.
template <class V, class T>
class UnitRunner {
 public:
  UnitRunner(const Problem& problem, const Unit& unit, const Scratch& scratch)
      : problem_(problem),
        unit_(unit),
        scratch_(scratch),
        head_dim_(problem.head_dim),
        queries_(unit.rows * problem.group),
        expand_(sizeof(T) < sizeof(float) && queries_ > kMaxDirectQueries),
        offsets_(scratch.offsets),
        next_offsets_(scratch.offsets + kKeyTile) {
    const int64_t head = int64_t{unit.kv_head} * head_dim_ << problem.page_shift;
    k_ = static_cast<const T*>(problem.k) + head;
    v_ = static_cast<const T*>(problem.v) + head;
    begin_ = std::max(unit.range_begin * kKeyRange, SpanOf(0).begin);
    end_ = std::min(unit.range_end * kKeyRange, SpanOf(queries_ - 1).end);
    LocateKeys(begin_ / kKeyTile * kKeyTile, offsets_);
    for (int j = 0; j < kKeyTile; ++j) {
      Ahead<T>{k_, offsets_}.Fetch(j, head_dim_);
      Ahead<T>{v_, offsets_}.Fetch(j, head_dim_);
    }
  }

  void Run() {
    LoadQueries();
    for (int64_t range = unit_.range_begin; range < unit_.range_end; ++range) {
      RunRange(range * kKeyRange);
      for (int query = 0; query < queries_; ++query) {
        if (RangeOf(query, range)) {
          FinishRange(query, range);
        }
      }
    }
    if (unit_.partials == nullptr) {
      for (int query = 0; query < queries_; ++query) {
        Emit(query);
      }
    } else if (std::atomic_ref<int32_t>(*unit_.units_left)
                   .fetch_sub(1, std::memory_order_acq_rel) == 1) {
      MergePartials();
    }
  }

 private:
  // Queries are ordered by row, then head: those of a row are neighbours.
  int64_t PositionOf(int query) const { return unit_.first_position + query / problem_.group; }
  KeySpan SpanOf(int query) const { return VisibleKeys(PositionOf(query), problem_.window_left); }
  bool RangeOf(int query, int64_t range) const {
    const KeySpan span = SpanOf(query);
    return span.begin / kKeyRange <= range && range <= (span.end - 1) / kKeyRange;
  }
  float* Vector(float* base, int query) const { return base + int64_t{query} * head_dim_; }

  void LoadQueries() {
    for (int query = 0; query < queries_; ++query) {
      const int64_t row = unit_.first_row + query / problem_.group;
      const int64_t head = int64_t{unit_.kv_head} * problem_.group + query % problem_.group;
      const float* from =
          problem_.query + row * problem_.query_row_stride + head * problem_.query_head_stride;
      std::copy(from, from + head_dim_, Vector(scratch_.query, query));
    }
  }

  void RunRange(int64_t range_begin) {
    std::fill_n(scratch_.acc, int64_t{queries_} * head_dim_, 0.0f);
    std::fill_n(scratch_.sum, int64_t{queries_} * kLanes, 0.0f);
    std::fill_n(scratch_.max, queries_, kMinusInfinity);
    const int64_t end = std::min(range_begin + kKeyRange, end_);
    for (int64_t tile = std::max(range_begin, begin_) / kKeyTile * kKeyTile; tile < end;
         tile += kKeyTile) {
      const bool more = tile + kKeyTile < end_;
      if (more) {
        LocateKeys(tile + kKeyTile, next_offsets_);
      }
      if (expand_) {
        Expand(tile);
        RunTile<float>({scratch_.keys, scratch_.values, scratch_.rows, nullptr}, tile);
      } else {
        RunTile<T>({k_, v_, offsets_, more ? next_offsets_ : nullptr}, tile);
      }
      std::swap(offsets_, next_offsets_);
    }
  }

  // The keys of a tile that some row of the unit sees.
  TileKeys UnitKeys(int64_t tile) const {
    return {static_cast<int>(std::max<int64_t>(begin_ - tile, 0)),
            static_cast<int>(std::min<int64_t>(end_ - tile, kKeyTile))};
  }

  // Where these keys lie. The places before and after repeat the nearest of them, so that whole
  // vectors of keys can be read.
  void LocateKeys(int64_t tile, int64_t* offsets) const {
    const TileKeys keys = UnitKeys(tile);
    const int64_t page_elements = int64_t{problem_.kv_heads} * head_dim_ << problem_.page_shift;
    const int page_size = 1 << problem_.page_shift;
    for (int j = keys.begin; j < keys.end;) {
      const int64_t position = tile + j;
      const int in_page = static_cast<int>(position & (page_size - 1));
      const int run_end = std::min(keys.end, j + page_size - in_page);
      int64_t offset = unit_.pages[position >> problem_.page_shift] * page_elements +
                       int64_t{in_page} * head_dim_;
      for (; j < run_end; ++j, offset += head_dim_) {
        offsets[j] = offset;
      }
    }
    std::fill(offsets, offsets + keys.begin, offsets[keys.begin]);
    std::fill(offsets + keys.end, offsets + kKeyTile, offsets[keys.end - 1]);
  }

  void Expand(int64_t tile) const {
    const TileKeys keys = UnitKeys(tile);
    for (int j = keys.begin / kLanes * kLanes; j < (keys.end + kLanes - 1) / kLanes * kLanes; ++j) {
      const T* k = k_ + offsets_[j];
      const T* v = v_ + offsets_[j];
      for (int d = 0; d < head_dim_; d += kLanes) {
        V::Store(Vector(scratch_.keys, j) + d, V::Load(k + d));
        V::Store(Vector(scratch_.values, j) + d, V::Load(v + d));
      }
    }
  }

  // Takes neighbouring queries that see the same keys of the tile together.
  template <class U>
  void RunTile(const TileRows<U>& rows, int64_t tile) {
    TileRows<U> ahead = rows;
    for (int query = 0; query < queries_;) {
      const TileKeys keys = KeysOf(query, tile);
      int count = 1;
      while (count < kMaxRun && query + count < queries_ && KeysOf(query + count, tile) == keys) {
        ++count;
      }
      if (keys.begin < keys.end) {
        switch (count) {
          case 1: RunQueries<1>(ahead, query, keys); break;
          case 2: RunQueries<2>(ahead, query, keys); break;
          case 3: RunQueries<3>(ahead, query, keys); break;
          default: RunQueries<4>(ahead, query, keys); break;
        }
        ahead.next = nullptr;  // fetched once
      }
      query += count;
    }
  }

  TileKeys KeysOf(int query, int64_t tile) const {
    const KeySpan span = SpanOf(query);
    return {static_cast<int>(std::clamp<int64_t>(span.begin - tile, 0, kKeyTile)),
            static_cast<int>(std::clamp<int64_t>(span.end - tile, 0, kKeyTile))};
  }

  template <int kQueries, class U>
  void RunQueries(const TileRows<U>& rows, int query, TileKeys keys) {
    float* scores = scratch_.scores;
    ScoreKeys<V, kQueries>(Vector(scratch_.query, query), head_dim_, rows.keys, rows.offsets,
                           Ahead<U>{rows.keys, rows.next}, keys.begin / kLanes * kLanes,
                           (keys.end + kLanes - 1) / kLanes * kLanes, scores);
    float factors[kQueries];
    for (int i = 0; i < kQueries; ++i) {
      factors[i] =
          SoftmaxStep<V>(problem_, keys.begin, keys.end, scores + i * kKeyTile,
                         scratch_.max + query + i, scratch_.sum + int64_t{query + i} * kLanes);
    }
    AddValues<V, kQueries>(scores, factors, rows.values, rows.offsets,
                           Ahead<U>{rows.values, rows.next}, keys.begin, keys.end,
                           Vector(scratch_.acc, query), head_dim_);
  }

  State TotalOf(int query) const {
    return {Vector(scratch_.total_acc, query), scratch_.total_sum + query,
            scratch_.total_max + query};
  }

  float* PartialOf(int query, int64_t range) const {
    const int64_t index = int64_t{query} * unit_.merge_ranges + range - unit_.merge_range_begin;
    return unit_.partials + index * PartialFloats(head_dim_);
  }

  // Puts the range's state of a query away: into its partial result or its total.
  void FinishRange(int query, int64_t range) {
    const float* acc = Vector(scratch_.acc, query);
    const float sum = V::SumLanes(V::Load(scratch_.sum + int64_t{query} * kLanes));
    const float max = scratch_.max[query];
    if (unit_.partials != nullptr) {
      float* partial = PartialOf(query, range);
      Put({partial, partial + head_dim_, partial + head_dim_ + 1}, acc, sum, max);
    } else {
      Take(query, range, acc, sum, max);
    }
  }

  void Put(State state, const float* acc, float sum, float max) const {
    std::copy(acc, acc + head_dim_, state.acc);
    *state.sum = sum;
    *state.max = max;
  }

  // The next range of a query, ascending: its first starts the total.
  void Take(int query, int64_t range, const float* acc, float sum, float max) {
    if (range == SpanOf(query).begin / kKeyRange) {
      Put(TotalOf(query), acc, sum, max);
    } else {
      Fold<V>(TotalOf(query), acc, sum, max, head_dim_);
    }
  }

  void MergePartials() {
    for (int query = 0; query < queries_; ++query) {
      const KeySpan span = SpanOf(query);
      for (int64_t range = span.begin / kKeyRange; range <= (span.end - 1) / kKeyRange; ++range) {
        const float* partial = PartialOf(query, range);
        Take(query, range, partial, partial[head_dim_], partial[head_dim_ + 1]);
      }
      Emit(query);
    }
  }

  void Emit(int query) const {
    const State total = TotalOf(query);
    const int64_t row = unit_.first_row + query / problem_.group;
    const int64_t head = int64_t{unit_.kv_head} * problem_.group + query % problem_.group;
    float* out = problem_.out + (row * problem_.q_heads + head) * head_dim_;
    const V inverse = V::Broadcast(1.0f / *total.sum);
    for (int d = 0; d < head_dim_; d += kLanes) {
      V::Store(out + d, V::Mul(V::Load(total.acc + d), inverse));
    }
  }

  const Problem& problem_;
  const Unit& unit_;
  const Scratch& scratch_;
  const int head_dim_;
  const int queries_;
  const bool expand_;
  const T* k_;  // of the unit's kv head
  const T* v_;
  int64_t begin_;  // keys [begin_, end_) of the unit that some of its rows see
  int64_t end_;
  int64_t* offsets_;  // of the tile in work
  int64_t* next_offsets_;
};

template <class V, class T>
void RunUnit(const Problem& problem, const Unit& unit, const Scratch& scratch) {
  UnitRunner<V, T>(problem, unit, scratch).Run();
}

template <class V>
Kernels KernelsOf() {
  return {RunUnit<V, float>, RunUnit<V, F16>, RunUnit<V, BF16>};
}

}  // namespace quire::ops::paged_attention::cpu
