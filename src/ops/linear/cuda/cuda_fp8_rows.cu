// A block has 128 output features, rows of a product of warpgroups whose columns are the rows of x,
// and a part of K. One thread brings spans of 128 bytes of both to shared memory through the copy
// engine; two warpgroups of 64 features multiply them. The blocks of a cluster share the features:
// each adds up some rows of all their sums, in their order, through distributed shared memory.
#include <cutlass/arch/barrier.h>

#include <cute/arch/cluster_sm90.hpp>
#include <cute/arch/copy_sm90_tma.hpp>
#include <flashinfer/attention/hopper.cuh>
#include <utility>

#include "ops/cuda_async_copy.cuh"
#include "ops/cuda_overlapped_launch.cuh"
#include "ops/linear/cuda/cuda_fp8_rows.h"
#include "ops/linear/cuda/cuda_load_store.cuh"
#include "platform/cuda/cuda_error.h"
#include "platform/cuda/cuda_tensor_map.h"

namespace quire::ops::linear {

namespace {

namespace fi = flashinfer;
using Barrier = cutlass::arch::ClusterBarrier;
using TransactionBarrier = cutlass::arch::ClusterTransactionBarrier;
using cute::SM90::GMMA::ScaleOut;

constexpr int kFeatures = 128;
constexpr int kWarps = 8;  // that multiply; one more loads
constexpr int kThreads = 32 * (kWarps + 1);
constexpr int kWeightBytes = kFeatures * kSpanBytes;
constexpr int kAlignment = 1024;  // of the pattern in which rows are swizzled
constexpr int kMaxStages = 5;

// As much as lets two blocks share a multiprocessor.
template <int kRows>
constexpr int kStages = kRows < 64 ? 5 : 4;
template <int kRows>
constexpr int kTileBytes = kWeightBytes + kRows * kSpanBytes;
template <int kRows>
constexpr int kStageBytes = kTileBytes<kRows> + kRows * static_cast<int>(sizeof(float));

struct Barriers {
  uint64_t full[kMaxStages];
  uint64_t empty[kMaxStages];
};

template <int kRows>
constexpr int kSharedBytes =
    kAlignment + kStages<kRows> * kStageBytes<kRows> + static_cast<int>(sizeof(Barriers));

// Sums of a block, [rows][kSumStride], where its stages were. The stride keeps lanes in different
// banks.
constexpr int kSumStride = kFeatures + 4;
static_assert(64 * kSumStride * 4 <= kStages<64> * kTileBytes<64>);

struct Maps {
  CUtensorMap w;  // boxes of a span of kFeatures rows
  CUtensorMap x;  // boxes of a span of kRows rows
};

template <int kRows>
struct ProductOf;
template <>
struct ProductOf<16> {
  using Type = cute::SM90::GMMA::MMA_64x16x32_F32E4M3E4M3_SS_TN<>;
};
template <>
struct ProductOf<32> {
  using Type = cute::SM90::GMMA::MMA_64x32x32_F32E4M3E4M3_SS_TN<>;
};
template <>
struct ProductOf<64> {
  using Type = cute::SM90::GMMA::MMA_64x64x32_F32E4M3E4M3_SS_TN<>;
};

template <typename Product, size_t... kI>
__device__ __forceinline__ void Multiply(uint64_t a, uint64_t b, float (&d)[sizeof...(kI)],
                                         ScaleOut scale, std::index_sequence<kI...>) {
  Product::fma(a, b, d[kI]..., scale);
}

// sums [64, kRows] of a span. Waits for them.
template <int kRows>
__device__ __forceinline__ void MultiplySpan(const uint8_t* features, const uint8_t* rows,
                                             float (&sums)[kRows / 2]) {
  constexpr auto kSwizzle = fi::SwizzleMode::k128B;
  const uint64_t a = fi::make_smem_desc<kSwizzle, 16, 8 * kSpanBytes>(features);
  const uint64_t b = fi::make_smem_desc<kSwizzle, 16, 8 * kSpanBytes>(rows);
  fi::warpgroup_fence_frag<kRows / 2>(sums);
  fi::warpgroup_arrive();
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // 32 elements are 32 bytes, 2 in a descriptor
    Multiply<typename ProductOf<kRows>::Type>(a + 2 * i, b + 2 * i, sums,
                                              i == 0 ? ScaleOut::Zero : ScaleOut::One,
                                              std::make_index_sequence<kRows / 2>());
  }
  fi::warpgroup_commit_batch();
  fi::warpgroup_wait<0>();
  fi::warpgroup_fence_frag<kRows / 2>(sums);
}

// A block's share of a product and its shared memory.
template <int kRows>
class Block {
 public:
  __device__ Block(const Fp8Product& product, const Maps& maps, uint8_t* stages)
      : p_(product),
        maps_(maps),
        stages_(stages),
        scales_(reinterpret_cast<float*>(stages + kStages<kRows> * kTileBytes<kRows>)),
        barriers_(reinterpret_cast<Barriers*>(stages + kStages<kRows> * kStageBytes<kRows>)),
        splits_(static_cast<int>(gridDim.y)),
        rank_(static_cast<int>(blockIdx.y)),
        tile_(static_cast<int>(blockIdx.x)),
        first_(static_cast<int>(product.weight.spans * rank_ / splits_)),
        spans_(static_cast<int>(product.weight.spans * (rank_ + 1) / splits_) - first_) {}

