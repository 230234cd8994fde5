// How a block of the kernel of cuda_hopper_mla.cu finds its share of the work, hopper_mla_plan.h.
#pragma once

#include "ops/attention/hopper_mla/cuda_hopper_mla_tiles.cuh"

namespace quire::ops::attention::cuda::hopper_mla {

// The first piece of a block's share, and how many it has.
struct Share {
  int32_t sequence;
  int32_t piece;     // of the sequence
  int32_t partials;  // of the sequences before
  int32_t count;
  int32_t length;  // of a piece, in key tiles
};

__device__ inline int32_t KeysOf(const Problem& problem, int32_t b) {
  return max(problem.kv_length[b], 0);
}

__device__ inline MlaSequenceWork WorkOf(const Problem& problem, int32_t b, int32_t tile_rows,
                                         int32_t length) {
  return {static_cast<int32_t>(problem.Rows(b)) * problem.q_heads, tile_rows, KeysOf(problem, b),
          length};
}

// The sum of the threads' values before this one's, and that of all. `scratch`: of each warp.
__device__ inline int32_t SumBefore(int32_t mine, int32_t* scratch, int32_t& all) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  int32_t sum = mine;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int32_t other = __shfl_up_sync(0xffffffff, sum, step);
    sum += lane >= step ? other : 0;
  }
  if (lane == 31) {
    scratch[warp] = sum;
  }
  __syncthreads();
  const int32_t of_warp = lane < kWarps ? scratch[lane] : 0;
  all = __reduce_add_sync(0xffffffff, of_warp);
  return __reduce_add_sync(0xffffffff, lane < warp ? of_warp : 0) + sum - mine;
}

struct ShareScratch {
  int32_t sums[4][kWarps];
  int32_t first;  // the first sequence that has pieces of the share
  Share share;
};

// Of this block's cluster of kBlocks, by all threads. Each looks at some neighbouring sequences.
template <int kBlocks>
__device__ Share ShareOf(const Args& args, ShareScratch& scratch) {
  constexpr int32_t kTileRows = kBlocks * kMlaTileRows;
  const Problem& problem = args.problem;
  const int32_t each = (problem.num_sequences + kThreads - 1) / kThreads;
  const int32_t begin = min(static_cast<int32_t>(threadIdx.x) * each, problem.num_sequences);
  const int32_t end = min(begin + each, problem.num_sequences);
  const auto sum = [&](int32_t length, const auto& of) {
    int32_t sum = 0;
    for (int32_t b = begin; b < end; ++b) {
      sum += of(WorkOf(problem, b, kTileRows, length));
    }
    return sum;
  };
  if (threadIdx.x == 0) {
    scratch.first = problem.num_sequences;
  }
  int32_t work = 0;
  SumBefore(sum(1, [](const MlaSequenceWork& w) { return w.tiles * w.key_tiles; }), scratch.sums[0],
            work);
  const int32_t length = MlaPieceLength(work, args.clusters);
  int32_t all = 0;
  int32_t cost = SumBefore(sum(length, [](const MlaSequenceWork& w) { return w.cost(); }),
                           scratch.sums[1], all);
  int32_t partials = 0;
  int32_t partial = SumBefore(sum(length, [](const MlaSequenceWork& w) { return w.partials(); }),
                              scratch.sums[2], partials);
  if (threadIdx.x == 0 && blockIdx.x == 0) {
    *args.partials.count = partials * kBlocks;
  }
  const auto cluster = static_cast<int32_t>(blockIdx.x) / kBlocks;
  const int32_t share_begin = MlaShareStart(all, args.clusters, cluster);
  const int32_t share_end = MlaShareStart(all, args.clusters, cluster + 1);
  Share share = {.sequence = problem.num_sequences, .length = length};
  int32_t count = 0;
  for (int32_t b = begin; b < end; ++b) {
    const MlaSequenceWork of = WorkOf(problem, b, kTileRows, length);
    const int32_t first = of.PiecesBefore(share_begin - cost, length);
    const int32_t last = of.PiecesBefore(share_end - cost, length);
    if (last > first && count == 0) {
      share.sequence = b;
      share.piece = first;
      share.partials = partial;
    }
    count += last - first;
    cost += of.cost();
    partial += of.partials();
  }
  if (count > 0) {
    atomicMin(&scratch.first, share.sequence);
  }
  SumBefore(count, scratch.sums[3], share.count);
  if (share.count == 0) {
    return share;
  }
  if (share.sequence == scratch.first) {
    scratch.share = share;
  }
  __syncthreads();
  share = scratch.share;
  __syncthreads();  // before the memory serves others
  return share;
}

// Goes through the pieces of a share, as this block of its cluster.
template <int kBlocks>
class Walk {
 public:
  __device__ Walk(const Args& args, const Share& share)
      : problem_(args.problem),
        sequence_(share.sequence),
        piece_(share.piece),
        partials_(share.partials),
        length_(share.length) {}

  // The next piece, and what a first piece says of the merge of its tile. REQUIRES: there is one.
  __device__ Turn Next(Merge& merge) {
    MlaSequenceWork work = WorkOf(problem_, sequence_, kTileRows, length_);
    while (piece_ >= work.all_pieces()) {
      partials_ += work.partials();
      ++sequence_;
      piece_ = 0;
      work = WorkOf(problem_, sequence_, kTileRows, length_);
    }
    const auto first_row = static_cast<int32_t>(problem_.FirstRow(sequence_));
    const auto rows = static_cast<int32_t>(problem_.Rows(sequence_));
    const int32_t keys = KeysOf(problem_, sequence_);
    const auto rank = static_cast<int32_t>(blockIdx.x) % kBlocks;
    const int32_t tile = piece_ % work.tiles;
    const int32_t at = piece_ / work.tiles;
    Turn turn;
    const int32_t first = tile * kTileRows + rank * kMlaTileRows;  // of the sequence
    turn.first = first_row * problem_.q_heads + first;
    turn.rows = min(max(rows * problem_.q_heads - first, 0), kMlaTileRows);
    turn.sees = keys - rows + 1 - first_row;
    turn.key_begin = at * length_ * kMlaTileKeys;
    turn.key_end = min((at + 1) * length_ * kMlaTileKeys, keys);
    turn.sequence = sequence_;
    turn.partial = work.pieces > 1 ? (partials_ + piece_) * kBlocks + rank : -1;
    merge = {turn.first, at == 0 ? turn.rows : 0, work.pieces, work.tiles * kBlocks};
    ++piece_;
    return turn;
  }

 private:
  static constexpr int32_t kTileRows = kBlocks * kMlaTileRows;

  const Problem& problem_;
  int32_t sequence_;
  int32_t piece_;
  int32_t partials_;
  int32_t length_;
};

}  // namespace quire::ops::attention::cuda::hopper_mla
