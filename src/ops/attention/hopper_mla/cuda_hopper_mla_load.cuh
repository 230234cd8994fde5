// The four warps of the kernel of cuda_hopper_mla.cu that bring queries and keys: row by row, or
// page by page where the copy engine can.
#pragma once

#include <cute/arch/copy_sm90_tma.hpp>

#include "ops/attention/hopper_mla/cuda_hopper_mla_work.cuh"

namespace quire::ops::attention::cuda::hopper_mla {

constexpr int kAhead = 2;      // key tiles whose pages are known
constexpr int kWarpRows = 16;  // of a tile's rotated part, that a warp brings
constexpr int kWarpParts = 2;  // of a tile's other parts; then all rows
constexpr int kRowLanes = 16;  // that copy a row of two parts, 16 bytes each
constexpr int kRotatedLanes = 8;
constexpr uint32_t kNoRow = 0xffffffff;
static_assert(kWarpParts * kLoadThreads / 32 == kRotated && kUnits == kLoadThreads / 32 + 1);

__device__ inline int BitsOf(int page_size) {
  return __ffs(page_size) - 1;
}

template <int kBlocks>
class Loader {
 public:
  __device__ Loader(const Args& args, const Shared& shared)
      : args_(args),
        problem_(args.problem),
        shared_(shared),
        b_(*shared.barriers),
        landing_(shared.landings[threadIdx.x / 32]),
        page_bits_(BitsOf(args.problem.page_size)) {}

  __device__ void Load(const Share& share) {
    Walk<kBlocks> walk(args_, share);
    for (int i = 0; i < share.count; ++i) {
      Merge* merge;
      Merge record;
      const Turn turn = walk.Next(merge, record);
      if (threadIdx.x == 0 && merge != nullptr) {
        *merge = record;
      }
      Pages pages[kAhead];
#pragma unroll
      for (int t = 0; t < kAhead; ++t) {
        pages[t] = PagesOf(turn, t);
      }
      LoadQuery(turn, static_cast<uint32_t>(i));
      if (i == 0) {
        AwaitCluster<kBlocks>();
      }
      LoadKeys(turn, pages);
    }
    if (share.count == 0) {
      AwaitCluster<kBlocks>();
    }
    while (told_ != gathered_) {
      Tell();
    }
  }

 private:
  // Of a lane's rows of a tile: `lane` and 32 + `lane`. -1: there is no such key.
  struct Pages {
    int first;
    int second;
  };
  // Where they are, in units of 16 bytes, or kNoRow.
  struct Rows {
    uint32_t first;
    uint32_t second;

    __device__ uint32_t At(int row) const {
      const uint32_t from_first = __shfl_sync(0xffffffff, first, row % 32);
      const uint32_t from_second = __shfl_sync(0xffffffff, second, row % 32);
      return row < 32 ? from_first : from_second;
    }
  };

  __device__ void LoadQuery(const Turn& turn, uint32_t i) {
    Await(&b_.query_empty, i % 2 ^ 1);
    if (threadIdx.x == 0) {
      *shared_.turn = turn;
    }
    if (args_.query_map.exists) {
      CopyQuery(turn.first);
      return;
    }
    const Rows rows = {QueryRow(turn, lane_), QueryRow(turn, lane_ + 32)};
    CopyRotated(shared_.query, problem_.query.data, rows);
    CopyParts(shared_.query, problem_.query.data, rows);
    Gathered(&b_.query_full);
  }

  // By the copy engine, this warp's parts of all rows from `first` on.
  __device__ void CopyQuery(int first) const {
    if (lane_ == 0) {
      const int parts = warp_ == 0 ? kWarpParts + 1 : kWarpParts;
      cutlass::arch::ClusterTransactionBarrier::arrive_and_expect_tx(&b_.query_full,
                                                                     parts * kPartBytes);
      for (int i = 0; i < parts; ++i) {
        const int part = i < kWarpParts ? warp_ * kWarpParts + i : kRotated;
        cute::SM90_TMA_LOAD_2D::copy(&args_.query_map.map, const_cast<uint64_t*>(&b_.query_full),
                                     kQueryHint, shared_.query + part * kPartBytes, part * 64,
                                     first);
      }
    }
    __syncwarp();
  }

  __device__ uint32_t QueryRow(const Turn& turn, int row) const {
    const int at = turn.first + row;
    const int64_t offset = at / problem_.q_heads * problem_.query.row_stride +
                           at % problem_.q_heads * problem_.query.head_stride;
    return row < turn.rows ? static_cast<uint32_t>(offset / 8) : kNoRow;
  }

