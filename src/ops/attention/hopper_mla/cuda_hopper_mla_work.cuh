// How a block of the kernel of cuda_hopper_mla.cu finds its share of the work, hopper_mla_plan.h.
#pragma once

#include "ops/attention/hopper_mla/cuda_hopper_mla_tiles.cuh"

namespace quire::ops::attention::cuda::hopper_mla {

struct SequenceRows {
  int32_t first;  // of the step
  int32_t count;
  int32_t keys;
};

__device__ inline SequenceRows RowsOf(const Problem& problem, int32_t b) {
  return {static_cast<int32_t>(problem.FirstRow(b)), static_cast<int32_t>(problem.Rows(b)),
          max(problem.kv_length[b], 0)};
}

// The first piece of a block's share, and how many it has.
struct Share {
  int32_t sequence;
  SequenceRows rows;  // of the sequence
  int32_t piece;      // likewise
  int32_t partials;   // of the sequences before
  int32_t count;
  MlaDivisor length;  // of a piece, in key tiles
};

__device__ inline MlaSequenceWork WorkOf(const Problem& problem, const SequenceRows& rows,
                                         int32_t tile_rows, const MlaDivisor& length) {
  return {rows.count * problem.q_heads, tile_rows, rows.keys, length};
}

constexpr int32_t kFewSequences = 32;  // that a warp looks through alone

// The threads that look through the sequences together: a warp where they are few, each for itself,
// so that nobody waits for others, else the block.
struct ShareScratch {
  int32_t sums[3][kWarps];
  int32_t first;  // the first sequence that has pieces of the share
  int32_t sequence;
  int32_t piece;
  int32_t partials;
};
class Crowd {
 public:
  __device__ Crowd(int32_t sequences, ShareScratch& scratch)
      : scratch_(scratch), is_warp_(sequences <= kFewSequences) {}

  // Of so many things, those for each thread.
  __device__ int32_t Each(int32_t count) const {
    return is_warp_ ? (count + 31) / 32 : (count + kThreads - 1) / kThreads;
  }
  __device__ int32_t rank() const { return is_warp_ ? lane_ : static_cast<int32_t>(threadIdx.x); }

  // The sum of the threads' values before this one's, and that of all. kAt: of the scratch.
  template <int kAt>
  __device__ int32_t SumBefore(int32_t mine, int32_t& all) {
    int32_t sum = mine;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int32_t other = __shfl_up_sync(0xffffffff, sum, step);
      sum += lane_ >= step ? other : 0;
    }
    if (is_warp_) {
      all = __shfl_sync(0xffffffff, sum, 31);
      return sum - mine;
    }
    const int warp = static_cast<int>(threadIdx.x / 32);
    if (lane_ == 31) {
      scratch_.sums[kAt][warp] = sum;
    }
    __syncthreads();
    const int32_t of_warp = lane_ < kWarps ? scratch_.sums[kAt][lane_] : 0;
    all = __reduce_add_sync(0xffffffff, of_warp);
    return __reduce_add_sync(0xffffffff, lane_ < warp ? of_warp : 0) + sum - mine;
  }

  // Gives all what the thread of the lowest `share.sequence` has. REQUIRES: only one has it.
  __device__ void TakeFirst(const Problem& problem, Share& share) {
    const int32_t of_warp = __reduce_min_sync(0xffffffff, share.sequence);
    const int owner = __ffs(__ballot_sync(0xffffffff, share.sequence == of_warp)) - 1;
    share.sequence = of_warp;
    share.piece = __shfl_sync(0xffffffff, share.piece, owner);
    share.partials = __shfl_sync(0xffffffff, share.partials, owner);
    if (is_warp_) {
      share.rows.first = __shfl_sync(0xffffffff, share.rows.first, owner);
      share.rows.count = __shfl_sync(0xffffffff, share.rows.count, owner);
      share.rows.keys = __shfl_sync(0xffffffff, share.rows.keys, owner);
      return;
    }
    if (threadIdx.x == 0) {
      scratch_.first = problem.num_sequences;
    }
    __syncthreads();
    if (lane_ == 0) {
      atomicMin(&scratch_.first, of_warp);
    }
    __syncthreads();
    if (lane_ == 0 && of_warp == scratch_.first) {
      scratch_.sequence = share.sequence;
      scratch_.piece = share.piece;
      scratch_.partials = share.partials;
    }
    __syncthreads();
    share.sequence = scratch_.sequence;
    share.piece = scratch_.piece;
    share.partials = scratch_.partials;
    share.rows = RowsOf(problem, share.sequence);
    __syncthreads();  // before the memory serves others
  }

 private:
  ShareScratch& scratch_;
  const bool is_warp_;
  const int lane_ = static_cast<int>(threadIdx.x % 32);
};

