// One unit of CPU attention: which keys each of its queries sees, in what order. Included like
// cpu_tile.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>
#include <utility>

#include "ops/attention/cpu/cpu_key_rows.h"
#include "ops/attention/cpu/cpu_query_rows.h"
#include "ops/attention/cpu/cpu_tile.h"
#include "tensor/element.h"

namespace quire::ops::attention::cpu {

// A unit with more query vectors than this expands a tile to fp32 once for all of them, its keys as
// columns. With fewer only tiles of f8e4m3 are expanded, with their scales, as rows.
inline constexpr int kMaxDirectQueries = 2 * kMaxRun;

// A tile's keys and values: key j starts at keys + key_rows[j], value j at values + value_rows[j].
template <class T>
struct TileRows {
  const T* keys;
  const T* values;
  const int64_t* key_rows;
  const int64_t* value_rows;
  TileOffsets next;  // of the next tile, to be fetched; or null

  // To fetch while keys are scored, and while values are added.
  AheadTwice<T> WithKeys() const { return {{keys, next.keys}, {values, value_rows}}; }
  AheadTwice<T> WithValues() const { return {{values, next.values}, {keys, next.keys}}; }
};

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
        columns_(queries_ > kMaxDirectQueries),
        query_rows_(problem, unit, columns_, scratch.query),
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
    query_rows_.Load();
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
  static constexpr bool kScaled = std::is_same_v<T, Float8>;
  static constexpr int kBlock = kColumnQueries<V>;

