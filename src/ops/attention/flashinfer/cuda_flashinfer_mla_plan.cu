#include <algorithm>

#include "ops/attention/flashinfer/cuda_flashinfer_mla_plan.h"

namespace quire::ops::attention::cuda {

namespace {

constexpr int kFewThreads = 256;
constexpr int kPieceCost = 4;  // of a piece beside its keys, in blocks of keys
constexpr int kFewBlocks = 4;  // longer pieces are multiples of it

template <typename T>
__host__ __device__ constexpr T CeilDiv(T a, T b) {
  return (a + b - 1) / b;
}

struct PlanArgs {
  const int32_t* query_start;  // or null
  const int32_t* kv_length;
  int32_t sequences;
  int32_t max_pages;
  int32_t heads;
  MlaGrid grid;
  MlaPlan plan;
};

// A sequence as the plan sees it. Rows before its first key see nothing ("blind") and have tiles of
// their own.
struct Sequence {
  int32_t first_row;
  int32_t blind_rows;
  int32_t rows;  // the others
  int32_t keys;
  int32_t blind_tiles;
  int32_t tiles;
  int32_t pieces;  // of a tile

  __device__ int32_t blocks() const { return CeilDiv(keys, kMlaBlockKeys); }
  __device__ bool is_split() const { return pieces > 1; }
};

// What comes before a sequence, or what it has.
struct Counts {
  int32_t cost;
  int32_t pieces;
  int32_t partials;
  int32_t split_tiles;

  __device__ Counts operator+(const Counts& other) const {
    return {cost + other.cost, pieces + other.pieces, partials + other.partials,
            split_tiles + other.split_tiles};
  }
};

__device__ Sequence SequenceOf(const PlanArgs& args, int32_t b) {
  const int32_t first = args.query_start == nullptr ? b : args.query_start[b];
  const int32_t rows = args.query_start == nullptr ? 1 : args.query_start[b + 1] - first;
  const int32_t tile_rows = args.grid.tile() / args.heads;
  Sequence s = {};
  s.first_row = first;
  s.keys = args.kv_length[b];
  s.blind_rows = max(rows - s.keys, 0);
  s.rows = rows - s.blind_rows;
  s.blind_tiles = CeilDiv(s.blind_rows, tile_rows);
  s.tiles = CeilDiv(s.rows, tile_rows);
  return s;
}

__device__ int32_t CostOf(const Sequence& s) {
  return s.blind_tiles * kPieceCost + s.tiles * (s.blocks() + s.pieces * kPieceCost);
}

// The sum of the threads' values before this one's, and that of all.
__device__ Counts SumBefore(const Counts& mine, Counts& all) {
  __shared__ Counts of_warp[32];
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  Counts sum = mine;
  for (int step = 1; step < 32; step *= 2) {
    const Counts other = {__shfl_up_sync(0xffffffff, sum.cost, step),
                          __shfl_up_sync(0xffffffff, sum.pieces, step),
                          __shfl_up_sync(0xffffffff, sum.partials, step),
                          __shfl_up_sync(0xffffffff, sum.split_tiles, step)};
    if (lane >= step) {
      sum = sum + other;
    }
  }
  if (lane == 31) {
    of_warp[warp] = sum;
  }
  __syncthreads();
  Counts before = {};
  all = {};
  for (int w = 0; w < static_cast<int>(blockDim.x / 32); ++w) {
    before = w == warp ? all : before;
    all = all + of_warp[w];
  }
  __syncthreads();  // before of_warp is written again
  return {before.cost + sum.cost - mine.cost, before.pieces + sum.pieces - mine.pieces,
          before.partials + sum.partials - mine.partials,
          before.split_tiles + sum.split_tiles - mine.split_tiles};
}

// Blocks of keys of a piece, where all tiles together have `blocks`: the share of a cluster, but
// not so few that the merge costs more than it saves.
__device__ int32_t PieceBlocks(int32_t blocks, int32_t clusters) {
  const int32_t share = CeilDiv(blocks, clusters);
  if (share > kFewBlocks) {
    return CeilDiv(share, kFewBlocks) * kFewBlocks;
  }
  return max(share, min(1 + 2 * blocks / clusters, kFewBlocks));
}

// What the pieces of a plan share.
struct Pieces {
  const Sequence* sequences;  // those of the plan, in shared memory
  const Counts* before;       // each
  int32_t blocks;             // of keys of a piece
  Counts all;

