// Bias and penalties, which change the logits of single tokens: on copies of the rows that have
// them.
#include "ops/topk_topp_sampling/cuda_sampler.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr int kThreads = 512;

// logits = from, counts = 0, everywhere.
__global__ void __launch_bounds__(kThreads) CopyKernel(const AdjustmentBatch batch) {
  const DeviceAdjustment row = batch.rows[blockIdx.y];
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i < batch.vocabulary) {
    row.logits[i] = row.from[i];
    row.counts[i] = 0;
  }
}

// The biases of one token add up in their order: the thread of the first of them adds them all.
__device__ void AddBiases(const AdjustmentBatch& batch, const DeviceAdjustment& row) {
  for (int i = row.bias_begin + static_cast<int>(threadIdx.x); i < row.bias_end; i += kThreads) {
    const int32_t token = batch.biases[i].token;
    bool is_first = true;
    for (int j = row.bias_begin; j < i; ++j) {
      is_first &= batch.biases[j].token != token;
    }
    if (!is_first) {
      continue;
    }
    float logit = row.logits[token];
    for (int j = i; j < row.bias_end; ++j) {
      logit = batch.biases[j].token == token ? __fadd_rn(logit, batch.biases[j].bias) : logit;
    }
    row.logits[token] = logit;
  }
}

__device__ float Penalized(float logit, uint32_t count, const DeviceAdjustment& row) {
  logit = logit > 0 ? __fdiv_rn(logit, row.repetition) : __fmul_rn(logit, row.repetition);
  const uint32_t outputs = count >> 1;
  if (outputs > 0) {
    const float penalty =
        __fadd_rn(row.presence, __fmul_rn(row.frequency, static_cast<float>(outputs)));
    logit = __fsub_rn(logit, penalty);
  }
  return logit;
}

// Calls body(i, token) with this thread's share of a row's tokens. One that was drawn from logits
// that cannot be drawn from may be none of the vocabulary.
template <typename Body>
__device__ void ForEachToken(const AdjustmentBatch& batch, const DeviceAdjustment& row,
                             const Body& body) {
  for (int i = row.prompt_begin + static_cast<int>(threadIdx.x); i < row.output_end;
       i += kThreads) {
    const int32_t token = batch.tokens[i];
    const int32_t known = token < 0 ? batch.drawn_before[-1 - token] : token;
    if (known >= 0 && known < batch.vocabulary) {
      body(i, known);
    }
  }
}

// counts[v] becomes twice the times that the output holds v, plus one if the prompt does; who finds
// it set applies it, once.
__global__ void __launch_bounds__(kThreads) AdjustKernel(const AdjustmentBatch batch) {
  const DeviceAdjustment row = batch.rows[blockIdx.x];
  AddBiases(batch, row);
  ForEachToken(batch, row, [&](int i, int32_t token) {
    if (i < row.prompt_end) {
      atomicOr(row.counts + token, 1u);
    } else {
      atomicAdd(row.counts + token, 2u);
    }
  });
  __syncthreads();
  ForEachToken(batch, row, [&](int, int32_t token) {
    const uint32_t count = atomicExch(row.counts + token, 0u);
    if (count != 0) {
      row.logits[token] = Penalized(row.logits[token], count, row);
    }
  });
}

}  // namespace

cudaError_t AdjustRows(const AdjustmentBatch& batch, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((batch.vocabulary + kThreads - 1) / kThreads),
                  static_cast<unsigned>(batch.count));
  CopyKernel<<<grid, kThreads, 0, stream>>>(batch);
  AdjustKernel<<<static_cast<unsigned>(batch.count), kThreads, 0, stream>>>(batch);
  return cudaGetLastError();
}

}  // namespace quire::ops::topk_topp_sampling
