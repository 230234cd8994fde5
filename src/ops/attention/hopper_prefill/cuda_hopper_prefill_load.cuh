// The four warps of the kernel of cuda_hopper_prefill.cuh that bring queries, keys and values: row
// by row, or pages and runs of rows at once where the copy engine can.
#pragma once

#include <cute/arch/copy_sm90_tma.hpp>

#include "ops/attention/hopper_prefill/cuda_hopper_prefill_maps.h"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill_rows.cuh"

namespace quire::ops::attention::cuda::hopper_prefill {

// A tile of the list, as it comes from memory: nothing waits for it before it is used.
struct RawTile {
  int4 first;
  int2 heads;
};

// Where a tile of keys, and of their values, comes from.
struct KvTile {
  LaneRows rows;  // if they come one by one
  int page;       // of this thread's row
  int run;        // the row, of those of all pages, if the warp's rows are a run; else -1
  int kv_head;
  bool is_whole;  // no row is missing
};

// Pieces of 16 bytes in `elements`.
__device__ inline uint32_t Pieces(int64_t elements) {
  return static_cast<uint32_t>(elements / 8);
}

__device__ inline int BitsOfPage(const Problem& problem) {
  return __ffs(problem.page_size) - 1;
}

static_assert(kRunRows == kWarpRows);

// With one stage of queries, a tile's last values come before the queries of the next, which wait
// for the last scores.
template <int kDim, int kQueryStages, int kValueRing>
class Loader {
 public:
  __device__ Loader(const Problem& problem, const HopperPrefillSchedule& schedule,
                    const KvMaps& maps, const Shared& shared)
      : problem_(problem),
        schedule_(schedule),
        maps_(maps),
        shared_(shared),
        b_(*shared.barriers),
        page_bits_(BitsOfPage(problem)),
        keys_(RowCopies<kDim>::From(problem.key.data)),
        values_(RowCopies<kDim>::From(problem.value.data)),
        page_pieces_(Pieces(problem.key.strides.page)),
        head_pieces_(Pieces(problem.key.strides.head)),
        token_pieces_(Pieces(problem.key.strides.token)) {}

  // Values come one key tile behind keys, in the order in which they are needed. Page numbers are
  // read a key tile ahead and tiles of the list a turn ahead.
  __device__ void Load() {
    uint32_t count = 0;  // key tiles so far
    KvTile last = {};
    const HopperTile* const tiles = schedule_.tiles + schedule_.block_start[blockIdx.x];
    const int turns = TurnsOf(schedule_);
    RawTile raw = Read(tiles, turns > 0);
    int page = -1;
    for (int i = 0; i < turns; ++i) {
      const Turn turn = TurnOf(raw);
      if (i == 0) {
        page = PageOf(turn, 0);
      }
      raw = Read(tiles + i + 1, i + 1 < turns);
      bool are_values_due = count > 0;
      if (kQueryStages == 1 && are_values_due) {
        LoadValues(last, count - 1);
        are_values_due = false;
      }
      LoadQuery(turn, static_cast<uint32_t>(i));
      const int key_tiles = turn.key_tiles();
      for (int j = 0; j < key_tiles; ++j, ++count) {
        const KvTile tile = TileOf(turn, j, page);
        if (j + 1 < key_tiles) {
          page = PageOf(turn, j + 1);
        } else if (i + 1 < turns) {
          page = PageOf(TurnOf(raw), 0);
        }
        LoadKeys(tile, count);
        if (are_values_due) {
          LoadValues(last, count - 1);
        }
        are_values_due = true;
        last = tile;
      }
    }
    if (count > 0) {
      LoadValues(last, count - 1);
      Tell<0>();
    }
  }