  // `pages`: of the first tiles.
  __device__ void LoadKeys(const Turn& turn, Pages (&pages)[kAhead]) {
    const int tiles = turn.key_tiles();
    for (int t = 0; t < tiles; ++t) {
      if (t % 2 == 0) {
        LoadTile<0>(turn, t, pages[0]);
      } else {
        LoadTile<1>(turn, t, pages[0]);
      }
#pragma unroll
      for (int i = 0; i + 1 < kAhead; ++i) {
        pages[i] = pages[i + 1];
      }
      pages[kAhead - 1] = PagesOf(turn, t + kAhead);
    }
  }

  __device__ Pages PagesOf(const Turn& turn, int t) const {
    const int key = turn.key_begin + t * kMlaTileKeys + lane_;
    return {PageOf(turn, key), PageOf(turn, key + 32)};
  }

  // Plain loads would be waited for at once.
  __device__ int PageOf(const Turn& turn, int key) const {
    int page = -1;
    if (key < turn.key_end) {
      const int32_t* const table =
          problem_.page_table + int64_t{turn.sequence} * problem_.max_pages;
      asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(page) : "l"(table + (key >> page_bits_)));
    }
    return page;
  }

  __device__ Rows RowsOf(const Turn& turn, int t, const Pages& pages) const {
    const int key = turn.key_begin + t * kMlaTileKeys + lane_;
    return {KeyRow(pages.first, key), KeyRow(pages.second, key + 32)};
  }

  __device__ uint32_t KeyRow(int page, int key) const {
    const int64_t row = (int64_t{page} << page_bits_) + (key & (problem_.page_size - 1));
    return page < 0 ? kNoRow : static_cast<uint32_t>(row) * (kDim / 8);
  }

  template <int kBuffer>
  __device__ void LoadTile(const Turn& turn, int t, const Pages& pages) {
    const uint32_t phase = used_[kBuffer]++ % 2 ^ 1;
    uint8_t* const to = shared_.keys[kBuffer];
    const uint64_t* const full = b_.full[kBuffer];
    const uint64_t* const half_empty = &b_.half_empty[kBuffer][warp_ * kWarpParts / kHalfParts];
    const int start = turn.key_begin + t * kMlaTileKeys;
    if (args_.map.exists && start + kMlaTileKeys <= turn.key_end) {
      const Box rotated = BoxOf<1>(kRotated, start, pages);
      const Box parts = BoxOf<kWarpParts>(warp_ * kWarpParts, start, pages);
      Await(&b_.rotated_empty[kBuffer], phase);
      if (warp_ == 0) {
        CopyBoxes<1>(to, rotated, full + kUnits - 1);
      } else {
        Arrive(full + kUnits - 1);
      }
      Await(half_empty, phase);
      CopyBoxes<kWarpParts>(to, parts, full + warp_);
      return;
    }
    const Rows rows = RowsOf(turn, t, pages);
    Await(&b_.rotated_empty[kBuffer], phase);
    CopyRotated(to, problem_.key.data, rows);
    Gathered(full + kUnits - 1);
    Await(half_empty, phase);
    CopyParts(to, problem_.key.data, rows);
    Gathered(full + warp_);
  }

  // Until something may be written to; those who are to empty it may wait for what was gathered.
  __device__ void Await(const uint64_t* empty, uint32_t phase) {
    while (told_ != gathered_ && !IsComplete(empty, phase)) {
      Tell();
    }
    Barrier::wait(empty, phase);
    __syncwarp();
  }

  __device__ static bool IsComplete(const uint64_t* barrier, uint32_t phase) {
    return __all_sync(0xffffffff, Barrier::test_wait(barrier, phase, true)) != 0;
  }

  // What this warp just asked for will be told to `full` once it is there.
  __device__ void Gathered(const uint64_t* full) {
    const uint32_t slot = gathered_++ % kLandings;
    if (lane_ == 0) {
      landing_.full[slot] = full;
    }
    cutlass::arch::cpasync_barrier_arrive_noinc(&landing_.landed[slot]);
  }

  // Tells the products of what was gathered first, if it is there.
  __device__ void Tell() {
    const uint32_t slot = told_ % kLandings;
    if (IsComplete(&landing_.landed[slot], told_ / kLandings % 2)) {
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      __syncwarp();
      Arrive(landing_.full[slot]);
      ++told_;
    }
  }

  __device__ void Arrive(const uint64_t* barrier) const {
    if (lane_ == 0) {
      Barrier::arrive(barrier);
    }
  }

