// The two warpgroups of the kernel of cuda_hopper_mla.cu that multiply. Both have all rows of the
// tile, each half of the latent's elements in its outputs. Key tiles come in pairs, one for each: a
// warpgroup turns its tile's scores into weights, joins them to its outputs and hands them to the
// other; so the exponentials of one run beside the products of the other ("seesaw", DeepSeek-AI,
// 2025, "FlashMLA").
//
// Of element i of a thread's scores or outputs, the row is 8 * (i / 2 % 2) below the thread's first
// and the column is i / 4 * 8 + lane % 4 * 2 + i % 2.
#pragma once

#include <flashinfer/attention/hopper.cuh>

#include <utility>

#include "ops/attention/hopper_mla/cuda_hopper_mla_work.cuh"

namespace quire::ops::attention::cuda::hopper_mla {

namespace fi = flashinfer;

using cute::SM90::GMMA::Major;
using cute::SM90::GMMA::ScaleOut;

// A step of 16: scores are 64 rows by 64 keys from shared memory, outputs 64 rows by half of the
// latent from weights in registers.
using ScoreProduct = cute::SM90::GMMA::MMA_64x64x16_F32BF16BF16_SS<Major::K, Major::K>;
using OutProduct = cute::SM90::GMMA::MMA_64x256x16_F32BF16BF16_RS<Major::K, Major::MN>;

constexpr int kScores = kMlaTileKeys / 2;        // of a thread
constexpr int kOuts = kLatentDim / kGroups / 2;  // of a thread
constexpr uint32_t kPart = kPartBytes / 16;      // in a descriptor
constexpr uint32_t kTile = kTileBytes / 16;      // likewise
constexpr float kKeptRise = 8.0f;  // of a maximum, in units of log 2, that does not rescale outputs

template <size_t... kI>
__device__ __forceinline__ void MultiplyScores(uint64_t query, uint64_t keys,
                                               float (&scores)[kScores], ScaleOut scale,
                                               std::index_sequence<kI...>) {
  ScoreProduct::fma(query, keys, scores[kI]..., scale);
}

template <size_t... kI>
__device__ __forceinline__ void MultiplyOut(const uint32_t* weights, uint64_t values,
                                            float (&out)[kOuts], std::index_sequence<kI...>) {
  OutProduct::fma(weights[0], weights[1], weights[2], weights[3], values, out[kI]...,
                  ScaleOut::One);
}

// By all lanes, that the warp reads something no more: to this block, or to all of its cluster.
__device__ __forceinline__ void Release(const uint64_t* barrier) {
  if (threadIdx.x % 32 == 0) {
    Barrier::arrive(barrier);
  }
  __syncwarp();
}
template <int kBlocks>
__device__ __forceinline__ void ReleaseKeys(const uint64_t* barrier) {
  if constexpr (kBlocks == 1) {
    Release(barrier);
  } else {
    Barrier::arrive(barrier, threadIdx.x % 32, threadIdx.x % 32 < kBlocks ? 1 : 0);
    __syncwarp();
  }
}

// Lane i of four gets what lane k had in x[i] as x[k].
__device__ __forceinline__ void TransposeFour(uint32_t (&x)[4]) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
    const bool upper = (threadIdx.x & step) != 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if ((k & step) == 0) {
        const uint32_t got = __shfl_xor_sync(0xffffffff, upper ? x[k] : x[k + step], step);
        x[k] = upper ? got : x[k];
        x[k + step] = upper ? x[k + step] : got;
      }
    }
  }
}

template <int kBlocks, int kGroup>
class Multiplier {
 public:
  __device__ Multiplier(const Args& args, const Shared& shared)
      : args_(args),
        problem_(args.problem),
        b_(*shared.barriers),
        shared_(shared),
        query_(Descriptor(shared.query)),
        scale_(args.problem.scale * kLog2E) {}

