// The warpgroups of the kernel of cuda_hopper_prefill.cuh that multiply, 64 rows of a tile each.
#pragma once

#include "ops/attention/hopper_prefill/cuda_hopper_prefill_products.cuh"

namespace quire::ops::attention::cuda::hopper_prefill {

__device__ __forceinline__ void Release(const uint64_t* barrier) {
  if (threadIdx.x % 32 == 0) {
    Barrier::arrive(barrier);
  }
}

__device__ __forceinline__ void WaitForTile(const uint64_t* full, uint32_t count) {
  Barrier::wait(full + count % kStages, count / kStages % 2);
}

// Tells the compiler that `x` is the same in all of a warp: what follows from it, as the addresses
// of tiles, then takes no registers and next to no time of the threads.
__device__ __forceinline__ int Uniform(int x) {
  return __shfl_sync(0xffffffff, x, 0);
}

// The two warpgroups take turns at the tensor cores: named barriers 1 and 2. Numbers 3 and 4 are of
// each one alone.
__device__ __forceinline__ void AwaitTurn(int group) {
  cutlass::arch::NamedBarrier::sync(kGroups * 128, 1 + group);
}
__device__ __forceinline__ void PassTurn(int group) {
  cutlass::arch::NamedBarrier::arrive(kGroups * 128, 2 - group);
}

// The factor of the outputs of row `row` of the turn, whose keys are all in; its log-sum-exp is
// stored.
__device__ __forceinline__ float FinishRow(const Problem& problem, const Turn& turn, int row,
                                           int lane, float max, float sum) {
  const Finished finished = Finish(max, sum, problem.sinks, turn.head);
  if (problem.lse != nullptr && lane % 4 == 0 && row < turn.rows) {
    problem.lse[(int64_t{turn.first_row} + row) * problem.q_heads + turn.head] = finished.lse;
  }
  return finished.scale;
}

// Writes 16 rows of the warp from row `first` of the turn's on, each times its factor, through
// shared memory where segment_at(row, i) is the address of 16-byte segment i of a row.
template <typename T, int kDim, typename SegmentAt>
__device__ __forceinline__ void StoreRows(const Problem& problem, const Turn& turn, int first,
                                          const float (&out)[kDim / 2], const float (&factor)[2],
                                          const SegmentAt& segment_at) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < kDim / 2; i += 2) {
    const float by = factor[i / 2 % 2];
    asm volatile(
        "st.shared.b32 [%0], %1;" ::"r"(segment_at(lane / 4 + i / 2 % 2 * 8, i / 4) + lane % 4 * 4),
        "r"(Pack<T>(out[i] * by, out[i + 1] * by))
        : "memory");
  }
  __syncwarp();
  constexpr int kLanes = kDim / 8;  // for a row, 16 bytes each
  auto* const to =
      static_cast<T*>(problem.out.data) + turn.head * problem.out.head_stride + lane % kLanes * 8;
#pragma unroll
  for (int i = 0; i < 16; i += 32 / kLanes) {
    const int row = i + lane / kLanes;
    uint4 x;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(segment_at(row, lane % kLanes))
                 : "memory");
    if (first + row < turn.rows) {
      const int64_t at = int64_t{turn.first_row} + first + row;
      *reinterpret_cast<uint4*>(to + at * problem.out.row_stride) = x;
    }
  }
}

// One pipeline runs through the key tiles of all turns: while the scores of a key tile become
// weights, the product of the weights before it with their values is under way.
template <typename T, int kDim>
class Multiplier {
 public:
  __device__ Multiplier(const Problem& problem, const Shared& shared)
      : problem_(problem),
        b_(*shared.barriers),
        shared_(shared),
        query_(Descriptor(shared.query + group_ * 64 * 128)),
        key_(Descriptor(shared.key)),
        value_(Descriptor(shared.value)),
        scale_(problem.scale * kLog2E) {}

  __device__ __forceinline__ void Multiply(const HopperPrefillSchedule& schedule) {
    if (group_ == 1) {
      PassTurn(group_);
    }
    const int turns = Uniform(TurnsOf(schedule));
    if (turns > 0) {
      MultiplyAll(turns);
    }
    if (group_ == 0) {
      AwaitTurn(group_);
    }
  }

 private:
  // Of the next weights, which are made while the product with values is under way.
  static constexpr int kPairsBeforeRelease = kDim == 64 ? 8 : 16;
  using Scores = typename Products<T, kDim>::Scores;
  static constexpr uint32_t kValueRing = kValueStages<kDim>;
  static constexpr uint32_t kTile = kTileBytes<kDim> / 16;  // in a descriptor

  __device__ __forceinline__ void MultiplyAll(int turns) {
    Turn last = {};  // whose output is not written yet
    int i = 0;
    int j = 0;  // of the key tile whose weights are in scores_
    TakeTurn(0);
    TakeFirstScores();
    while (true) {
      // What waits stands at the head of the loop so that nothing above it moves below.
      TakeOut(j == 0, last, i);
      PackWeights();
      ++j;
      if (j == turn_.key_tiles()) {
        FinishRows();
        last = turn_;
        ++i;
        if (i == turns) {
          break;
        }
        j = 0;
        TakeTurn(i);
      }
      TakeNextScores(i, j);
      ++count_;
    }
    TakeLastOut(last, i);
  }

  __device__ __forceinline__ void TakeTurn(int i) {
    WaitForTile(b_.query_full, static_cast<uint32_t>(i));
    turn_ = shared_.turns[i % kStages];
    turn_.position = Uniform(turn_.position);
    turn_.rows = Uniform(turn_.rows);
    rows_ = Rows();
  }

