// The kernel whose blocks take whole chunks of keys, for many rows and long contexts.
//
// Keys and values of the next parts are on their way, with cp.async, while a part is computed. The
// warps of a block meet once in each part, when its scores are there; each then goes on to the next
// with its own columns, in whose registers parts join chunks, these spans, and these the row.
#pragma once

#include "ops/attention/split_kv/cuda_split_kv_warp.cuh"

namespace quire::ops::attention::cuda {

template <int kDim>
struct SplitKvSizes : PartSizes<kDim> {
  using PartSizes<kDim>::kTiles;
  static constexpr int kStages = kDim <= 64 ? 6 : 3;
  static constexpr int kPartBytes = kTiles * PartSizes<kDim>::kTileBytes;  // of keys, or of values
  static constexpr int kPartScoreBytes = kTiles * PartSizes<kDim>::kScoreBytes;
  static constexpr int kSharedBytes = 2 * kStages * kPartBytes + 2 * kPartScoreBytes;
  static constexpr int kResidentBlocks = kDim <= 128 ? 2 : 1;
};

// The shared memory of a block: rings of keys and of values, and scores of this part and the next.
template <int kDim>
struct SplitKvShared {
  using Sizes = SplitKvSizes<kDim>;
  char* data;

  __device__ uint32_t Keys(int32_t part, int tile) const {
    return SharedAddress(data) + (part % Sizes::kStages * Sizes::kTiles + tile) * Sizes::kTileBytes;
  }
  __device__ uint32_t Values(int32_t part, int tile) const {
    return Keys(part, tile) + Sizes::kStages * Sizes::kPartBytes;
  }
  __device__ TileScores Scores(int32_t part, int tile) const {
    return {data + 2 * Sizes::kStages * Sizes::kPartBytes + part % 2 * Sizes::kPartScoreBytes +
            tile * Sizes::kScoreBytes};
  }
};

// The parts of a block's chunks, as one of its warps takes them: part p is scored while the values
// of p + kStages - 2 and the keys of p + kStages - 1 and those before are on their way.
template <typename T, int kDim>
class PartPipeline {
  using Sizes = SplitKvSizes<kDim>;

 public:
  WarpAttention<T, kDim> attention;

  __device__ PartPipeline(const SplitKvArgs& args, const SplitKvShared<kDim>& shared,
                          const BlockWork& block)
      : attention(args.problem),
        problem_(args.problem),
        shared_(shared),
        block_(block),
        begin_(max(block.chunk_begin * kParts, block.tile.seen.begin / kPartKeys)),
        end_(min(block.chunk_end * kParts, (block.tile.seen.end + kPartKeys - 1) / kPartKeys)) {
    int32_t pages[Sizes::kStages];
#pragma unroll
    for (int i = 0; i < Sizes::kStages; ++i) {
      pages[i] = PageOfPart(begin_ + i);
    }
#pragma unroll
    for (int i = 0; i < kPagesAhead; ++i) {
      pages_[i] = PageOfPart(begin_ + Sizes::kStages + i);
    }
    cudaGridDependencySynchronize();  // from here on what the kernel before wrote is read
#pragma unroll
    for (int i = 0; i < Sizes::kStages; ++i) {
      FetchAhead(begin_ + i, pages[i]);
    }
    attention.LoadQuery(block);
  }

  __device__ int32_t begin() const { return begin_; }
  __device__ int32_t end() const { return end_; }

  // Leaves the result of a part in `attention`.
  __device__ void Take(int32_t part) {
    // Since this part's values have been asked for: later keys and values in turn.
    WaitForCopies<2 * Sizes::kStages - 3>();
    __syncwarp();
    float score[2][4] = {};
    attention.ScoreTile(shared_.Keys(part, warp_), FirstKey(part), score);
    shared_.Scores(part, warp_).Put(score, attention.MaxOf(score));
    __syncthreads();  // nobody needs the values of the part before any more
    FetchAhead(part + Sizes::kStages, pages_[0]);
#pragma unroll
    for (int i = 1; i < kPagesAhead; ++i) {
      pages_[i - 1] = pages_[i];
    }
    pages_[kPagesAhead - 1] = PageOfPart(part + Sizes::kStages + kPagesAhead);
    attention.TakePart([&](int tile) { return shared_.Scores(part, tile); },
                       [&](int tile) { return shared_.Values(part, tile); });
  }