  __device__ __forceinline__ void Multiply(int turns) {
    AwaitCluster<kBlocks>();
    for (int i = 0; i < turns; ++i) {
      TakeTurn(i);
      const int tiles = tiles_;
      if (kGroup >= tiles) {
        Release(&b_.query_empty);
      }
      if constexpr (kGroup == 0) {
        if (tiles > 0) {
          AskForScores();
        }
        for (int t = 0; t < tiles; t += 2) {
          TakePairAsFirst(t, tiles);
        }
      } else {
        for (int t = 0; t + 1 < tiles; t += 2) {
          TakePairAsSecond(t, tiles);
        }
        if (tiles % 2 != 0) {
          TakeLastAsSecond();
        }
      }
      FinishRows(i, tiles);
    }
  }

 private:
  __device__ static uint64_t Descriptor(uint8_t* tile) {
    return fi::make_smem_desc<fi::SwizzleMode::k128B, kPartBytes, 8 * 128>(tile);
  }

  __device__ __forceinline__ void TakeTurn(int i) {
    Barrier::wait(&b_.query_full, i % 2);
    const Turn turn = *shared_.turn;
    first_ = turn.first;
    rows_ = turn.rows;
    partial_ = turn.partial;
    tiles_ = turn.key_tiles();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int at = first_ + row_ + 8 * r;
      sees_[r] = turn.sees + at / problem_.q_heads - turn.key_begin;
      base_[r] = MinusInfinity();
      sum_[r] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kOuts; ++k) {
      out_[k] = 0.0f;
    }
  }

  __device__ __forceinline__ void TakePairAsFirst(int t, int tiles) {
    TakeScores<0>(t, tiles);
    Rescale();
    AskForOut<0>(mine_);
    AwaitOut(&b_.half_empty[0][0]);
    if (t + 1 == tiles) {
      return;
    }
    Receive();
    Rescale();
    AskForOut<1>(theirs_);
    AwaitOut(&b_.half_empty[1][0]);
    if (t + 2 < tiles) {
      AskForScores();
    }
  }

  __device__ __forceinline__ void TakePairAsSecond(int t, int tiles) {
    AskForScores();
    Receive();
    Rescale();
    AskForOut<0>(theirs_);
    TakeScores<1>(t + 1, tiles);
    AwaitOut(&b_.half_empty[0][1]);
    Rescale();
    AskForOut<1>(mine_);
    AwaitOut(&b_.half_empty[1][1]);
  }

  // The last tile, without another of its pair.
  __device__ __forceinline__ void TakeLastAsSecond() {
    Receive();
    Rescale();
    AskForOut<0>(theirs_);
    AwaitOut(&b_.half_empty[0][1]);
  }

  __device__ __forceinline__ void AwaitOut(const uint64_t* empty) {
    fi::warpgroup_wait<0>();
    fi::warpgroup_fence_frag<kOuts>(out_);
    ReleaseKeys<kBlocks>(empty);
  }

  // Asks for the scores of this warpgroup's next tile, part by part as they come.
  __device__ __forceinline__ void AskForScores() {
    const uint32_t phase = used_++ % 2;
    fi::warpgroup_fence_frag<kScores>(scores_);
    Barrier::wait(&b_.full[kGroup][kUnits - 1], phase);
    AskForPart(kRotated, ScaleOut::Zero);
#pragma unroll
    for (int i = 0; i < kUnits - 1; ++i) {
      // Its own half comes first: it was released first.
      const int unit = (i + kGroup * (kUnits / 2)) % (kUnits - 1);
      Barrier::wait(&b_.full[kGroup][unit], phase);
      AskForPart(2 * unit, ScaleOut::One);
      AskForPart(2 * unit + 1, ScaleOut::One);
    }
    fi::warpgroup_commit_batch();
  }

  __device__ __forceinline__ void AskForPart(int part, ScaleOut scale) {
    fi::warpgroup_arrive();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint64_t query = query_ + part * kPart + k * 2;
      MultiplyScores(query, query + (1 + kGroup) * kTile, scores_, k == 0 ? scale : ScaleOut::One,
                     std::make_index_sequence<kScores>());
    }
  }

  // Asks for outputs += weights times the values of tile kBuffer.
  template <int kBuffer>
  __device__ __forceinline__ void AskForOut(const uint32_t (&weights)[kScores / 2]) {
    constexpr uint32_t kValues = (1 + kBuffer) * kTile + kGroup * kHalfParts * kPart;
    fi::warpgroup_fence_frag<kOuts>(out_);
    fi::warpgroup_arrive();
#pragma unroll
    for (int k = 0; k < kMlaTileKeys / 16; ++k) {
      MultiplyOut(weights + 4 * k, query_ + kValues + k * (16 * 128 / 16), out_,
                  std::make_index_sequence<kOuts>());
    }
    fi::warpgroup_commit_batch();
  }

  // Scores of this warpgroup's tile `t` become weights, which the other warpgroup gets too. kLater:
  // products that were asked for after the scores.
  template <int kLater>
  __device__ __forceinline__ void TakeScores(int t, int tiles) {
    fi::warpgroup_wait<kLater>();
    fi::warpgroup_fence_frag<kScores>(scores_);
    ReleaseKeys<kBlocks>(&b_.rotated_empty[kGroup]);
    if (t + 2 >= tiles) {
      Release(&b_.query_empty);
    }
    Mask(t * kMlaTileKeys);
    Weigh();
#pragma unroll
    for (int k = 0; k < kScores / 2; ++k) {
      mine_[k] = Pack<Element>(scores_[2 * k], scores_[2 * k + 1]);
    }
    Send();
  }

  // Removes what the thread's rows do not see of the keys from `start` on.
  __device__ __forceinline__ void Mask(int start) {
    const int end = min(sees_[0], sees_[1]) - start;
    if (!__any_sync(0xffffffff, end < kMlaTileKeys)) {
      return;
    }
    const int first = start + lane_ % 4 * 2;
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
      if (first + i / 4 * 8 + i % 2 >= sees_[i / 2 % 2]) {
        scores_[i] = MinusInfinity();
      }
    }
  }

  // The base of a row's exponentials follows its maximum only where that rises a lot.
  __device__ __forceinline__ void Weigh() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float max = scores_[2 * r];