 private:
  // Plain loads would be waited for at once.
  __device__ static RawTile Read(const HopperTile* from, bool exists) {
    RawTile raw = {};
    if (exists) {
      asm volatile("ld.global.nc.v4.s32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(raw.first.x), "=r"(raw.first.y), "=r"(raw.first.z), "=r"(raw.first.w)
                   : "l"(from));
      asm volatile("ld.global.nc.v2.s32 {%0, %1}, [%2];"
                   : "=r"(raw.heads.x), "=r"(raw.heads.y)
                   : "l"(&from->kv_head));
    }
    return raw;
  }

  __device__ static Turn TurnOf(const RawTile& raw) {
    return {raw.first.x, raw.first.y, raw.first.z, raw.first.w, raw.heads.x, raw.heads.y};
  }

  // Of this thread's row of key tile `j`; -1 if there is no such key.
  __device__ int PageOf(const Turn& turn, int j) const {
    const int key = j * kKeys + static_cast<int>(threadIdx.x);
    int page = -1;
    if (key < turn.keys()) {
      const int32_t* const table =
          problem_.page_table + int64_t{turn.sequence} * problem_.max_pages;
      asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(page) : "l"(table + (key >> page_bits_)));
    }
    return page;
  }

  // Key tile `j`; `page` is of this thread's row.
  __device__ KvTile TileOf(const Turn& turn, int j, int page) const {
    KvTile tile = {{}, page, -1, turn.kv_head, (j + 1) * kKeys <= turn.keys()};
    if (tile.is_whole && maps_.boxes == KvBoxes::kPages) {
      return tile;
    }
    const int in_page = (j * kKeys + static_cast<int>(threadIdx.x)) & (problem_.page_size - 1);
    if (tile.is_whole && maps_.boxes == KvBoxes::kRuns) {
      const int row = (page << page_bits_) + in_page;
      const int first = __shfl_sync(0xffffffff, row, 0);
      if (__all_sync(0xffffffff, row - first == static_cast<int>(threadIdx.x % 32))) {
        tile.run = first;
        return tile;
      }
    }
    const uint32_t offset = static_cast<uint32_t>(page) * page_pieces_ +
                            static_cast<uint32_t>(turn.kv_head) * head_pieces_ +
                            static_cast<uint32_t>(in_page) * token_pieces_;
    tile.rows = ShareOut(page < 0 ? kNoRow : offset);
    return tile;
  }

  // By the copy engine. Rows of the box that the turn does not have are those of others or zeros;
  // nobody writes their outputs.
  __device__ void LoadQuery(const Turn& turn, uint32_t i) {
    const uint32_t stage = i % kQueryStages;
    AwaitEmpty(b_.query_empty + stage, i, kQueryStages);
    if (threadIdx.x == 0) {
      auto* const full = const_cast<uint64_t*>(b_.query_full + stage);
      uint8_t* const to = shared_.query + stage * kTileBytes<kDim>;
      shared_.turns[stage] = turn;
      cutlass::arch::ClusterTransactionBarrier::arrive_and_expect_tx(full, kTileBytes<kDim>);
#pragma unroll
      for (int part = 0; part < kDim / 64; ++part) {
        cute::SM90_TMA_LOAD_3D::copy(&maps_.query, full, kNotAgain, to + part * kPartBytes,
                                     part * 64, turn.first_row, turn.head);
      }
    }
  }

  __device__ void LoadKeys(const KvTile& tile, uint32_t count) {
    const uint32_t stage = count % kStages;
    AwaitEmpty(b_.key_empty + stage, count);
    LoadTile(tile, shared_.key + stage * kTileBytes<kDim>, keys_, maps_.key, b_.key_full + stage);
  }

  __device__ void LoadValues(const KvTile& tile, uint32_t count) {
    const uint32_t stage = count % kValueRing;
    AwaitEmpty(b_.value_empty + stage, count, kValueRing);
    LoadTile(tile, shared_.value + stage * kTileBytes<kDim>, values_, maps_.value,
             b_.value_full + stage);
  }