  __device__ __forceinline__ void TakeFirstScores() {
    WaitForTile(b_.key_full, 0);
    fi::warpgroup_fence_frag<64>(scores_);
    AskForScores<Scores, kDim>(query_, key_, scores_);
    fi::warpgroup_wait<0>();
    TakeScores(0, 0, [] {});
  }

  // Asks for the scores of key tile j of turn i, and for the outputs of the weights at hand.
  __device__ __forceinline__ void TakeNextScores(int i, int j) {
    const uint32_t next = count_ + 1;
    WaitForTile(b_.key_full, next);
    AwaitTurn(group_);
    fi::warpgroup_fence_frag<64>(scores_);
    fi::warpgroup_fence_frag<kDim / 2>(out_);
    AskForScores<Scores, kDim>(query_ + i % kStages * kTile, key_ + next % kStages * kTile,
                               scores_);
    WaitForValues();
    AskForOut<T, kDim>(weights_, value_ + count_ % kValueRing * kTile, out_, out_scale_);
    PassTurn(group_);
    fi::warpgroup_wait<1>();
    TakeScores(next, j, [this] { ReleaseValues(); });
  }

  // For the weights at hand.
  __device__ __forceinline__ void WaitForValues() {
    Barrier::wait(b_.value_full + count_ % kValueRing, count_ / kValueRing % 2);
  }

  // Once the product with them is there, mostly long before all weights: so the next ones are on
  // their way early. That these are there is known, but the loop that asks keeps the compiler from
  // moving the wait for the product to before the exponentials.
  __device__ __forceinline__ void ReleaseValues() {
    WaitForValues();
    fi::warpgroup_wait<0>();
    Release(b_.value_empty + count_ % kValueRing);
  }

  template <typename Between>
  __device__ __forceinline__ void TakeScores(uint32_t count, int j, const Between& between) {
    fi::warpgroup_fence_frag<64>(scores_);
    const int end = turn_.position + group_ * 64 + 1 - j * kKeys;  // of the group's first row
    if (end < kKeys) {
      Mask(end + warp_ * 16 + lane_ / 4, scores_);
    }
    float base[2];
    TakeMaxima(scale_, scores_, rows_, base, kept_);
    // Only now: the copies that this allows would hold up the exchange of maxima.
    Release(b_.key_empty + count % kStages);
    Weigh<kPairsBeforeRelease>(scale_, base, kept_, scores_, rows_, between);
  }

  // The weights at hand, as factors; what they join is brought to the same base.
  __device__ __forceinline__ void PackWeights() {
#pragma unroll
    for (int k = 0; k < 32; ++k) {
      weights_[k] = Pack<T>(scores_[2 * k], scores_[2 * k + 1]);
    }
    if (!__any_sync(0xffffffff, kept_[0] != 1.0f || kept_[1] != 1.0f)) {
      return;  // as mostly after the first keys
    }
#pragma unroll
    for (int k = 0; k < kDim / 2; ++k) {
      out_[k] *= kept_[k / 2 % 2];
    }
  }

  // Waits for the product under way. Where a turn starts, writes the output of the one before.
  __device__ __forceinline__ void TakeOut(bool is_start, const Turn& last, int i) {
    fi::warpgroup_wait<0>();
    fi::warpgroup_fence_frag<kDim / 2>(out_);
    out_scale_ = is_start ? ScaleOut::Zero : ScaleOut::One;
    if (is_start && count_ > 0) {
      const int stage = (i - 1) % kStages;
      cutlass::arch::NamedBarrier::sync(128, 3 + group_);
      StoreOut(last, shared_.query + stage * kTileBytes<kDim>);
      FenceForEngines();
      __syncwarp();
      Release(b_.query_empty + stage);
    }
  }

  __device__ __forceinline__ void TakeLastOut(const Turn& last, int i) {
    WaitForValues();
    fi::warpgroup_fence_frag<kDim / 2>(out_);
    AskForOut<T, kDim>(weights_, value_ + count_ % kValueRing * kTile, out_, out_scale_);
    ++count_;
    TakeOut(true, last, i);
  }

  // After the last weights of a turn.
  __device__ __forceinline__ void FinishRows() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      factor_[r] = FinishRow(problem_, turn_, group_ * 64 + warp_ * 16 + lane_ / 4 + 8 * r, lane_,
                             rows_.max[r], SumOfFour(rows_.sum[r]));
    }
  }

  // Through the warp's rows of the queries, which nobody reads any more.
  __device__ __forceinline__ void StoreOut(const Turn& turn, uint8_t* query) const {
    const int first = group_ * 64 + warp_ * 16;
    const uint32_t base = SharedAddress(query) + static_cast<uint32_t>(first) * 128;
    StoreRows<T, kDim>(problem_, turn, first, out_, factor_,
                       [base](int row, int segment) { return base + At(row, segment); });
  }

  // Byte of 16-byte segment `segment` of row `row`.
  __device__ static uint32_t At(int row, int segment) {
    return static_cast<uint32_t>(segment / 8 * kPartBytes + row * 128 +
                                 (segment % 8 ^ row % 8) * 16);
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
  const float scale_;
  uint32_t count_ = 0;  // of the key tile whose weights are in scores_ or weights_, of all turns
  float scores_[64];    // or the weights that they become
  uint32_t weights_[32];
  float out_[kDim / 2];
  ScaleOut out_scale_ = ScaleOut::Zero;  // zero: the next product starts a tile
  Turn turn_;
  Rows rows_;
  float kept_[2];
  float factor_[2];  // of the outputs that are to be written
};

}  // namespace quire::ops::attention::cuda::hopper_prefill