// Of this block's cluster of kBlocks, by all threads. Each looks at some neighbouring sequences.
// The kernel starts with it, when the code is nowhere near: loops are short, not unrolled.
template <int kBlocks>
__device__ Share ShareOf(const Args& args, ShareScratch& scratch) {
  constexpr int32_t kTileRows = kBlocks * kMlaTileRows;
  const Problem& problem = args.problem;
  Crowd crowd(problem.num_sequences, scratch);
  const int32_t each = crowd.Each(problem.num_sequences);
  const int32_t begin = min(crowd.rank() * each, problem.num_sequences);
  const int32_t end = min(begin + each, problem.num_sequences);
  int32_t work = 0;
#pragma unroll 1
  for (int32_t b = begin; b < end; ++b) {
    const MlaSequenceWork of = WorkOf(problem, RowsOf(problem, b), kTileRows, 1);
    work += of.tiles * of.key_tiles;
  }
  crowd.SumBefore<0>(work, work);
  const MlaDivisor length = MlaPieceLength(work, args.clusters);
  int32_t cost = 0;
  int32_t partial = 0;
#pragma unroll 1
  for (int32_t b = begin; b < end; ++b) {
    const MlaSequenceWork of = WorkOf(problem, RowsOf(problem, b), kTileRows, length);
    cost += of.cost();
    partial += of.partials();
  }
  int32_t all = 0;
  int32_t partials = 0;
  cost = crowd.SumBefore<1>(cost, all);
  partial = crowd.SumBefore<2>(partial, partials);
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    *args.partials.count = partials / 2 * kBlocks;
  }
  const auto cluster = static_cast<int32_t>(blockIdx.x) / kBlocks;
  const int32_t share_begin = MlaShareStart(all, args.clusters, cluster);
  const int32_t share_end = MlaShareStart(all, args.clusters, cluster + 1);
  Share share = {.sequence = problem.num_sequences, .length = length};
  int32_t count = 0;
#pragma unroll 1
  for (int32_t b = begin; b < end; ++b) {
    const SequenceRows rows = RowsOf(problem, b);
    const MlaSequenceWork of = WorkOf(problem, rows, kTileRows, length);
    int32_t first = 0;
    int32_t last = 0;
    if (cost < share_end && share_begin < cost + of.cost()) {
      first = of.PiecesBefore(share_begin - cost, length.value());
      last = of.PiecesBefore(share_end - cost, length.value());
    }
    if (last > first && count == 0) {
      share.sequence = b;
      share.rows = rows;
      share.piece = first;
      share.partials = partial;
    }
    count += last - first;
    cost += of.cost();
    partial += of.partials();
  }
  crowd.SumBefore<0>(count, share.count);
  if (share.count > 0) {
    crowd.TakeFirst(problem, share);
  }
  return share;
}

// Goes through the pieces of a share, as this block of its cluster.
template <int kBlocks>
class Walk {
 public:
  __device__ Walk(const Args& args, const Share& share)
      : problem_(args.problem),
        merges_(args.partials.merge),
        sequence_(share.sequence),
        rows_(share.rows),
        piece_(share.piece),
        partials_(share.partials),
        length_(share.length) {}

  // The next piece. `merge` becomes what is to be set to `record`, or null. REQUIRES: there is one.
  __device__ Turn Next(Merge*& merge, Merge& record) {
    MlaSequenceWork work = WorkOf(problem_, rows_, kTileRows, length_);
    while (piece_ >= work.all_pieces()) {
      partials_ += work.partials();
      piece_ = 0;
      rows_ = RowsOf(problem_, ++sequence_);
      work = WorkOf(problem_, rows_, kTileRows, length_);
    }
    const auto rank = static_cast<int32_t>(blockIdx.x) % kBlocks;
    const int32_t at = work.tiles == 1 ? piece_ : piece_ / work.tiles;
    const int32_t tile = piece_ - at * work.tiles;
    Turn turn;
    const int32_t first = tile * kTileRows + rank * kMlaTileRows;  // of the sequence
    turn.first = rows_.first * problem_.q_heads + first;
    turn.rows = min(max(rows_.count * problem_.q_heads - first, 0), kMlaTileRows);
    turn.sees = rows_.keys - rows_.count + 1 - rows_.first;
    turn.key_begin = at * length_.value() * kMlaTileKeys;
    turn.key_end = min((at + 1) * length_.value() * kMlaTileKeys, rows_.keys);
    turn.sequence = sequence_;
    turn.partial = work.pieces > 1 ? (partials_ + piece_) * kBlocks + rank : -1;
    const int32_t at_record = work.MergeRecord(partials_, piece_);
    merge = at_record < 0 ? nullptr : merges_ + at_record * kBlocks + rank;
    record = {turn.first, at == 0 ? turn.rows : 0, work.pieces, turn.partial, work.tiles * kBlocks};
    ++piece_;
    return turn;
  }

 private:
  static constexpr int32_t kTileRows = kBlocks * kMlaTileRows;

  const Problem& problem_;
  Merge* const merges_;
  int32_t sequence_;
  SequenceRows rows_;  // of the sequence
  int32_t piece_;
  int32_t partials_;
  const MlaDivisor length_;
};

}  // namespace quire::ops::attention::cuda::hopper_mla
