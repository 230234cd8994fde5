// The warpgroups of the kernel of cuda_hopper_split_kv.cuh that multiply, 64 rows of a tile each.
#pragma once

#include "ops/attention/hopper_prefill/cuda_hopper_prefill_multiply.cuh"
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv_sums.cuh"
#include "ops/attention/split_kv/split_kv_plan.h"

namespace quire::ops::attention::cuda::hopper_split_kv {

using namespace hopper_prefill;  // whose parts these are

constexpr int kPartKeys = kChunk / kParts;
constexpr int kTileParts = kKeys / kPartKeys;

template <typename T>
struct PartScores;
template <>
struct PartScores<__nv_bfloat16> {
  using Product = cute::SM90::GMMA::MMA_64x64x16_F32BF16BF16_SS<Major::K, Major::K>;
};
template <>
struct PartScores<__half> {
  using Product = cute::SM90::GMMA::MMA_64x64x16_F32F16F16_SS<Major::K, Major::K>;
};

// While the scores of a part become weights, the product of the weights before it with their values
// is under way.
template <typename T, int kDim>
class Multiplier {
 public:
  // `memory`: kGroups * 64 rows of kDim floats.
  __device__ Multiplier(const Problem& problem, const Shared& shared, uint8_t* memory,
                        const LocalSums& row_memory)
      : problem_(problem),
        b_(*shared.barriers),
        shared_(shared),
        query_(Descriptor(shared.query + group_ * 64 * 128)),
        key_(Descriptor(shared.key)),
        value_(Descriptor(shared.value)),
        factor_(problem.scale * kLog2E),
        span_memory_(SharedAddress(memory) +
                     static_cast<uint32_t>((group_ * 4 + warp_) * 16 * kDim * 4)),
        row_memory_(row_memory) {}

  __device__ __forceinline__ void Multiply(const HopperPrefillSchedule& schedule) {
    if (group_ == 1) {
      PassTurn(group_);
    }
    const int turns = Uniform(TurnsOf(schedule));
    for (int i = 0; i < turns; ++i) {
      MultiplyTurn(static_cast<uint32_t>(i));
    }
    if (group_ == 0) {
      AwaitTurn(group_);
    }
  }

 private:
  static constexpr uint32_t kTile = kTileBytes<kDim> / 16;  // in a descriptor
  static constexpr int kSpanParts = kSpan * kParts;

  __device__ __forceinline__ void MultiplyTurn(uint32_t i) {
    Barrier::wait(b_.query_full, i % 2);
    turn_ = shared_.turns[0];
    turn_.position = Uniform(turn_.position);
    turn_.rows = Uniform(turn_.rows);
    const int parts = PartsOf(turn_.keys());
    seen_ = PartsOf(min(turn_.position + (group_ + 1) * 64, turn_.keys()));
    chunk_.Clear();
    TakeFirstScores();
    for (int p = 0;; ++p) {
      // What waits stands at the head of the loop so that nothing above it moves below.
      TakeSums();
      if (p > 0) {
        FoldPart(p - 1);
      }
      PackWeights();
      if (p == seen_ - 1) {
        break;
      }
      AskForSumsAndScores(p);
      TakeScores(p + 1);
    }
    TakeLastSums();
    Pass(parts);
    count_ += static_cast<uint32_t>(turn_.key_tiles());
    FinishRows();
  }

  __device__ static int PartsOf(int keys) { return (keys + kPartKeys - 1) / kPartKeys; }

  // Of part p of the turn.
  __device__ uint32_t TileOf(int p) const { return count_ + static_cast<uint32_t>(p / kTileParts); }
  __device__ bool IsLastOfTile(int p) const {
    return p % kTileParts == kTileParts - 1 || p == seen_ - 1;
  }

  // For those parts that the other group alone sees.
  __device__ void Pass(int parts) {
    for (int p = seen_; p < parts; ++p) {
      AwaitTurn(group_);
      PassTurn(group_);
    }
    for (auto t = count_ + static_cast<uint32_t>((seen_ - 1) / kTileParts) + 1;
         t < count_ + static_cast<uint32_t>(turn_.key_tiles()); ++t) {
      WaitForTile(b_.key_full, t);
      Release(b_.key_empty + t % kStages);
      WaitForTile(b_.value_full, t);
      Release(b_.value_empty + t % kStages);
    }
  }

  __device__ __forceinline__ void AskForScores(int p) {
    const uint64_t key =
        key_ + TileOf(p) % kStages * kTile + p % kTileParts * (kPartKeys * 128 / 16);
    hopper_prefill::AskForScores<typename PartScores<T>::Product, kDim>(query_, key, scores_);
  }

  // Of the weights at hand.
  __device__ __forceinline__ void AskForSums(int p) {
    const uint64_t value =
        value_ + TileOf(p) % kStages * kTile + p % kTileParts * (kPartKeys * 128 / 16);
    AskForOut<T, kDim>(weights_, value, part_.sums, ScaleOut::Zero);
  }

  __device__ __forceinline__ void TakeFirstScores() {
    WaitForTile(b_.key_full, count_);
    AwaitTurn(group_);
    fi::warpgroup_fence_frag<kPartKeys / 2>(scores_);
    AskForScores(0);
    PassTurn(group_);
    fi::warpgroup_wait<0>();
    TakeScores(0);
  }

  // Asks for the weighted sums of part p, whose weights are at hand, and for the scores of the part
  // after it, which it awaits.
  __device__ __forceinline__ void AskForSumsAndScores(int p) {
    WaitForTile(b_.key_full, TileOf(p + 1));
    WaitForTile(b_.value_full, TileOf(p));
    AwaitTurn(group_);
    fi::warpgroup_fence_frag<kPartKeys / 2>(scores_);
    fi::warpgroup_fence_frag<kDim / 2>(part_.sums);
    AskForScores(p + 1);
    AskForSums(p);
    PassTurn(group_);
    fi::warpgroup_wait<1>();
  }