  __device__ int32_t CountOf(int32_t b) const {
    return sequences[b].blind_tiles + sequences[b].tiles * sequences[b].pieces;
  }
  // The cluster that has what lies behind this much cost.
  __device__ float ClusterAt(const PlanArgs& args, float cost) const {
    return cost / static_cast<float>(all.cost) * static_cast<float>(args.grid.clusters);
  }
};

// The cluster that does piece `i` of sequence `b`: the middle of its costs among all decides. It
// grows with b and i.
__device__ int32_t ClusterOf(const PlanArgs& args, const Pieces& p, int32_t b, int32_t i) {
  const Sequence& s = p.sequences[b];
  float middle = static_cast<float>(p.before[b].cost + i * kPieceCost) + 0.5f * kPieceCost;
  if (i >= s.blind_tiles) {
    const int32_t j = i - s.blind_tiles;
    const int32_t begin = j % s.pieces * p.blocks;
    const int32_t end = min(begin + p.blocks, s.blocks());
    middle +=
        static_cast<float>(j / s.pieces * s.blocks()) + 0.5f * static_cast<float>(begin + end);
  }
  return min(static_cast<int32_t>(p.ClusterAt(args, middle)), args.grid.clusters - 1);
}

__device__ void WritePiece(const PlanArgs& args, const Pieces& p, int32_t b, int32_t i) {
  const MlaPlan& plan = args.plan;
  const Sequence& s = p.sequences[b];
  const int32_t at = p.before[b].pieces + i;
  const int32_t j = i - s.blind_tiles;
  plan.page_start[at] = b * args.max_pages;
  if (j < 0) {
    plan.first_row[at] = s.first_row;
    plan.rows[at] = s.blind_rows;
    plan.tile_start[at] = i * args.grid.tile();
    plan.keys[at] = plan.key_start[at] = plan.key_end[at] = 0;
    plan.partial[at] = -1;
    return;
  }
  const int32_t begin = j % s.pieces * p.blocks;
  plan.first_row[at] = s.first_row + s.blind_rows;
  plan.rows[at] = s.rows;
  plan.tile_start[at] = j / s.pieces * args.grid.tile();
  plan.keys[at] = s.keys;
  plan.key_start[at] = begin * kMlaBlockKeys;
  plan.key_end[at] = min((begin + p.blocks) * kMlaBlockKeys, s.keys);
  plan.partial[at] = s.is_split() ? (p.before[b].partials + j) * args.grid.tile() : -1;
}

// The last of [0, count) for which `of` holds; it holds for those before, and for 0.
template <typename Of>
__device__ int32_t LastWhere(int32_t count, const Of& of) {
  int32_t low = 0;
  while (low + 1 < count) {
    const int32_t middle = low + (count - low) / 2;
    if (of(middle)) {
      low = middle;
    } else {
      count = middle;
    }
  }
  return low;
}

// The first piece that cluster `cluster`, which may be that behind the last, or a later one does.
__device__ int32_t PieceStart(const PlanArgs& args, const Pieces& p, int32_t cluster) {
  if (cluster == 0 || cluster == args.grid.clusters) {
    return cluster == 0 ? 0 : p.all.pieces;
  }
  // The last sequence whose first piece an earlier cluster does, then the last such piece.
  const int32_t b = LastWhere(args.sequences, [&](int32_t at) {
    const Counts& before = p.before[at];
    return before.pieces < p.all.pieces &&
           p.ClusterAt(args, static_cast<float>(before.cost)) < static_cast<float>(cluster);
  });
  const int32_t i =
      LastWhere(p.CountOf(b), [&](int32_t at) { return ClusterOf(args, p, b, at) < cluster; });
  const bool none = p.CountOf(b) == 0 || ClusterOf(args, p, b, i) >= cluster;
  return p.before[b].pieces + (none ? 0 : i + 1);
}

// The rows that block `block` merges: each split tile has as many blocks as any other.
__device__ void WriteMerge(const PlanArgs& args, const Pieces& p, int32_t block) {
  const int32_t split_tiles = p.all.split_tiles;
  int32_t of_tile = 1;
  int32_t index = split_tiles;
  if (split_tiles > 0) {
    of_tile = args.grid.blocks() / split_tiles;
    index = block / of_tile;
  }
  const MlaPlan& plan = args.plan;
  plan.merge_start[block] = plan.merge_end[block] = 0;
  plan.merge_partial_start[block] = plan.merge_partial_end[block] = 0;
  plan.merge_stride[block] = args.grid.tile();
  if (index >= split_tiles) {
    return;
  }
  const int32_t b =
      LastWhere(args.sequences, [&](int32_t at) { return p.before[at].split_tiles <= index; });
  const Sequence& s = p.sequences[b];
  const int32_t tile = index - p.before[b].split_tiles;
  const int32_t rows = min(args.grid.tile(), s.rows * args.heads - tile * args.grid.tile());
  const int32_t share = CeilDiv(rows, of_tile);
  const int32_t begin = min(block % of_tile * share, rows);
  const int32_t first = (s.first_row + s.blind_rows) * args.heads + tile * args.grid.tile();
  const int32_t partial = p.before[b].partials + tile * s.pieces;
  plan.merge_start[block] = first + begin;
  plan.merge_end[block] = first + min(begin + share, rows);
  plan.merge_partial_start[block] = partial * args.grid.tile() + begin;
  plan.merge_partial_end[block] = (partial + s.pieces) * args.grid.tile();
}

// One block, with a thread for each sequence.
__global__ void __launch_bounds__(kMaxMlaSequences)
    PlanKernel(const __grid_constant__ PlanArgs args) {
  __shared__ Sequence sequences[kMaxMlaSequences];
  __shared__ Counts before[kMaxMlaSequences];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto threads = static_cast<int32_t>(blockDim.x);
  Sequence s = {};
  if (thread < args.sequences) {
    s = SequenceOf(args, thread);
  }
  Pieces p = {sequences, before, 0, {}};
  SumBefore({s.tiles * s.blocks(), 0, 0, 0}, p.all);
  p.blocks = PieceBlocks(p.all.cost, args.grid.clusters);
  s.pieces = CeilDiv(s.blocks(), p.blocks);
  sequences[thread] = s;
  const int32_t split = s.is_split() ? s.tiles : 0;
  before[thread] =
      SumBefore({CostOf(s), s.blind_tiles + s.tiles * s.pieces, split * s.pieces, split}, p.all);
  __syncthreads();
  for (int32_t cluster = thread; cluster <= args.grid.clusters; cluster += threads) {
    args.plan.piece_start[cluster] = PieceStart(args, p, cluster);
  }
  for (int32_t block = threads - 1 - thread; block < args.grid.blocks(); block += threads) {
    WriteMerge(args, p, block);
  }
  for (int32_t b = thread / 32; b < args.sequences; b += threads / 32) {
    for (int32_t i = thread % 32; i < p.CountOf(b); i += 32) {
      WritePiece(args, p, b, i);
    }
  }
}

}  // namespace

MlaGrid MlaGridOf(const Problem& problem, int multiprocessors) {
  MlaGrid grid;
  const int64_t rows = problem.num_rows * problem.q_heads;
  if (rows > int64_t{kMlaBlockRows} * problem.num_sequences || problem.q_heads > kMlaBlockRows) {
    grid.cluster_blocks = 2;
  }
  grid.clusters = std::max(multiprocessors / grid.cluster_blocks, 1);
  return grid;
}

int64_t MostMlaCost(const Problem& problem) {
  const int64_t tiles = problem.num_rows + problem.num_sequences;
  const int64_t blocks = int64_t{problem.max_pages} * problem.page_size / kMlaBlockKeys + 1;
  return 2 * tiles * blocks * (kPieceCost + 1);
}

size_t LayOutMlaPlan(const Problem& problem, const MlaGrid& grid, void* memory, MlaPlan& plan) {
  const int64_t tile_rows = grid.tile() / problem.q_heads;
  const int64_t pieces =
      problem.num_rows / tile_rows + 2 * int64_t{problem.num_sequences} + grid.clusters;
  size_t bytes = 0;
  const auto add = [&](int64_t count) {
    auto* const at = reinterpret_cast<int32_t*>(static_cast<std::byte*>(memory) + bytes);
    bytes += static_cast<size_t>(CeilDiv<int64_t>(count, 4)) * 4 * sizeof(int32_t);
    return at;
  };
  for (int32_t** array : {&plan.first_row, &plan.rows, &plan.tile_start, &plan.page_start,
                          &plan.keys, &plan.key_start, &plan.key_end, &plan.partial}) {
    *array = add(pieces);
  }
  plan.piece_start = add(grid.clusters + 1);
  for (int32_t** array : {&plan.merge_start, &plan.merge_end, &plan.merge_partial_start,
                          &plan.merge_partial_end, &plan.merge_stride}) {
    *array = add(grid.blocks());
  }
  return bytes;
}

cudaError_t MakeMlaPlan(const Problem& problem, const MlaGrid& grid, const MlaPlan& plan,
                        cudaStream_t stream) {
  const int threads = problem.num_sequences <= kFewThreads ? kFewThreads : kMaxMlaSequences;
  PlanKernel<<<1, threads, 0, stream>>>({problem.query_start, problem.kv_length,
                                         problem.num_sequences, problem.max_pages, problem.q_heads,
                                         grid, plan});
  return cudaGetLastError();
}

}  // namespace quire::ops::attention::cuda
