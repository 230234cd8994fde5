#include "ops/attention/cpu/cpu_key_rows.h"

#include <algorithm>
#include <bit>

namespace quire::ops::attention::cpu {

namespace {

// set(j, offset) for each of the keys, page by page. The strides come by value: as memory they
// might be what `set` writes.
template <typename Set>
void ForEachKey(const Problem& problem, const Unit& unit, int64_t tile, TileKeys keys,
                PageStrides strides, const Set& set) {
  const int64_t page_size = problem.page_size;
  const int shift = std::countr_zero(static_cast<uint64_t>(page_size));
  for (int j = keys.begin; j < keys.end;) {
    int64_t offset = (unit.first_key + tile + j) * strides.token;
    int end = keys.end;
    if (unit.pages != nullptr) {
      const int64_t place = (tile + j) & (page_size - 1);
      offset = unit.pages[(tile + j) >> shift] * strides.page + place * strides.token;
      end = static_cast<int>(std::min<int64_t>(end, j + page_size - place));
    }
    for (; j < end; ++j, offset += strides.token) {
      set(j, offset);
    }
  }
}

template <typename T>
void RepeatEnds(TileKeys keys, T* of) {
  std::fill(of, of + keys.begin, of[keys.begin]);
  std::fill(of + keys.end, of + kKeyTile, of[keys.end - 1]);
}

}  // namespace

void LocateRows(const Problem& problem, const Unit& unit, int64_t tile, TileKeys keys,
                PageStrides strides, int64_t* offsets) {
  ForEachKey(problem, unit, tile, keys, strides,
             [&](int j, int64_t offset) { offsets[j] = offset; });
  RepeatEnds(keys, offsets);
}

void LoadScales(const Problem& problem, const Unit& unit, int64_t tile, TileKeys keys,
                const float* from, float* scales) {
  from += unit.kv_head * problem.scale_strides.head;
  ForEachKey(problem, unit, tile, keys, problem.scale_strides,
             [&](int j, int64_t offset) { scales[j] = from[offset]; });
  RepeatEnds(keys, scales);
}

}  // namespace quire::ops::attention::cpu