  __device__ void InitBarriers() const {
    for (int i = 0; i < kStages<kRows>; ++i) {
      Barrier::init(barriers_->full + i, 1);
      Barrier::init(barriers_->empty + i, kWarps);
    }
    cutlass::arch::fence_barrier_init();
  }

  // By one thread. Weights do not wait for the kernel that makes x.
  __device__ void Load() const {
    const int ahead = min(kStages<kRows>, spans_);
    for (int i = 0; i < ahead; ++i) {
      LoadWeight(i);
    }
    WaitForLastKernel();
    for (int i = 0; i < ahead; ++i) {
      LoadRows(i);
    }
    for (int i = ahead; i < spans_; ++i) {
      Barrier::wait(barriers_->empty + i % kStages<kRows>, i / kStages<kRows> % 2 ^ 1);
      LoadWeight(i);
      LoadRows(i);
    }
  }

  // By kWarps warps; the sums go to shared memory.
  __device__ void Multiply() const {
    const int group = static_cast<int>(threadIdx.x) / 128;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float sums[kRows / 2] = {};
    for (int i = 0; i < spans_; ++i) {
      const int stage = i % kStages<kRows>;
      const float square = __ldg(p_.weight.squares + tile_ * p_.weight.SquareStride() + first_ + i);
      Barrier::wait(barriers_->full + stage, i / kStages<kRows> % 2);
      const uint8_t* const tile = stages_ + stage * kTileBytes<kRows>;
      float part[kRows / 2];
      MultiplySpan<kRows>(tile + group * 64 * kSpanBytes, tile + kWeightBytes, part);
      const float* const scales = scales_ + stage * kRows + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < kRows / 8; ++j) {
        const float2 pair = *reinterpret_cast<const float2*>(scales + 8 * j);
        const float scale[2] = {pair.x * square, pair.y * square};
#pragma unroll
        for (int k = 4 * j; k < 4 * j + 4; ++k) {
          sums[k] = fmaf(part[k], scale[k % 2], sums[k]);
        }
      }
      __syncwarp();
      if (lane == 0) {
        Barrier::arrive(barriers_->empty + stage);
      }
    }
    cutlass::arch::NamedBarrier::sync(32 * kWarps, 1);  // all have read the stages
    const int feature = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < kRows / 2; ++i) {
      const int row = i / 4 * 8 + lane % 4 * 2 + i % 2;
      Sums()[row * kSumStride + feature + i / 2 % 2 * 8] = sums[i];
    }
  }

  // By all threads, once all blocks of the cluster have their sums.
  __device__ void Store() const {
    constexpr int kQuads = kFeatures / 4;
    const int rows = (p_.m + splits_ - 1) / splits_;
    const int end = min(p_.m, (rank_ + 1) * rows) * kQuads;
    const uint32_t sums = cute::cast_smem_ptr_to_uint(Sums());
    for (int i = rank_ * rows * kQuads + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
      const int row = i / kQuads;
      const int quad = i % kQuads * 4;
      float4 total = {};
      for (int r = 0; r < splits_; ++r) {
        const float4 part = Remote(sums + (row * kSumStride + quad) * 4, r);
        total = {total.x + part.x, total.y + part.y, total.z + part.z, total.w + part.w};
      }
      StoreFour(total, row, int64_t{tile_} * kFeatures + quad);
    }
  }

 private:
  __device__ float* Sums() const { return reinterpret_cast<float*>(stages_); }

  __device__ void LoadWeight(int i) const {
    const int stage = i % kStages<kRows>;
    TransactionBarrier::arrive_and_expect_tx(barriers_->full + stage, kStageBytes<kRows>);
    cute::SM90_TMA_LOAD_2D::copy(&maps_.w, barriers_->full + stage,
                                 static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_FIRST),
                                 stages_ + stage * kTileBytes<kRows>, (first_ + i) * kSpanBytes,
                                 tile_ * kFeatures);
  }

  __device__ void LoadRows(int i) const {
    const int stage = i % kStages<kRows>;
    cute::SM90_TMA_LOAD_2D::copy(&maps_.x, barriers_->full + stage,
                                 static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_LAST),
                                 stages_ + stage * kTileBytes<kRows> + kWeightBytes,
                                 (first_ + i) * kSpanBytes, 0);
    cute::SM90_BULK_COPY_G2S::copy(p_.x_scales + int64_t{first_ + i} * kRows,
                                   barriers_->full + stage, scales_ + stage * kRows,
                                   kRows * static_cast<int>(sizeof(float)));
  }

  // Four floats at `address` of this block's memory, in that of block `rank`.
  __device__ static float4 Remote(uint32_t address, int rank) {
    float4 value;
    const uint32_t there = cute::set_block_rank(address, static_cast<uint32_t>(rank));
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "r"(there));
    return value;
  }

  __device__ void StoreFour(const float4& four, int row, int64_t feature) const {
    const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (feature + i >= p_.weight.features) {
        return;
      }
      const int64_t at = row * p_.out_stride + feature + i;
      float value = values[i] + (p_.bias != nullptr ? p_.bias[feature + i] : 0.0f);
      if (p_.accumulate) {
        value += LoadAs(p_.out, p_.out_type, at);
      }
      StoreAs(value, p_.out, p_.out_type, at);
    }
  }

  const Fp8Product& p_;
  const Maps& maps_;
  uint8_t* stages_;
  float* scales_;
  Barriers* barriers_;
  int splits_;
  int rank_;
  int tile_;
  int first_;  // span
  int spans_;
};

