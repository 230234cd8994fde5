// A block keeps to its multiprocessor and takes piece after piece of work. Four warps bring queries
// and keys; two warpgroups multiply.
#include "ops/attention/hopper_mla/cuda_hopper_mla.h"

#include <cutlass/arch/reg_reconfig.h>

#include <bit>

#include "ops/attention/hopper_mla/cuda_hopper_mla_load.cuh"
#include "ops/attention/hopper_mla/cuda_hopper_mla_merge.cuh"
#include "ops/attention/hopper_mla/cuda_hopper_mla_multiply.cuh"
#include "platform/cuda/cuda_error.h"
#include "platform/cuda/cuda_tensor_map.h"

namespace quire::ops::attention::cuda {

namespace hopper_mla {

namespace {

template <int kBlocks>
__device__ void InitBarriers(Barriers& barriers, Landing* landings) {
  Barrier::init(&barriers.query_full, kLoadThreads / 32);  // warps
  Barrier::init(&barriers.query_empty, kGroups * 4);
  for (int buffer = 0; buffer < kGroups; ++buffer) {
    for (int unit = 0; unit < kUnits; ++unit) {
      Barrier::init(&barriers.full[buffer][unit], unit < kUnits - 1 ? 1 : kLoadThreads / 32);
    }
    Barrier::init(&barriers.rotated_empty[buffer], 4 * kBlocks);
    for (int half = 0; half < kGroups; ++half) {
      Barrier::init(&barriers.half_empty[buffer][half], 4 * kBlocks);
    }
  }
  for (int warp = 0; warp < 4; ++warp) {
    for (int group = 0; group < kGroups; ++group) {
      Barrier::init(&barriers.weights_sent[group][warp], 32);  // lanes
    }
    Barrier::init(&barriers.sums_sent[warp], kGroups * 32);
  }
  for (int i = 0; i < kLoadThreads / 32 * kLandings; ++i) {
    Barrier::init(&landings[i / kLandings].landed[i % kLandings], 32);  // lanes
  }
  cutlass::arch::fence_barrier_init();
}

__device__ void PrefetchMap(const LatentMap& map) {
  if (map.exists) {
    cute::prefetch_tma_descriptor(&map.map);
  }
}

// A cluster of kBlocks blocks has kMlaTileRows rows each, and the same keys.
template <int kBlocks>
__global__ void __launch_bounds__(kThreads, 1) Kernel(const __grid_constant__ Args args) {
  extern __shared__ uint8_t memory[];
  const auto base = reinterpret_cast<uintptr_t>(memory);
  uint8_t* const tiles = memory + (kAlignment - base % kAlignment) % kAlignment;
  auto* const exchange = reinterpret_cast<Exchange*>(tiles + 3 * kTileBytes);
  auto* const barriers = reinterpret_cast<Barriers*>(exchange + 1);
  auto* const landings = reinterpret_cast<Landing*>(barriers + 1);
  const Shared shared = {tiles,    {tiles + kTileBytes, tiles + 2 * kTileBytes},
                         exchange, barriers,
                         landings, reinterpret_cast<Turn*>(landings + kLoadThreads / 32)};
  if (threadIdx.x == 0) {
    InitBarriers<kBlocks>(*barriers, landings);
  } else if (threadIdx.x == 32) {
    PrefetchMap(args.map);
    PrefetchMap(args.query_map);
  }
  __syncthreads();
  ArriveAtCluster<kBlocks>();
  WaitForLastKernel();
  const Share share = ShareOf<kBlocks>(args, *reinterpret_cast<ShareScratch*>(exchange));
  LetNextKernelStart();
  if (threadIdx.x < kLoadThreads) {
    cutlass::arch::warpgroup_reg_dealloc<72>();
    Loader<kBlocks>(args, shared).Load(share);
  } else if (threadIdx.x < kLoadThreads + 128) {
    cutlass::arch::warpgroup_reg_alloc<216>();
    Multiplier<kBlocks, 0>(args, shared).Multiply(share.count);
  } else {
    cutlass::arch::warpgroup_reg_alloc<216>();
    Multiplier<kBlocks, 1>(args, shared).Multiply(share.count);
  }
  ArriveAtCluster<kBlocks>();
  AwaitCluster<kBlocks>();  // nobody leaves while others copy to it
}

constexpr int32_t PartialsOf(int multiprocessors) {
  return 2 * multiprocessors;
}

Partials LayOut(int multiprocessors, void* scratch) {
  const auto count = static_cast<size_t>(PartialsOf(multiprocessors));
  Partials partials;
  partials.out = static_cast<Element*>(scratch);
  partials.lse = reinterpret_cast<float*>(partials.out + count * kMlaTileRows * kLatentDim);
  partials.merge = reinterpret_cast<Merge*>(partials.lse + count * kMlaTileRows);
  partials.count = reinterpret_cast<int32_t*>(partials.merge + count / 2);
  return partials;
}

template <int kBlocks>
cudaError_t Launch(const Args& args, cudaStream_t stream) {
  const auto kernel = Kernel<kBlocks>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) {
    return error;
  }
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {kBlocks, 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(args.clusters.value() * kBlocks));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel, args);
}

// Its multiprocessors keep the division of their memory, so that neither kernel waits for a change.
cudaError_t LaunchMerge(const Args& args, int multiprocessors, cudaStream_t stream) {
  const cudaError_t error = cudaFuncSetAttribute(
      MergeKernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  if (error != cudaSuccess) {
    return error;
  }
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(multiprocessors * kMergeBlocks));
  config.blockDim = dim3(32 * kMergeWarps);
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, MergeKernel, args);
}