  // What a lane asks the copy engine for: rows of a page, of a part of the tile.
  struct Box {
    int to;  // byte of the tile, or -1: nothing
    int element;
    int token;
    int page;
  };
  // Of kCount parts: lane i asks for part i % kCount. The blocks of a cluster ask for some of the
  // rows each, for all of them.
  template <int kCount>
  __device__ Box BoxOf(int first_part, int start, const Pages& pages) const {
    constexpr int kRows = kMlaTileKeys / kBlocks;
    const int box = min(problem_.page_size, kRows);
    const int part = first_part + lane_ % kCount;
    const int in_block = lane_ / kCount * box;
    const int row = rank_ * kRows + in_block;
    const int first = __shfl_sync(0xffffffff, pages.first, row % 32);
    const int second = __shfl_sync(0xffffffff, pages.second, row % 32);
    return {in_block < kRows ? part * kPartBytes + row * 128 : -1, part * 64,
            (start + row) & (problem_.page_size - 1), row < 32 ? first : second};
  }

  template <int kCount>
  __device__ void CopyBoxes(uint8_t* tile, const Box& box, const uint64_t* full) const {
    if (box.to >= 0) {
      Copy(tile + box.to, full, box.element, box.token, box.page);
    }
    __syncwarp();
    if (lane_ == 0) {  // without which `full` waits, whatever has come
      cutlass::arch::ClusterTransactionBarrier::arrive_and_expect_tx(full, kCount * kPartBytes);
    }
  }

  __device__ void Copy(uint8_t* to, const uint64_t* full, int element, int token, int page) const {
    auto* const barrier = const_cast<uint64_t*>(full);
    if constexpr (kBlocks == 1) {
      cute::SM90_TMA_LOAD_3D::copy(&args_.map.map, barrier, kKeysHint, to, element, token, page);
    } else {
      constexpr uint16_t kAll = (1 << kBlocks) - 1;
      cute::SM90_TMA_LOAD_MULTICAST_3D::copy(&args_.map.map, barrier, kAll, kKeysHint, to, element,
                                             token, page);
    }
  }

  // Gathers this warp's rows of the rotated part.
  __device__ void CopyRotated(uint8_t* tile, const void* data, const Rows& rows) const {
    const uint32_t to = SharedAddress(tile) + kRotated * kPartBytes;
#pragma unroll
    for (int i = 0; i < kWarpRows; i += 32 / kRotatedLanes) {
      const int segment = lane_ % kRotatedLanes;
      CopySegment(to, warp_ * kWarpRows + i + lane_ / kRotatedLanes, segment, data, rows,
                  kRotated * 8 + segment);
    }
  }

  // Gathers this warp's parts of all rows.
  __device__ void CopyParts(uint8_t* tile, const void* data, const Rows& rows) const {
    const int segment = lane_ % kRowLanes;
    const uint32_t to = SharedAddress(tile) + (warp_ * kWarpParts + segment / 8) * kPartBytes;
#pragma unroll 4
    for (int i = 0; i < kMlaTileRows; i += 32 / kRowLanes) {
      CopySegment(to, i + lane_ / kRowLanes, segment % 8, data, rows,
                  warp_ * kWarpParts * 8 + segment);
    }
  }

  // 16 bytes of a row: to segment `to_segment` of the part at `part`.
  __device__ void CopySegment(uint32_t part, int row, int to_segment, const void* data,
                              const Rows& rows, int segment) const {
    const uint32_t at = rows.At(row);
    const bool wanted = at != kNoRow;
    CopyAsync(part + row * 128 + (to_segment ^ row % 8) * 16,
              static_cast<const uint8_t*>(data) + (wanted ? uint64_t{at} + segment : 0) * 16,
              wanted);
  }

  // Keys are read once: what others read again stays in the L2.
  static constexpr auto kKeysHint = static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_FIRST);
  static constexpr auto kQueryHint = static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_NORMAL);

  const Args& args_;
  const Problem& problem_;
  const Shared& shared_;
  const Barriers& b_;
  Landing& landing_;  // of this warp
  const int page_bits_;
  const int rank_ = static_cast<int>(blockIdx.x) % kBlocks;
  const int warp_ = static_cast<int>(threadIdx.x) / 32;
  const int lane_ = static_cast<int>(threadIdx.x) % 32;
  uint32_t used_[kGroups] = {};  // tiles that went to each buffer
  uint32_t gathered_ = 0;        // what was asked for so
  uint32_t told_ = 0;            // and told of
};

}  // namespace quire::ops::attention::cuda::hopper_mla
