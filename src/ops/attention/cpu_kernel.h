// One unit of CPU attention: which keys each of its queries sees, in what order. Included like
// cpu_tile.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>
#include <utility>

#include "ops/attention/cpu_tile.h"
#include "tensor/element.h"

namespace quire::ops::attention::cpu {

// A unit with more query vectors than this expands a tile of 16-bit keys and values to fp32 once
// for all of them; a tile of f8e4m3 is always expanded, with its scales.
inline constexpr int kMaxDirectQueries = 2 * kMaxRun;

// A tile's keys and values: key j starts at keys + key_rows[j], value j at values + value_rows[j].
template <class T>
struct TileRows {
  const T* keys;
  const T* values;
  const int64_t* key_rows;
  const int64_t* value_rows;
  TileOffsets next;  // of the next tile, to be fetched; or null
};

// to = from over `elements` elements, a multiple of kLanes, converted.
template <class V, class From, class To>
inline void CopyVectors(const From* from, int elements, To* to) {
  for (int d = 0; d < elements; d += kLanes) {
    V::Store(to + d, V::Load(from + d));
  }
}

// One unit at work. V: vector; T: element of keys and values.
template <class V, class T>
class UnitRunner {
 public:
  UnitRunner(const Problem& problem, const Unit& unit, const Scratch& scratch)
      : problem_(problem),
        unit_(unit),
        scratch_(scratch),
        group_(problem.group()),
        key_dim_(problem.key_dim),
        value_dim_(problem.value_dim),
        queries_(unit.rows * group_),
        expand_(sizeof(T) == 1 || (sizeof(T) == 2 && queries_ > kMaxDirectQueries)),
        page_shift_(__builtin_ctzll(static_cast<uint64_t>(problem.page_size))),
        offsets_(scratch.offsets[0]),
        next_offsets_(scratch.offsets[1]) {
    k_ = static_cast<const T*>(problem.key.data) + unit.kv_head * problem.key.strides.head;
    v_ = static_cast<const T*>(problem.value.data) + unit.kv_head * problem.value.strides.head;
    begin_ = std::max(unit.range_begin * kKeyRange, SpanOf(0).begin);
    end_ = std::min(unit.range_end * kKeyRange, SpanOf(queries_ - 1).end);
    if (begin_ < end_) {
      LocateKeys(begin_ / kKeyTile * kKeyTile, offsets_);
      for (int j = 0; j < kKeyTile; ++j) {
        Ahead<T>{k_, offsets_.keys}.Fetch(j, key_dim_);
        Ahead<T>{v_, offsets_.values}.Fetch(j, value_dim_);
      }
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
  int64_t RowOf(int query) const { return unit_.first_row + query / group_; }
  int HeadOf(int query) const { return unit_.kv_head * group_ + query % group_; }
  KeySpan SpanOf(int query) const {
    return problem_.VisibleKeys(unit_.first_position + query / group_, unit_.keys);
  }
  bool RangeOf(int query, int64_t range) const {
    const KeySpan span = SpanOf(query);
    return span.begin < (range + 1) * kKeyRange && range * kKeyRange < span.end;
  }
  float* QueryOf(int query) const { return scratch_.query + int64_t{query} * key_dim_; }
  float* AccOf(int query) const { return scratch_.acc + int64_t{query} * value_dim_; }

  void LoadQueries() {
    const HeadRows& rows = problem_.query;
    for (int query = 0; query < queries_; ++query) {
      const int64_t offset = RowOf(query) * rows.row_stride + HeadOf(query) * rows.head_stride;
      switch (rows.dtype) {
        case DType::kF16: LoadQuery(static_cast<const Half*>(rows.data) + offset, query); break;
        case DType::kBF16:
          LoadQuery(static_cast<const BFloat16*>(rows.data) + offset, query);
          break;
        default: LoadQuery(static_cast<const float*>(rows.data) + offset, query); break;
      }
    }
  }

  template <class Q>
  void LoadQuery(const Q* from, int query) const {
    CopyVectors<V>(from, key_dim_, QueryOf(query));
  }

  void RunRange(int64_t range_begin) {
    std::fill_n(scratch_.acc, int64_t{queries_} * value_dim_, 0.0f);
    std::fill_n(scratch_.sum, int64_t{queries_} * kLanes, 0.0f);
    std::fill_n(scratch_.max, queries_, kMinusInfinity);
    const int64_t end = std::min(range_begin + kKeyRange, end_);
    for (int64_t tile = std::max(range_begin, begin_) / kKeyTile * kKeyTile; tile < end;
         tile += kKeyTile) {
      const bool more = tile + kKeyTile < end_;
      if (more) {
        LocateKeys(tile + kKeyTile, next_offsets_);
      }
      const TileOffsets next = more ? next_offsets_ : TileOffsets{};
      if (expand_) {
        Expand(tile, next);
        RunTile<float>({scratch_.keys, scratch_.values, scratch_.key_rows, scratch_.value_rows, {}},
                       tile);
      } else if constexpr (sizeof(T) > 1) {
        RunTile<T>({k_, v_, offsets_.keys, offsets_.values, next}, tile);
      }
      std::swap(offsets_, next_offsets_);
    }
  }

  // The keys of a tile that some row of the unit sees.
  TileKeys UnitKeys(int64_t tile) const {
    return {static_cast<int>(std::max<int64_t>(begin_ - tile, 0)),
            static_cast<int>(std::min<int64_t>(end_ - tile, kKeyTile))};
  }

  // Where `count` keys from `position` on lie in one page, starting at `offset` of it; count is cut
  // to the end of the page.
  struct PageRun {
    int64_t page;
    int64_t offset;
    int count;
  };
  PageRun RunAt(int64_t position, int count) const {
    if (unit_.pages == nullptr) {
      return {0, unit_.first_key + position, count};
    }
    const int page_size = 1 << page_shift_;
    const int offset = static_cast<int>(position & (page_size - 1));
    return {unit_.pages[position >> page_shift_], offset, std::min(count, page_size - offset)};
  }

  // Where the keys of a tile lie that some row of the unit sees. The places before and after repeat
  // the nearest of them, so that whole vectors of keys can be read.
  void LocateKeys(int64_t tile, const TileOffsets& offsets) const {
    LocateRows(tile, problem_.key.strides, offsets.keys);
    if (offsets.values != offsets.keys) {
      LocateRows(tile, problem_.value.strides, offsets.values);
    }
  }

  // The strides come by value: as memory they might be what `offsets` writes.
  void LocateRows(int64_t tile, PageStrides strides, int64_t* offsets) const {
    const TileKeys keys = UnitKeys(tile);
    for (int j = keys.begin; j < keys.end;) {
      const PageRun run = RunAt(tile + j, keys.end - j);
      int64_t offset = run.page * strides.page + run.offset * strides.token;
      for (const int run_end = j + run.count; j < run_end; ++j, offset += strides.token) {
        offsets[j] = offset;
      }
    }
    std::fill(offsets, offsets + keys.begin, offsets[keys.begin]);
    std::fill(offsets + keys.end, offsets + kKeyTile, offsets[keys.end - 1]);
  }

  // Those of the keys that LocateKeys finds, repeated likewise.
  void LoadScales(int64_t tile, const float* from, float* scales) const {
    const TileKeys keys = UnitKeys(tile);
    const PageStrides& strides = problem_.scale_strides;
    from += unit_.kv_head * strides.head;
    for (int j = keys.begin; j < keys.end;) {
      const PageRun run = RunAt(tile + j, keys.end - j);
      const float* scale = from + run.page * strides.page + run.offset * strides.token;
      for (const int run_end = j + run.count; j < run_end; ++j, scale += strides.token) {
        scales[j] = *scale;
      }
    }
    std::fill(scales, scales + keys.begin, scales[keys.begin]);
    std::fill(scales + keys.end, scales + kKeyTile, scales[keys.end - 1]);
  }

  // Keys and values of the tile as fp32 into the scratch memory.
  void Expand(int64_t tile, const TileOffsets& next) const {
    ExpandRows(tile, k_, offsets_.keys, next.keys, problem_.key.scale, scratch_.key_scale, key_dim_,
               scratch_.keys);
    if (scratch_.values != scratch_.keys) {
      ExpandRows(tile, v_, offsets_.values, next.values, problem_.value.scale, scratch_.value_scale,
                 value_dim_, scratch_.values);
    }
  }

  void ExpandRows(int64_t tile, const T* rows, const int64_t* offsets, const int64_t* next,
                  const float* scale, float* scales, int dim, float* to) const {
    const TileKeys keys = UnitKeys(tile);
    const int end = (keys.end + kLanes - 1) / kLanes * kLanes;
    const Ahead<T> ahead = {rows, next};
    if constexpr (std::is_same_v<T, Float8>) {
      LoadScales(tile, scale, scales);
    }
    for (int j = keys.begin / kLanes * kLanes; j < end; ++j) {
      const T* from = rows + offsets[j];
      ahead.Fetch(j, dim);
      if constexpr (std::is_same_v<T, Float8>) {
        const V factor = V::Broadcast(scales[j]);
        for (int d = 0; d < dim; d += kLanes) {
          V::Store(to + int64_t{j} * dim + d, V::Mul(V::Load(from + d), factor));
        }
      } else {
        CopyVectors<V>(from, dim, to + int64_t{j} * dim);
      }
    }
  }

  // Takes neighbouring queries that see the same keys of the tile together.
  template <class U>
  void RunTile(const TileRows<U>& rows, int64_t tile) {
    TileRows<U> ahead = rows;
    for (int query = 0; query < queries_;) {
      const TileKeys keys = KeysOf(query, tile);
      const int row_end = (query / group_ + 1) * group_;  // a row's heads see the same
      int count = 1;
      while (count < kMaxRun && query + count < queries_ &&
             (query + count < row_end || KeysOf(query + count, tile) == keys)) {
        ++count;
      }
      if (keys.begin < keys.end) {
        switch (count) {
          case 1: RunQueries<1>(ahead, query, keys); break;
          case 2: RunQueries<2>(ahead, query, keys); break;
          case 3: RunQueries<3>(ahead, query, keys); break;
          default: RunQueries<4>(ahead, query, keys); break;
        }
        ahead.next = {};  // fetched once
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
    ScoreKeys<V, kQueries>(QueryOf(query), key_dim_, rows.keys, rows.key_rows,
                           Ahead<U>{rows.keys, rows.next.keys}, keys.begin / kLanes * kLanes,
                           (keys.end + kLanes - 1) / kLanes * kLanes, scores);
    float factors[kQueries];
    for (int i = 0; i < kQueries; ++i) {
      factors[i] =
          SoftmaxStep<V>(problem_, keys.begin, keys.end, scores + i * kKeyTile,
                         scratch_.max + query + i, scratch_.sum + int64_t{query + i} * kLanes);
    }
    AddValues<V, kQueries>(scores, factors, rows.values, rows.value_rows,
                           Ahead<U>{rows.values, rows.next.values}, keys.begin, keys.end,
                           AccOf(query), value_dim_);
  }

  State TotalOf(int query) const {
    return {scratch_.total_acc + int64_t{query} * value_dim_, scratch_.total_sum + query,
            scratch_.total_max + query};
  }

  float* PartialOf(int query, int64_t range) const {
    const int64_t index = int64_t{query} * unit_.merge_ranges + range - unit_.merge_range_begin;
    return unit_.partials + index * PartialFloats(value_dim_);
  }

  // Puts the range's state of a query away: into its partial result or its total.
  void FinishRange(int query, int64_t range) {
    const float* acc = AccOf(query);
    const float sum = V::SumLanes(V::Load(scratch_.sum + int64_t{query} * kLanes));
    const float max = scratch_.max[query];
    if (unit_.partials != nullptr) {
      float* partial = PartialOf(query, range);
      Put({partial, partial + value_dim_, partial + value_dim_ + 1}, acc, sum, max);
    } else {
      Take(query, range, acc, sum, max);
    }
  }

  void Put(State state, const float* acc, float sum, float max) const {
    std::copy(acc, acc + value_dim_, state.acc);
    *state.sum = sum;
    *state.max = max;
  }

  // The next range of a query, ascending: its first starts the total.
  void Take(int query, int64_t range, const float* acc, float sum, float max) {
    if (range == SpanOf(query).begin / kKeyRange) {
      Put(TotalOf(query), acc, sum, max);
    } else {
      Fold<V>(TotalOf(query), acc, sum, max, value_dim_);
    }
  }

  void MergePartials() {
    for (int query = 0; query < queries_; ++query) {
      const KeySpan span = SpanOf(query);
      for (int64_t range = span.begin / kKeyRange; range * kKeyRange < span.end; ++range) {
        const float* partial = PartialOf(query, range);
        Take(query, range, partial, partial[value_dim_], partial[value_dim_ + 1]);
      }
      Emit(query);
    }
  }

  // The row's output and log-sum-exp from its total; zeros and minus infinity if it sees no key.
  void Emit(int query) const {
    const KeySpan span = SpanOf(query);
    const State total = TotalOf(query);
    if (span.begin == span.end) {
      std::fill_n(total.acc, value_dim_, 0.0f);
      *total.sum = 1.0f;
      *total.max = kMinusInfinity;
    }
    const float factor = problem_.sinks == nullptr || span.begin == span.end
                             ? 1.0f
                             : AddSink(problem_.sinks[HeadOf(query)] * kLog2E, total);
    if (problem_.lse != nullptr) {
      problem_.lse[RowOf(query) * problem_.q_heads + HeadOf(query)] =
          *total.max / kLog2E + std::log(*total.sum);
    }
    const HeadRows& rows = problem_.out;
    const int64_t offset = RowOf(query) * rows.row_stride + HeadOf(query) * rows.head_stride;
    const float by = factor / *total.sum;
    switch (rows.dtype) {
      case DType::kF16: Store(total.acc, by, static_cast<Half*>(rows.data) + offset); break;
      case DType::kBF16: Store(total.acc, by, static_cast<BFloat16*>(rows.data) + offset); break;
      default: Store(total.acc, by, static_cast<float*>(rows.data) + offset); break;
    }
  }

  // Moves the sum and the largest score of a total on by one more logit in base 2. Returns the
  // factor that weighted values must take.
  float AddSink(float sink, const State& total) const {
    const float new_max = std::max(*total.max, sink);
    const float factor = Exp2Of<V>(*total.max - new_max);
    *total.sum = *total.sum * factor + Exp2Of<V>(sink - new_max);
    *total.max = new_max;
    return factor;
  }

  template <class O>
  void Store(const float* acc, float factor, O* out) const {
    const V by = V::Broadcast(factor);
    for (int d = 0; d < value_dim_; d += kLanes) {
      V::Store(out + d, V::Mul(V::Load(acc + d), by));
    }
  }

  const Problem& problem_;
  const Unit& unit_;
  const Scratch& scratch_;
  const int group_;
  const int key_dim_;
  const int value_dim_;
  const int queries_;
  const bool expand_;
  const int page_shift_;
  const T* k_;  // of the unit's kv head
  const T* v_;
  int64_t begin_;  // keys [begin_, end_) of the unit that some of its rows see
  int64_t end_;
  TileOffsets offsets_;  // of the tile in work
  TileOffsets next_offsets_;
};

template <class V, class T>
void RunUnit(const Problem& problem, const Unit& unit, const Scratch& scratch) {
  UnitRunner<V, T>(problem, unit, scratch).Run();
}

template <class V>
Kernels KernelsOf() {
  return {RunUnit<V, float>, RunUnit<V, Half>, RunUnit<V, BFloat16>, RunUnit<V, Float8>};
}

}  // namespace quire::ops::attention::cpu