// Whether heads of `rows` can be read and written in pieces of 16 bytes.
bool IsAligned(const HeadRows& rows) {
  return std::bit_cast<uintptr_t>(rows.data) % 16 == 0 && rows.row_stride % 8 == 0 &&
         rows.head_stride % 8 == 0;
}

}  // namespace

}  // namespace hopper_mla

std::string_view WhyNotHopperMla(const Problem& problem) {
  if (problem.kv_dtype != DType::kBF16 || problem.query.dtype != DType::kBF16 ||
      problem.out.dtype != DType::kBF16) {
    return "queries, the cache and outputs are not all bf16";
  }
  if (problem.value_dim != hopper_mla::kLatentDim || problem.key_dim != hopper_mla::kDim) {
    return "rows are not of 512 + 64 elements";
  }
  if (problem.page_size < kSwizzledRows) {
    return "pages of less than 8 tokens, whose rows would be gathered one by one";
  }
  if (problem.scale <= 0.0f) {
    return "the scale is not positive";
  }
  if (!hopper_mla::IsAligned(problem.query) || !hopper_mla::IsAligned(problem.out) ||
      std::bit_cast<uintptr_t>(problem.key.data) % 16 != 0) {
    return "rows do not start at multiples of 16 bytes";
  }
  const int64_t keys = int64_t{problem.max_pages} * problem.page_size;
  const int64_t flat_rows = problem.num_rows * problem.q_heads;
  const bool small = flat_rows < INT32_MAX && keys < INT32_MAX / 2 &&
                     MostMlaCost(flat_rows, problem.num_sequences, keys) < INT32_MAX &&
                     problem.num_rows * problem.query.row_stride / 8 < UINT32_MAX &&
                     problem.num_pages * problem.key.strides.page / 8 < UINT32_MAX;
  return small ? "" : "there are too many rows, sequences or keys";
}

size_t HopperMlaScratchBytes(int multiprocessors) {
  const hopper_mla::Partials partials = hopper_mla::LayOut(multiprocessors, nullptr);
  return reinterpret_cast<size_t>(partials.count + 1);
}

Status RunHopperMla(const Problem& problem, int multiprocessors, void* scratch,
                    cudaStream_t stream) {
  if (problem.num_rows == 0) {
    return OkStatus();
  }
  // Blocks in pairs where a sequence has more rows than one takes.
  const bool pairs = multiprocessors > 1 && (problem.q_heads > kMlaTileRows ||
                                             problem.num_rows * problem.q_heads >
                                                 int64_t{kMlaTileRows} * problem.num_sequences);
  const int blocks = pairs ? 2 : 1;
  hopper_mla::Args args = {
      problem, hopper_mla::LayOut(multiprocessors, scratch), {}, {}, multiprocessors / blocks};
  QUIRE_RETURN_IF_ERROR(MakeLatentMap(problem, kMlaTileKeys / blocks, args.map));
  QUIRE_RETURN_IF_ERROR(MakeQueryMap(problem, kMlaTileRows, args.query_map));
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(pairs ? hopper_mla::Launch<2>(args, stream) : hopper_mla::Launch<1>(args, stream),
                 "hopper_mla"));
  return CudaStatus(hopper_mla::LaunchMerge(args, multiprocessors, stream),
                    "hopper_mla: MergeKernel");
}

}  // namespace quire::ops::attention::cuda
