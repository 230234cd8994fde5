#include "ops/topk_topp_sampling/cuda_sampler.h"

#include "ops/topk_topp_sampling/cuda_selector.cuh"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr uint32_t kAllLanes = 0xffffffffu;

__device__ int TokenOfKey(uint64_t key) {
  return static_cast<int>(key & 0xffffffffu);
}
__device__ Target RankOf(int rank) {
  return {Target::Kind::kCount, static_cast<uint64_t>(rank), 0.0f};
}

struct BlockStorage {
  SelectorStorage selector;
  uint64_t best[32];
  float least[32];
  uint64_t sums[32];
  int found;
  int appended;
};

// A row's largest and smallest finite logit, its best token and whether it holds a NaN.
struct RowRange {
  uint64_t best;
  float min;
  bool has_nan;
};

template <int kThreads>
__device__ __noinline__ RowRange RangeOf(BlockStorage& storage, const float* logits, int count) {
  float max = -INFINITY;
  float min = INFINITY;
  int token = 0;
  bool has_nan = false;
  ForEachLogit<kThreads>(logits, count, [&](float logit, int id) {
    has_nan |= isnan(logit);
    min = logit > -INFINITY ? fminf(min, logit) : min;
    if (logit > max) {  // the first of equals, since ids ascend
      max = logit;
      token = id;
    }
  });
  uint64_t best = DeviceKey(max, token);
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    best = ::min(best, __shfl_xor_sync(kAllLanes, best, step));
    min = fminf(min, __shfl_xor_sync(kAllLanes, min, step));
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) {
    storage.best[threadIdx.x / 32] = best;
    storage.least[threadIdx.x / 32] = min;
  }
  has_nan = __syncthreads_or(has_nan);
  for (int w = 0; w < kThreads / 32; ++w) {
    best = ::min(best, storage.best[w]);
    min = fminf(min, storage.least[w]);
  }
  return {best, min, has_nan};
}

// What a token weighs in a draw; of those behind `bound` nothing.
struct KeptWeight {
  const float* logits;
  float max;
  float scale;
  uint64_t least;
  uint64_t bound;

  __device__ uint64_t operator()(int token) const {
    const float logit = __ldg(logits + token);
    const uint64_t weight = DeviceWeight(logit, max, scale);
    return weight >= least && DeviceKey(logit, token) <= bound ? weight : 0;
  }
};

// The same where all tokens are kept.
struct WholeWeight {
  const float* logits;
  float max;
  float scale;

  __device__ uint64_t operator()(int token) const {
    return DeviceWeight(__ldg(logits + token), max, scale);
  }
};

// What is left of it when the draft's distribution is taken away.
struct ResidualWeight {
  KeptWeight target;
  double total;
  const float* draft_probs;

  __device__ uint64_t operator()(int token) const {
    const double p = __ddiv_rn(static_cast<double>(target(token)), total);
    const auto q = static_cast<double>(__ldg(draft_probs + token));
    return p > q ? static_cast<uint64_t>(__dmul_rn(__dsub_rn(p, q), 0x1p52)) : 0;
  }
};

__device__ bool IsProbability(float q) {
  return q >= 0.0f && q <= 1.0f;  // false for a NaN
}

// The sums of 32 runs of tokens, one for each warp or, with fewer warps, in turn; and their total.
template <int kThreads, typename Weight>
__device__ __noinline__ uint64_t SumRuns(BlockStorage& storage, int count, const Weight& weight) {
  const int lane = threadIdx.x % 32;
  const int run_length = (count + 31) / 32;
  __syncthreads();
  for (int run = threadIdx.x / 32; run < 32; run += kThreads / 32) {
    const int end = min(count, (run + 1) * run_length);
    uint64_t sum = 0;
#pragma unroll 8
    for (int i = run * run_length + lane; i < end; i += 32) {
      sum += weight(i);
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, step);
    }
    if (lane == 0) {
      storage.sums[run] = sum;
    }
  }
  __syncthreads();
  uint64_t total = 0;
  for (int run = 0; run < 32; ++run) {
    total += storage.sums[run];
  }
  return total;
}

// The first token in ascending order of ids at which the running sum reaches `wanted`. REQUIRES:
// SumRuns() of the same weights came before, and gave at least that.
template <int kThreads, typename Weight>
__device__ __noinline__ int DrawById(BlockStorage& storage, Selector<kThreads>& selector, int count,
                                     const Weight& weight, uint64_t wanted) {
  int run = 0;
  while (wanted > storage.sums[run]) {
    wanted -= storage.sums[run];
    ++run;
  }
  const int run_length = (count + 31) / 32;
  const int end = min(count, (run + 1) * run_length);
  const int share = (run_length + kThreads - 1) / kThreads;
  const int begin = run * run_length + static_cast<int>(threadIdx.x) * share;
  uint64_t own = 0;
  for (int i = begin; i < min(end, begin + share); ++i) {
    own += weight(i);
  }
  uint64_t before;
  selector.Scan(own, before);
  for (int i = begin; i < min(end, begin + share); ++i) {
    const uint64_t sum = before + weight(i);
    if (before < wanted && wanted <= sum) {
      storage.found = i;
    }
    before = sum;
  }
  __syncthreads();
  return storage.found;
}

// Takes away what is behind the border of top-k and top-p.
template <int kThreads>
__device__ void Filter(Selector<kThreads>& selector, const DeviceRow& row, int count, float max) {
  const auto apply_top_k = [&] {
    if (row.top_k > 0 && row.top_k < count) {
      selector.Limit(selector.Find({}, RankOf(row.top_k)));
    }
  };
  const auto apply_top_p = [&] {
    if (row.top_p < 1.0f) {
      selector.Limit(selector.Find({true, max, row.scale, 0}, {Target::Kind::kTopP, 0, row.top_p}));
    }
  };
  if (row.joint) {
    apply_top_p();
    apply_top_k();
  } else {
    apply_top_k();
    apply_top_p();
  }
}