 private:
  static constexpr int kPagesAhead = 3;  // looked up before they are needed

  // Of this warp's tile.
  __device__ int32_t FirstKey(int32_t part) const {
    return part * kPartKeys + warp_ * Sizes::kKeys;
  }
  __device__ int32_t KeyOf(int32_t part) const {
    return FirstKey(part) + static_cast<int32_t>(threadIdx.x) % Sizes::kKeys;
  }
  __device__ int32_t PageOfPart(int32_t part) const {
    return part < end_ ? PageOf(problem_, block_, KeyOf(part)) : -1;
  }

  // Asks for the values of the part before `part`, and for the keys of `part`.
  __device__ void FetchAhead(int32_t part, int32_t page) {
    if (part > begin_ && part <= end_) {
      attention.Fetch(problem_.value, row_, shared_.Values(part - 1, warp_));
    }
    CommitCopies();
    row_ = RowAt(problem_, page, block_.kv_head, KeyOf(part));
    if (part < end_) {
      attention.Fetch(problem_.key, row_, shared_.Keys(part, warp_));
    }
    CommitCopies();
  }

  const Problem& problem_;
  const SplitKvShared<kDim>& shared_;
  const BlockWork& block_;
  const int warp_ = static_cast<int>(threadIdx.x / 32);
  const int32_t begin_;
  const int32_t end_;
  int32_t pages_[kPagesAhead];  // of this thread's keys of the next parts to ask for
  int32_t row_;                 // of its key of the part before those
};

template <typename T, int kDim>
__device__ void AttendBlock(const SplitKvArgs& args, const SplitKvShared<kDim>& shared,
                            const BlockWork& block) {
  const SplitKvWork& work = block.work;
  const bool has_chunks = work.partial >= 0 && args.schedule.grain == SplitKvGrain::kChunks;
  PartPipeline<T, kDim> parts(args, shared, block);
  RowSums<PartSizes<kDim>::kColumns / 2> chunk;
  RowSums<PartSizes<kDim>::kColumns / 2> span;
  RowSums<PartSizes<kDim>::kColumns / 2> row;
  chunk.Clear();
  span.Clear();
  row.Clear();
  for (int32_t part = parts.begin(); part < parts.end(); ++part) {
    parts.Take(part);
    chunk.Join(parts.attention.part);
    const bool is_last = part + 1 == parts.end();
    if ((part + 1) % kParts != 0 && !is_last) {
      continue;
    }
    const int32_t index = part / kParts;
    if (has_chunks) {
      parts.attention.StorePartial(args, block, int64_t{work.partial} + index - work.chunk_begin,
                                   chunk);
    } else {
      span.Join(chunk);
    }
    chunk.Clear();
    if (has_chunks || ((index + 1) % kSpan != 0 && !is_last)) {
      continue;
    }
    if (work.partial >= 0) {
      parts.attention.StorePartial(
          args, block, int64_t{work.partial} + index / kSpan - work.chunk_begin / kSpan, span);
    } else {
      row.Join(span);
    }
    span.Clear();
  }
  if (work.partial < 0) {
    parts.attention.StoreOut(block, row);
  }
}

template <typename T, int kDim>
__global__ void __launch_bounds__(SplitKvSizes<kDim>::kThreads, SplitKvSizes<kDim>::kResidentBlocks)
    SplitKvKernel(const __grid_constant__ SplitKvArgs args) {
  extern __shared__ __align__(128) char shared[];
  cudaTriggerProgrammaticLaunchCompletion();  // the merge may come and wait
  const BlockWork block =
      BlockWorkOf(args, WorkAt(args, args.schedule.work, blockIdx.x / args.problem.kv_heads),
                  static_cast<int>(blockIdx.x % args.problem.kv_heads));
  if (block.tile.rows > 0) {
    AttendBlock<T, kDim>(args, {shared}, block);
  }
}

}  // namespace quire::ops::attention::cuda