  KeySpan SpanOf(int query) const {
    return problem_.VisibleKeys(unit_.first_position + query / group_, unit_.keys);
  }
  bool RangeOf(int query, int64_t range) const {
    const KeySpan span = SpanOf(query);
    return span.begin < (range + 1) * kKeyRange && range * kKeyRange < span.end;
  }
  float* AccOf(int query) const { return scratch_.acc + int64_t{query} * value_dim_; }

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
      if (columns_) {
        ExpandColumns(tile, next);
        RunColumns(tile);
      } else if constexpr (sizeof(T) > 1) {
        RunTile<T>({k_, v_, offsets_.keys, offsets_.values, next}, tile);
      } else {
        Expand(tile, next);
        RunTile<float>({scratch_.keys, scratch_.values, scratch_.key_rows, scratch_.value_rows, {}},
                       tile);
      }
      std::swap(offsets_, next_offsets_);
    }
  }

  // The keys of a tile that some row of the unit sees.
  TileKeys UnitKeys(int64_t tile) const {
    return {static_cast<int>(std::max<int64_t>(begin_ - tile, 0)),
            static_cast<int>(std::min<int64_t>(end_ - tile, kKeyTile))};
  }

  // Where the keys of a tile lie that some row of the unit sees.
  void LocateKeys(int64_t tile, const TileOffsets& offsets) const {
    const TileKeys keys = UnitKeys(tile);
    LocateRows(problem_, unit_, tile, keys, problem_.key.strides, offsets.keys);
    if (offsets.values != offsets.keys) {
      LocateRows(problem_, unit_, tile, keys, problem_.value.strides, offsets.values);
    }
  }

  void LoadScales(int64_t tile, const float* from, float* scales) const {
    if constexpr (kScaled) {
      cpu::LoadScales(problem_, unit_, tile, UnitKeys(tile), from, scales);
    }
  }

  // Keys and values of the tile as fp32 into the scratch memory.
  void Expand(int64_t tile, const TileOffsets& next) const {
    LoadScales(tile, problem_.key.scale, scratch_.key_scale);
    ExpandRows(tile, k_, offsets_.keys, next.keys, scratch_.key_scale, scratch_.key_rows, key_dim_,
               scratch_.keys);
    if (scratch_.values != scratch_.keys) {
      ExpandValues(tile, next);
    }
  }

  void ExpandValues(int64_t tile, const TileOffsets& next) const {
    LoadScales(tile, problem_.value.scale, scratch_.value_scale);
    ExpandRows(tile, v_, offsets_.values, next.values, scratch_.value_scale, scratch_.value_rows,
               value_dim_, scratch_.values);
  }

  // The same with keys as columns.
  void ExpandColumns(int64_t tile, const TileOffsets& next) const {
    const TileKeys keys = UnitKeys(tile);
    LoadScales(tile, problem_.key.scale, scratch_.key_scale);
    cpu::ExpandColumns<V>(k_, offsets_.keys, Ahead<T>{k_, next.keys},
                          kScaled ? scratch_.key_scale : nullptr, keys.begin / kLanes * kLanes,
                          (keys.end + kLanes - 1) / kLanes * kLanes, key_dim_, scratch_.columns);
    ExpandValues(tile, next);
  }

  void ExpandRows(int64_t tile, const T* rows, const int64_t* offsets, const int64_t* next,
                  const float* scales, const int64_t* to_rows, int dim, float* to) const {
    const TileKeys keys = UnitKeys(tile);
    const int end = (keys.end + kLanes - 1) / kLanes * kLanes;
    const Ahead<T> ahead = {rows, next};
    for (int j = keys.begin / kLanes * kLanes; j < end; ++j) {
      const T* from = rows + offsets[j];
      float* row = to + to_rows[j];
      ahead.Fetch(j, dim);
      const V factor = V::Broadcast(kScaled ? scales[j] : 1.0f);
      for (int d = 0; d < dim; d += kLanes) {
        const V x = V::Load(from + d);
        V::Store(row + d, kScaled ? V::Mul(x, factor) : x);
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
        WithCount<kMaxRun>(count,
                           [&]<int kQueries>() { RunQueries<kQueries>(ahead, query, keys); });
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
    ScoreKeys<V, kQueries>(query_rows_.At(query), key_dim_, rows.keys, rows.key_rows,
                           rows.WithKeys(), keys.begin / kLanes * kLanes,
                           (keys.end + kLanes - 1) / kLanes * kLanes, scores);
    float factors[kQueries];
    for (int i = 0; i < kQueries; ++i) {
      factors[i] =
          SoftmaxStep<V>(problem_.logit_soft_cap, keys, scores + i * kKeyTile,
                         scratch_.max + query + i, scratch_.sum + int64_t{query + i} * kLanes);
    }
    AddValues<V, kQueries>(scores, factors, rows.values, rows.value_rows, rows.WithValues(),
                           keys.begin, keys.end, AccOf(query), value_dim_);
  }

  // RunTile with queries and keys by columns: neighbouring queries work together that see some keys
  // of the tile, whether the same or not.
  void RunColumns(int64_t tile) {
    TileKeys keys[kMaxStep];
    for (int query = 0; query < queries_; query += kMaxStep) {
      const int count = std::min(kMaxStep, queries_ - query);
      LocateKeysOf(query, count, tile, keys);
      int begin = 0;  // of the queries that see some
      int end = 0;
      for (int i = 0; i < count; ++i) {
        if (keys[i].begin < keys[i].end) {
          begin = end == 0 ? i : begin;
          end = i + 1;
        }
      }
      if (begin < end) {
        ScoreStep(query, begin, end, keys);
        float factors[kMaxStep + kLanes];
        for (int i = begin; i < end; i += kLanes) {
          SoftmaxSteps<V>(problem_.logit_soft_cap, std::min(kLanes, end - i), keys + i,
                          scratch_.scores + i * kKeyTile, scratch_.max + query + i,
                          scratch_.sum + int64_t{query + i} * kLanes, factors + i);
        }
        AddStep(query, begin, end, keys, factors);
      }
    }
  }

  // keys[i] = KeysOf(query + i), for `count` queries.
  void LocateKeysOf(int query, int count, int64_t tile, TileKeys* keys) const {
    keys[0] = KeysOf(query, tile);
    // Both ends grow from row to row.
    const bool alike = KeysOf(query + count - 1, tile) == keys[0];
    for (int i = 1; i < count; ++i) {
      const bool same = alike || (query + i) % group_ != 0;
      keys[i] = same ? keys[i - 1] : KeysOf(query + i, tile);
    }
  }

  // Scores of the queries [begin, end) from `query` on, in whole blocks.
  void ScoreStep(int query, int begin, int end, const TileKeys* keys) const {
    for (int j = keys[begin].begin / kLanes * kLanes; j < keys[end - 1].end; j += kLanes) {
      for (int first = begin / kBlock * kBlock; first < end; first += kBlock) {
        const int last = std::min(first + kBlock, end) - 1;
        if (j + kLanes <= keys[std::max(first, begin)].begin || j >= keys[last].end) {
          continue;
        }
        const float* q = query_rows_.At(query + first);
        const float* columns = scratch_.columns + int64_t{j} * key_dim_;
        float* scores = scratch_.scores + first * kKeyTile + j;
        if (kBlock > 4 && last - first < 4) {
          ScoreColumns<V, std::min(kBlock, 4)>(q, columns, key_dim_, scores);
        } else {
          ScoreColumns<V, kBlock>(q, columns, key_dim_, scores);
        }
      }
    }
  }

  // Keys that a whole block of queries sees are added for all together, the others before and
  // after for each.
  void AddStep(int query, int begin, int end, const TileKeys* keys, float* factors) const {
    for (int first = begin; first < end; first += kMaxRun) {
      const int last = std::min(first + kMaxRun, end) - 1;
      const TileKeys common = {keys[last].begin, keys[first].end};
      if (common.begin >= common.end) {
        for (int i = first; i <= last; ++i) {
          Add<1>(query, i, keys[i], factors);
        }
        continue;
      }
      for (int i = first; i <= last && keys[i].begin < common.begin; ++i) {
        Add<1>(query, i, {keys[i].begin, common.begin}, factors);
        factors[i] = 1.0f;
      }
      WithCount<kMaxRun>(last - first + 1,
                         [&]<int kQueries>() { Add<kQueries>(query, first, common, factors); });
      for (int i = last; i >= first && keys[i].end > common.end; --i) {
        factors[i] = 1.0f;
        Add<1>(query, i, {common.end, keys[i].end}, factors);
      }
    }
  }

  // Adds values of a tile that lie in the scratch memory to kQueries queries from `query` + i on.
  template <int kQueries>
  void Add(int query, int i, TileKeys keys, const float* factors) const {
    AddValues<V, kQueries>(scratch_.scores + i * kKeyTile, factors + i, scratch_.values,
                           scratch_.value_rows, AheadTwice<float>{}, keys.begin, keys.end,
                           AccOf(query + i), value_dim_);
  }

  // Calls f<count>(), count from 1 to kMost, 4 at most.
  template <int kMost, class F>
  static void WithCount(int count, const F& f) {
    if constexpr (kMost > 1) {
      if (count < kMost) {
        WithCount<kMost - 1>(count, f);
        return;
      }
    }
    f.template operator()<kMost>();
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
                             : AddSink(problem_.sinks[query_rows_.HeadOf(query)] * kLog2E, total);
    if (problem_.lse != nullptr) {
      problem_.lse[query_rows_.RowOf(query) * problem_.q_heads + query_rows_.HeadOf(query)] =
          *total.max / kLog2E + std::log(*total.sum);
    }
    const HeadRows& rows = problem_.out;
    const int64_t offset = query_rows_.Offset(rows, query);
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
  const bool columns_;  // a tile's keys are expanded as columns
  const QueryRows<V> query_rows_;
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