// The draft if it stands, else its replacement; -1 if a probability is impossible.
template <int kThreads>
__device__ int AcceptOrReplace(BlockStorage& storage, Selector<kThreads>& selector,
                               const DeviceRow& row, int count, const KeptWeight& target) {
  const float q = row.draft_probs[row.draft];
  if (!IsProbability(q) || q == 0.0f) {
    return -1;
  }
  const uint64_t total = SumRuns<kThreads>(storage, count, target);
  const double p = __ddiv_rn(static_cast<double>(target(row.draft)), static_cast<double>(total));
  if (__dmul_rn(static_cast<double>(row.accept), static_cast<double>(q)) < p) {
    return row.draft;
  }
  bool impossible = false;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    impossible |= !IsProbability(row.draft_probs[i]) && target(i) > 0;
  }
  if (__syncthreads_or(impossible)) {
    return -1;
  }
  const ResidualWeight residual = {target, static_cast<double>(total), row.draft_probs};
  if (const uint64_t rest = SumRuns<kThreads>(storage, count, residual); rest > 0) {
    return DrawById(storage, selector, count, residual, DeviceDrawWeight(row.replace, rest));
  }
  SumRuns<kThreads>(storage, count, target);
  return DrawById(storage, selector, count, target, DeviceDrawWeight(row.replace, total));
}

// The token of a row that has a largest logit; -1 if a draft's probability is impossible.
template <int kThreads>
__device__ int DrawToken(BlockStorage& storage, const DeviceRow& row, const RowRange& range,
                         int count) {
  if (row.scale == 0.0f) {
    return TokenOfKey(range.best);
  }
  const float max = DeviceLogit(range.best);
  Selector<kThreads> selector(storage.selector, row.logits, count, max, range.min, row.scale);
  if (row.filters) {
    Filter(selector, row, count, max);
  }
  const KeptWeight target = {row.logits, max, row.scale, row.min_weight, selector.bound()};
  if (row.draft_probs != nullptr) {
    return AcceptOrReplace(storage, selector, row, count, target);
  }
  if (row.filters) {
    return TokenOfKey(selector.Find({true, max, row.scale, row.min_weight},
                                    {Target::Kind::kDraw, 0, row.uniform}));
  }
  const WholeWeight whole = {row.logits, max, row.scale};
  const uint64_t total = SumRuns<kThreads>(storage, count, whole);
  return DrawById(storage, selector, count, whole, DeviceDrawWeight(row.uniform, total));
}

// What log-probabilities need: of the logits without bias and penalties, at temperature 1.
template <int kThreads>
__device__ void FillLogprobs(BlockStorage& storage, const SamplerBatch& batch, const DeviceRow& row,
                             const RowRange& adjusted, DeviceDraw& draw) {
  constexpr float kScale = 0x1.715476p+0f;  // WeightScale(1)
  const RowRange range = row.original == row.logits
                             ? adjusted
                             : RangeOf<kThreads>(storage, row.original, batch.vocabulary);
  draw.max = DeviceLogit(range.best);
  draw.total =
      SumRuns<kThreads>(storage, batch.vocabulary, WholeWeight{row.original, draw.max, kScale});
  draw.logit = row.original[draw.token];
  if (row.top_logprobs == 0) {
    return;
  }
  Selector<kThreads> selector(storage.selector, row.original, batch.vocabulary, draw.max, range.min,
                              0.0f);
  selector.Limit(selector.Find({}, RankOf(row.top_logprobs)));
  if (threadIdx.x == 0) {
    storage.appended = 0;
  }
  __syncthreads();
  uint64_t* const keys = batch.keys + blockIdx.x * batch.key_stride;
  selector.ForEachKept([&](uint64_t key) { keys[atomicAdd(&storage.appended, 1)] = key; });
}

// A block draws a row.
template <int kThreads>
__global__ void __launch_bounds__(kThreads, kThreads == 1024 ? 1 : 2)
    SampleKernel(const SamplerBatch batch) {
  __shared__ BlockStorage storage;
  const DeviceRow row = batch.rows[blockIdx.x];
  const RowRange range = RangeOf<kThreads>(storage, row.logits, batch.vocabulary);
  const float max = DeviceLogit(range.best);
  DeviceDraw draw;
  draw.fault = range.has_nan ? RowFault::kNan
               : !isinf(max) ? RowFault::kNone
               : max > 0     ? RowFault::kInfinite
                             : RowFault::kMasked;
  if (draw.fault == RowFault::kNone) {
    draw.token = DrawToken<kThreads>(storage, row, range, batch.vocabulary);
    draw.bad_draft_prob = draw.token < 0;
    if (row.top_logprobs >= 0 && !draw.bad_draft_prob) {
      FillLogprobs<kThreads>(storage, batch, row, range, draw);
    }
  }
  if (threadIdx.x == 0) {
    batch.draws[blockIdx.x] = draw;
    if (batch.tokens != nullptr) {
      batch.tokens[blockIdx.x] = draw.token;
    }
  }
}

}  // namespace

cudaError_t SampleRows(const SamplerBatch& batch, cudaStream_t stream) {
  constexpr int kRowsOfWholeMultiprocessors = 132;
  if (batch.count <= kRowsOfWholeMultiprocessors) {
    SampleKernel<1024><<<static_cast<unsigned>(batch.count), 1024, 0, stream>>>(batch);
  } else {
    SampleKernel<512><<<static_cast<unsigned>(batch.count), 512, 0, stream>>>(batch);
  }
  return cudaGetLastError();
}

}  // namespace quire::ops::topk_topp_sampling