  __device__ __forceinline__ void TakeSums() {
    fi::warpgroup_wait<0>();
    fi::warpgroup_fence_frag<kDim / 2>(part_.sums);
  }

  // Part p, which is not the last, joins its chunk, and that what it ends.
  __device__ __forceinline__ void FoldPart(int p) {
    if (p % kTileParts == kTileParts - 1) {
      Release(b_.value_empty + TileOf(p) % kStages);
    }
    JoinChunk(p);
    if (p % kParts == kParts - 1) {
      FoldChunk(p);
    }
  }

  __device__ __forceinline__ void TakeLastSums() {
    const int p = seen_ - 1;
    WaitForTile(b_.value_full, TileOf(p));
    AwaitTurn(group_);
    fi::warpgroup_fence_frag<kDim / 2>(part_.sums);
    AskForSums(p);
    PassTurn(group_);
    TakeSums();
    Release(b_.value_empty + TileOf(p) % kStages);
    JoinChunk(p);
    FoldLastChunk();
  }

  __device__ __forceinline__ void TakeScores(int p) {
    fi::warpgroup_fence_frag<kPartKeys / 2>(scores_);
    if (IsLastOfTile(p)) {
      Release(b_.key_empty + TileOf(p) % kStages);
    }
    if (p == seen_ - 1) {
      Release(b_.query_empty);
    }
    const int end = turn_.position + group_ * 64 + 1 - p * kPartKeys;  // of the group's first row
    if (end < kPartKeys) {
      Mask(end + warp_ * 16 + lane_ / 4, scores_);
    }
    Weigh();
  }

  // Scores become weights.
  __device__ __forceinline__ void Weigh() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      next_.max[r] = __fmul_rn(MaxOfFour(MaxOfRow(r, scores_)), factor_);
      const float base = BaseOf(next_.max[r]);
      float sum = 0.0f;
#pragma unroll
      for (int i = 2 * r; i < kPartKeys / 2; i += 4) {
        scores_[i] = Exp2(fmaf(scores_[i], factor_, -base));
        scores_[i + 1] = Exp2(fmaf(scores_[i + 1], factor_, -base));
        sum += scores_[i] + scores_[i + 1];
      }
      next_.sum[r] = SumOfFour(sum);
    }
  }

  __device__ __forceinline__ void PackWeights() {
    part_.scalars = next_;
#pragma unroll
    for (int k = 0; k < kPartKeys / 4; ++k) {
      weights_[k] = Pack<T>(scores_[2 * k], scores_[2 * k + 1]);
    }
  }

  __device__ __forceinline__ void JoinChunk(int p) {
    if (p % kParts == 0) {
      chunk_.scalars = RowScalars();  // what was there is kept by factors of 0
    }
    chunk_.Join(part_);
  }

  // The chunk, which ends with part p, joins its span, and that the row.
  __device__ __forceinline__ void FoldChunk(int p) {
    JoinSpan(p);
    if (p % kSpanParts != kSpanParts - 1) {
      chunk_.Store(SharedSums{span_memory_, lane_}, span_);
      return;
    }
    JoinRow(p);
    chunk_.Store(row_memory_, row_);
  }

  __device__ __forceinline__ void FoldLastChunk() {
    JoinSpan(seen_ - 1);
    JoinRow(seen_ - 1);
  }

  __device__ __forceinline__ void JoinSpan(int p) {
    if (p % kSpanParts >= kParts) {
      chunk_.JoinTo(SharedSums{span_memory_, lane_}, span_);
    }
  }

  __device__ __forceinline__ void JoinRow(int p) {
    if (p >= kSpanParts) {
      chunk_.JoinTo(row_memory_, row_);
    }
  }

  // The turn's sums are in chunk_.
  __device__ __forceinline__ void FinishRows() {
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      factor[r] = FinishRow(problem_, turn_, group_ * 64 + warp_ * 16 + lane_ / 4 + 8 * r, lane_,
                            chunk_.scalars.max[r], chunk_.scalars.sum[r]);
    }
    __syncwarp();  // spans are read, and their memory takes the outputs
    StoreRows<T, kDim>(problem_, turn_, group_ * 64 + warp_ * 16, chunk_.sums, factor,
                       [this](int row, int segment) {
                         return span_memory_ +
                                static_cast<uint32_t>(row * kDim * 2 + (segment ^ row % 8) * 16);
                       });
    __syncwarp();
  }

  const Problem& problem_;
  const Barriers& b_;
  const Shared& shared_;
  const int group_ = Uniform(static_cast<int>(threadIdx.x) / 128 - 1);
  const int warp_ = static_cast<int>(threadIdx.x) / 32 % 4;  // of the group
  const int lane_ = static_cast<int>(threadIdx.x) % 32;
  const uint64_t query_;
  const uint64_t key_;
  const uint64_t value_;
  const float factor_;
  const uint32_t span_memory_;  // of this warp
  uint32_t count_ = 0;          // key tiles of the turns before
  int seen_;                    // parts that some row of the group sees
  Turn turn_;
  float scores_[kPartKeys / 2];  // or the weights that they become
  uint32_t weights_[kPartKeys / 4];
  RowScalars next_;         // of the part whose weights are in scores_
  RowSums<kDim / 2> part_;  // whose weighted sums are under way
  RowSums<kDim / 2> chunk_;
  RowScalars span_;
  RowScalars row_;
  const LocalSums row_memory_;
};

}  // namespace quire::ops::attention::cuda::hopper_split_kv