  // Until tile `count` of a ring may be written to its stage.
  __device__ void AwaitEmpty(const uint64_t* empty, uint32_t count, uint32_t stages = kStages) {
    const uint32_t phase = count / stages % 2 ^ 1;
    if (!Barrier::test_wait(empty, phase, true)) {
      Tell<0>();  // those who are to empty the stage may wait for it
      Barrier::wait(empty, phase);
    }
  }

  __device__ void LoadTile(const KvTile& tile, uint8_t* to, uint64_t from, const CUtensorMap& map,
                           const uint64_t* full) {
    if (tile.is_whole && maps_.boxes == KvBoxes::kPages) {
      CopyPages(to, map, tile, full);
    } else if (tile.run >= 0) {
      CopyRun(to, map, tile, full);
    } else {
      if (tile.is_whole) {
        copies_.CopyWhole(SharedAddress(to), from, tile.rows);
      } else {
        copies_.Copy(SharedAddress(to), from, tile.rows);
      }
      Commit(full);
    }
  }

  // By the copy engine; the thread of a page's first row asks for the page.
  __device__ void CopyPages(uint8_t* to, const CUtensorMap& map, const KvTile& tile,
                            const uint64_t* full) {
    if (threadIdx.x == 0) {
      cutlass::arch::ClusterTransactionBarrier::arrive_and_expect_tx(full, kTileBytes<kDim>);
    } else if (threadIdx.x % 32 == 0) {
      Barrier::arrive(full);
    }
    if ((threadIdx.x & (problem_.page_size - 1)) == 0) {
      CopyBox(map, full, to + threadIdx.x * 128, 0, tile.kv_head, tile.page);
    }
    Tell<0>();
  }

  // The same for the warp's rows.
  __device__ void CopyRun(uint8_t* to, const CUtensorMap& map, const KvTile& tile,
                          const uint64_t* full) {
    if (threadIdx.x % 32 == 0) {
      cutlass::arch::ClusterTransactionBarrier::arrive_and_expect_tx(full,
                                                                     kTileBytes<kDim> / kLoadWarps);
      CopyBox(map, full, to + threadIdx.x * 128, tile.run, tile.kv_head, 0);
    }
    Tell<0>();
  }

  // All parts.
  __device__ static void CopyBox(const CUtensorMap& map, const uint64_t* full, uint8_t* to, int row,
                                 int kv_head, int page) {
#pragma unroll
    for (int part = 0; part < kDim / 64; ++part) {
      cute::SM90_TMA_LOAD_4D::copy(&map, const_cast<uint64_t*>(full), kKeepInCache,
                                   to + part * kPartBytes, part * 64, row, kv_head, page);
    }
  }

  // After the copies of a tile.
  __device__ void Commit(const uint64_t* full) {
    CommitCopies();
    Tell<1>();
    full_ = full;
  }

  // That the tile gathered last is there, once at most kPending of this thread's copies are under
  // way.
  template <int kPending>
  __device__ void Tell() {
    if (full_ != nullptr) {
      WaitForCopies<kPending>();
      FenceForEngines();
      __syncwarp();
      if (threadIdx.x % 32 == 0) {
        Barrier::arrive(full_);
      }
      full_ = nullptr;
    }
  }

  static constexpr auto kNotAgain = static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_FIRST);
  static constexpr auto kKeepInCache = static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_LAST);

  const Problem& problem_;
  const HopperPrefillSchedule& schedule_;
  const KvMaps& maps_;
  const Shared& shared_;
  const Barriers& b_;
  const int page_bits_;
  const uint64_t keys_;  // of this lane
  const uint64_t values_;
  const uint32_t page_pieces_;
  const uint32_t head_pieces_;
  const uint32_t token_pieces_;
  RowCopies<kDim> copies_;
  const uint64_t* full_ = nullptr;  // of the tile gathered last, where nobody has been told of it
};

}  // namespace quire::ops::attention::cuda::hopper_prefill
