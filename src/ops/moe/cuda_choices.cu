#include "ops/act_and_mul/cuda_activated.cuh"
#include "ops/linear/cuda/cuda_load_store.cuh"
#include "ops/moe/cuda_choices.h"

namespace quire::ops::moe {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// The sum over the block, in all threads.
__device__ int32_t BlockSum(int32_t value) {
  __shared__ int32_t of_warp[kWarps];
  value = __reduce_add_sync(0xffffffff, value);
  __syncthreads();  // who still reads the last sum's
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = value;
  }
  __syncthreads();
  int32_t sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) {
    sum += of_warp[warp];
  }
  return sum;
}

// Of the threads where `is_one`, how many come before this one; `all` of them there are.
__device__ int32_t CountBefore(bool is_one, int32_t& all) {
  __shared__ int32_t of_warp[kWarps];
  const unsigned ones = __ballot_sync(0xffffffff, is_one);
  __syncthreads();  // who still reads the last counts
  if (threadIdx.x % 32 == 0) {
    of_warp[threadIdx.x / 32] = __popc(ones);
  }
  __syncthreads();
  int32_t before = __popc(ones & ((1u << threadIdx.x % 32) - 1));
  all = 0;
  for (unsigned warp = 0; warp < kWarps; ++warp) {
    before += warp < threadIdx.x / 32 ? of_warp[warp] : 0;
    all += of_warp[warp];
  }
  return before;
}

// The tiles of an expert that has the rows [first, end). They start at that of first / tile_rows +
// expert, which leaves room for those of the experts before, or each at that of its first row.
__device__ void WriteTiles(const SortedChoices& sorted, int32_t choices, int32_t experts,
                           int32_t expert, int32_t first, int32_t end) {
  const bool is_last = expert + 1 == experts;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  if (HasTileOfEachRow(choices, experts, sorted.tile_rows)) {
    for (int32_t row = first + thread; row < (is_last ? choices : end); row += kThreads) {
      const bool starts = row < end && (row - first) % sorted.tile_rows == 0;
      sorted.tiles[row] = {starts ? expert : -1, row, min(end - row, sorted.tile_rows)};
    }
    return;
  }
  const int32_t first_tile = first / sorted.tile_rows + expert;
  const int32_t end_tile = (is_last ? choices : end) / sorted.tile_rows + expert + 1;
  for (int32_t tile = first_tile + thread; tile < end_tile; tile += kThreads) {
    const int32_t row = first + (tile - first_tile) * sorted.tile_rows;
    const int32_t rows = min(end - row, sorted.tile_rows);
    sorted.tiles[tile] = {rows > 0 ? expert : -1, row, rows};
  }
}

// A block for each expert: it counts what comes before its rows and lists its own.
__global__ void __launch_bounds__(kThreads)
    SortKernel(const int32_t* ids, int32_t choices, SortedChoices sorted) {
  const auto expert = static_cast<int32_t>(blockIdx.x);
  const auto experts = static_cast<int32_t>(gridDim.x);
  int32_t smaller = 0;
  int32_t equal = 0;
  for (int32_t c = static_cast<int32_t>(threadIdx.x); c < choices; c += kThreads) {
    const int32_t id = ids[c];
    smaller += id >= 0 && id < expert ? 1 : 0;
    equal += id == expert ? 1 : 0;
  }
  const int32_t first = BlockSum(smaller);
  const int32_t end = first + BlockSum(equal);
  int32_t next = first;
  for (int32_t base = 0; base < choices; base += kThreads) {
    const int32_t c = base + static_cast<int32_t>(threadIdx.x);
    const int32_t id = c < choices ? ids[c] : -1;
    int32_t found = 0;
    const int32_t row = next + CountBefore(id == expert, found);
    if (id == expert) {
      sorted.row_of[c] = row;
      sorted.choice_of[row] = c;
    } else if (expert == 0 && c < choices && (id < 0 || id >= experts)) {
      sorted.row_of[c] = -1;
    }
    next += found;
  }
  WriteTiles(sorted, choices, experts, expert, first, end);
}

__global__ void __launch_bounds__(kThreads) ActivateKernel(const __grid_constant__ Activate a) {
  const int64_t row = blockIdx.x;
  const int64_t feature = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (feature >= a.k_padded) {
    return;
  }
  float value = 0.0f;
  if (feature < a.features) {
    const float* gate = a.gate_up + row * 2 * a.features + feature;
    value = act_and_mul::Activated(gate[0], a.activation) * gate[a.features];
  }
  linear::StoreAs(value, a.out, a.out_type, row * a.k_padded + feature);
}

__global__ void __launch_bounds__(kThreads) KeepKernel(const __grid_constant__ ChosenRows c) {
  const int64_t choice = blockIdx.x;
  const int64_t feature = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (feature < c.hidden && c.ids[choice] == c.expert) {
    c.results[c.row_of[choice] * c.hidden + feature] = c.result[choice / c.k * c.hidden + feature];
  }
}

__global__ void __launch_bounds__(kThreads) CombineKernel(const __grid_constant__ Combine c) {
  const int64_t token = blockIdx.x;
  const int64_t feature = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (feature >= c.hidden) {
    return;
  }
  float sum = 0.0f;
  for (int j = 0; j < c.k; ++j) {
    const int64_t row = c.row_of[token * c.k + j];
    if (row >= 0) {
      sum = fmaf(c.weights[token * c.k + j], c.results[row * c.hidden + feature], sum);
    }
  }
  if (c.shared != nullptr) {
    const float gate =
        c.shared_gate == nullptr ? 1.0f : 1.0f / (1.0f + expf(-c.shared_gate[token]));
    sum = fmaf(gate, c.shared[token * c.hidden + feature], sum);
  }
  const int64_t at = token * c.out_stride + feature;
  if (c.accumulate) {
    sum += linear::LoadAs(c.out, c.out_type, at);
  }
  linear::StoreAs(sum, c.out, c.out_type, at);
}

dim3 GridOf(int64_t rows, int64_t columns) {
  return {static_cast<unsigned>(rows), static_cast<unsigned>((columns + kThreads - 1) / kThreads)};
}

}  // namespace

cudaError_t SortChoices(const int32_t* ids, int64_t choices, int64_t experts,
                        const SortedChoices& sorted, cudaStream_t stream) {
  SortKernel<<<static_cast<unsigned>(experts), kThreads, 0, stream>>>(
      ids, static_cast<int32_t>(choices), sorted);
  return cudaGetLastError();
}

cudaError_t RunActivate(const Activate& activate, cudaStream_t stream) {
  ActivateKernel<<<GridOf(activate.rows, activate.k_padded), kThreads, 0, stream>>>(activate);
  return cudaGetLastError();
}

cudaError_t KeepChosen(const ChosenRows& chosen, cudaStream_t stream) {
  KeepKernel<<<GridOf(chosen.choices, chosen.hidden), kThreads, 0, stream>>>(chosen);
  return cudaGetLastError();
}

cudaError_t RunCombine(const Combine& combine, cudaStream_t stream) {
  CombineKernel<<<GridOf(combine.tokens, combine.hidden), kThreads, 0, stream>>>(combine);
  return cudaGetLastError();
}

}  // namespace quire::ops::moe