#pragma unroll
      for (int i = 2 * r; i < kScores; i += 4) {
        max = fmaxf(max, fmaxf(scores_[i], scores_[i + 1]));
      }
      max = MaxOfFour(max) * scale_;
      MoveBase(r, max > base_[r] + kKeptRise ? max : base_[r]);
      const float base = BaseOf(base_[r]);
      float sum = 0.0f;
#pragma unroll
      for (int i = 2 * r; i < kScores; i += 4) {
#pragma unroll
        for (int k = i; k < i + 2; ++k) {
          scores_[k] = Exp2(fmaf(scores_[k], scale_, -base));
          sum += scores_[k];
        }
      }
      sum_[r] += sum;
    }
  }

  __device__ __forceinline__ void MoveBase(int r, float base) {
    kept_[r] = base == base_[r] ? 1.0f : Exp2(base_[r] - base);
    base_[r] = base;
    sum_[r] *= kept_[r];
  }

  __device__ __forceinline__ void Send() {
    Exchange& exchange = *shared_.exchange;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      exchange.weights[k][thread_] = {mine_[4 * k], mine_[4 * k + 1], mine_[4 * k + 2],
                                      mine_[4 * k + 3]};
    }
    if (lane_ % 4 == 0) {
      exchange.base[row_] = base_[0];
      exchange.base[row_ + 8] = base_[1];
    }
    Barrier::arrive(&b_.weights_sent[kGroup][warp_]);
  }

  __device__ __forceinline__ void Receive() {
    Barrier::wait(&b_.weights_sent[1 - kGroup][warp_], received_++ % 2);
    __syncwarp();
    const Exchange& exchange = *shared_.exchange;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const uint4 x = exchange.weights[k][thread_];
      theirs_[4 * k] = x.x;
      theirs_[4 * k + 1] = x.y;
      theirs_[4 * k + 2] = x.z;
      theirs_[4 * k + 3] = x.w;
    }
    MoveBase(0, exchange.base[row_]);
    MoveBase(1, exchange.base[row_ + 8]);
  }

  // Brings the outputs to the base of the weights that join them.
  __device__ __forceinline__ void Rescale() {
    if (!__any_sync(0xffffffff, kept_[0] != 1.0f || kept_[1] != 1.0f)) {
      return;  // as mostly
    }
    fi::warpgroup_wait<0>();  // outputs are at rest, which the compiler does not see
    fi::warpgroup_fence_frag<kOuts>(out_);
#pragma unroll
    for (int k = 0; k < kOuts; ++k) {
      out_[k] *= kept_[k / 2 % 2];
    }
  }

  __device__ __forceinline__ void FinishRows(int i, int tiles) {
    fi::warpgroup_wait<0>();  // nothing is under way, which the compiler does not see
    fi::warpgroup_fence_frag<kScores>(scores_);
    fi::warpgroup_fence_frag<kOuts>(out_);
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum_[r] = SumOfFour(sum_[r]);
    }
    if (tiles > 0) {
      AddTheirSums(i % 2);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Finished finished = Finish(base_[r], sum_[r], nullptr, 0);
      factor[r] = finished.scale;
      const int row = row_ + 8 * r;
      if (kGroup == 0 && lane_ % 4 == 0 && row < rows_) {
        if (partial_ >= 0) {
          args_.partials.lse[partial_ * kMlaTileRows + row] =
              base_[r] == MinusInfinity() ? base_[r] : base_[r] + log2f(sum_[r]);
        } else if (problem_.lse != nullptr) {
          problem_.lse[first_ + row] = finished.lse;
        }
      }
    }
    StoreRow<0>(factor[0]);
    StoreRow<1>(factor[1]);
  }

  template <int kRow>
  __device__ __forceinline__ void StoreRow(float factor) const {
    const int row = row_ + 8 * kRow;
    const bool exists = row < rows_;
    Element* const to =
        (partial_ >= 0 ? args_.partials.out + (int64_t{partial_} * kMlaTileRows + row) * kLatentDim
                       : OutOf(first_ + row)) +
        kGroup * (kLatentDim / kGroups) + lane_ % 4 * 8;
#pragma unroll
    for (int i = 0; i < kOuts / 16; ++i) {
      uint32_t x[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int at = (4 * i + k) * 4 + 2 * kRow;
        x[k] = Pack<Element>(out_[at] * factor, out_[at + 1] * factor);
      }
      TransposeFour(x);
      if (exists) {
        *reinterpret_cast<uint4*>(to + i * 32) = {x[0], x[1], x[2], x[3]};
      }
    }
  }

  __device__ Element* OutOf(int at) const {
    return static_cast<Element*>(problem_.out.data) +
           at / problem_.q_heads * problem_.out.row_stride +
           at % problem_.q_heads * problem_.out.head_stride;
  }

  // Both warpgroups' sums of weights, in the same order for both.
  __device__ __forceinline__ void AddTheirSums(int parity) {
    float(&sums)[kGroups][kMlaTileRows] = shared_.exchange->sums[parity];
    if (lane_ % 4 == 0) {
      sums[kGroup][row_] = sum_[0];
      sums[kGroup][row_ + 8] = sum_[1];
    }
    Barrier::arrive(&b_.sums_sent[warp_]);
    Barrier::wait(&b_.sums_sent[warp_], summed_++ % 2);
    sum_[0] = sums[0][row_] + sums[1][row_];
    sum_[1] = sums[0][row_ + 8] + sums[1][row_ + 8];
  }

  const Args& args_;
  const Problem& problem_;
  const Barriers& b_;
  const Shared& shared_;
  const int thread_ = static_cast<int>(threadIdx.x) % 128;
  const int warp_ = thread_ / 32;
  const int lane_ = thread_ % 32;
  const int row_ = warp_ * 16 + lane_ / 4;  // the thread's first
  const uint64_t query_;                    // descriptor; the buffers of keys lie behind it
  const float scale_;
  uint32_t used_ = 0;      // tiles of this warpgroup's buffer
  uint32_t received_ = 0;  // weights of the other warpgroup
  uint32_t summed_ = 0;    // pieces
  float scores_[kScores];
  uint32_t mine_[kScores / 2];    // weights of this warpgroup's tile
  uint32_t theirs_[kScores / 2];  // and of the other's
  float out_[kOuts];
  // The piece:
  int first_;
  int rows_;
  int partial_;
  int tiles_;      // of keys
  int sees_[2];    // keys of the piece that the thread's rows see
  float base_[2];  // what is subtracted from scores, in units of log 2
  float sum_[2];   // of this thread's weights
  float kept_[2];  // factor of what was there before the base moved
};

}  // namespace quire::ops::attention::cuda::hopper_mla