template <int kRows>
__global__ void __launch_bounds__(kThreads, 2)
    Fp8RowsKernel(const __grid_constant__ Fp8Product product, const __grid_constant__ Maps maps) {
  extern __shared__ uint8_t memory[];
  const uint32_t base = SharedAddress(memory);
  const Block<kRows> block(product, maps, memory + (kAlignment - base % kAlignment) % kAlignment);
  if (threadIdx.x == 0) {
    block.InitBarriers();
  }
  __syncthreads();
  LetNextKernelStart();
  if (threadIdx.x < 32 * kWarps) {
    block.Multiply();
  } else if (threadIdx.x == 32 * kWarps) {
    block.Load();
  }
  WaitForLastKernel();
  __syncwarp();
  cute::cluster_sync();
  block.Store();
  cute::cluster_sync();  // the sums stay until all have read them
}

template <int kRows>
Status Launch(const Fp8Product& product, int splits, cudaStream_t stream) {
  const auto kernel = Fp8RowsKernel<kRows>;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      kSharedBytes<kRows>),
                 "linear: Fp8RowsKernel"));
  const DeviceSegment& weight = product.weight;
  Maps maps;
  QUIRE_ASSIGN_OR_RETURN(maps.w, MapOfBytes({.data = weight.data,
                                             .rows = weight.features,
                                             .row_bytes = weight.RowBytes(),
                                             .box_rows = kFeatures,
                                             .box_bytes = kSpanBytes}));
  QUIRE_ASSIGN_OR_RETURN(maps.x, MapOfBytes({.data = product.x,
                                             .rows = product.m,
                                             .row_bytes = weight.RowBytes(),
                                             .box_rows = kRows,
                                             .box_bytes = kSpanBytes}));
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {1, static_cast<unsigned>(splits), 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>((weight.features + kFeatures - 1) / kFeatures),
                        static_cast<unsigned>(splits));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes<kRows>;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return CudaStatus(cudaLaunchKernelEx(&config, kernel, product, maps), "linear: Fp8RowsKernel");
}

}  // namespace

int Fp8Splits(const DeviceSegment& weight, int compute_units) {
  const int64_t tiles = (weight.features + kFeatures - 1) / kFeatures;
  int splits = 1;
  while (splits < 8 && 2 * splits * tiles * 4 <= 7 * int64_t{compute_units}) {
    splits *= 2;
  }
  return splits;
}

Status RunFp8Product(const Fp8Product& product, int splits, cudaStream_t stream) {
  switch (Fp8ScaleStride(product.m)) {
    case 16: return Launch<16>(product, splits, stream);
    case 32: return Launch<32>(product, splits, stream);
    default: return Launch<64>(product, splits, stream);
  }
}

}  // namespace quire::ops::linear
