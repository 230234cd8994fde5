#include "ops/cuda_rows.cuh"
#include "ops/moe_route/moe_route.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::moe_route {

namespace {

constexpr int kWarps = 4;           // of a block; each routes a token
constexpr int kMaxItems = 16;       // experts of a lane
constexpr int64_t kMaxChosen = 32;  // experts of a token: one for each lane
constexpr int kMaxGroups = 32;

template <typename T>
struct Job {
  const T* logits;
  const float* bias;  // or null
  int32_t* ids;
  float* weights;
  int64_t stride;
  int64_t tokens;
  int experts;
  int chosen;
  int group_size;
  int groups;
  int top_groups;
  Scoring scoring;
  bool renormalize;
  float scale;
};

// A number and its index such that the larger one is the better: a NaN is below every number, and
// of equal ones the first is best. 0 is worse than all.
__device__ uint64_t Ranked(float key, int index) {
  const uint32_t bits = __float_as_uint(key + 0.0f);  // -0 is 0
  const uint32_t order = (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
  return uint64_t{key == key ? order : 0u} << 32 | (0xffffffffu - static_cast<uint32_t>(index));
}
__device__ int IndexOf(uint64_t ranked) {
  return static_cast<int>(0xffffffffu - static_cast<uint32_t>(ranked));
}
__device__ float KeyOf(uint64_t ranked) {
  const auto order = static_cast<uint32_t>(ranked >> 32);
  const uint32_t bits = (order & 0x80000000) != 0 ? order & 0x7fffffff : ~order;
  return order == 0 ? NAN : __uint_as_float(bits);
}

__device__ uint64_t WarpMax(uint64_t value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(0xffffffff, value, offset);
    value = other > value ? other : value;
  }
  return value;
}
__device__ float WarpMax(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, offset));
  }
  return value;
}

__device__ float Sigmoid(float x) {
  return static_cast<float>(1.0 / (1.0 + exp(-static_cast<double>(x))));
}

// The experts of a token; lane l has l, l + 32, ...
struct Keys {
  uint64_t ranked[kMaxItems];  // 0: not to be chosen

  // The best below `bound`, in all lanes; `of` says whether an expert counts.
  template <typename Of>
  __device__ uint64_t BestBelow(uint64_t bound, const Of& of) const {
    uint64_t best = 0;
#pragma unroll
    for (int i = 0; i < kMaxItems; ++i) {
      if (ranked[i] < bound && ranked[i] > best && of(IndexOf(ranked[i]))) {
        best = ranked[i];
      }
    }
    return WarpMax(best);
  }
};

template <typename T>
__device__ uint64_t GroupScore(const Job<T>& job, const Keys& keys, int group) {
  const auto of_group = [&](int expert) { return expert / job.group_size == group; };
  const uint64_t best = keys.BestBelow(~uint64_t{0}, of_group);
  if (job.scoring != Scoring::kSigmoid || job.group_size == 1) {
    return Ranked(KeyOf(best), group);
  }
  return Ranked(KeyOf(best) + KeyOf(keys.BestBelow(best, of_group)), group);
}

// A bit for each group that can be chosen from.
template <typename T>
__device__ uint32_t OpenGroups(const Job<T>& job, const Keys& keys) {
  if (job.groups == job.top_groups) {
    return 0xffffffff;
  }
  uint64_t mine = 0;  // lane g has the score of group g
  for (int group = 0; group < job.groups; ++group) {
    const uint64_t score = GroupScore(job, keys, group);
    mine = group == static_cast<int>(threadIdx.x % 32) ? score : mine;
  }
  uint32_t open = 0;
  for (int i = 0; i < job.top_groups; ++i) {
    const uint64_t best = WarpMax(mine);
    open |= 1u << IndexOf(best);
    mine = mine == best ? 0 : mine;
  }
  return open;
}

// What a softmax over `logit` of the lanes' experts divides exp(logit - max) by.
template <typename T>
__device__ float SoftmaxSum(const Job<T>& job, const T* logits, float max) {
  float sum = 0;
  for (int expert = static_cast<int>(threadIdx.x % 32); expert < job.experts; expert += 32) {
    sum += expf(Widen(logits[expert]) - max);
  }
  return GroupSum(sum, 32);
}

// Weight of this lane's chosen expert. Lanes without one have a logit of minus infinity.
template <typename T>
__device__ float WeightOf(const Job<T>& job, const T* logits, float logit, float max) {
  const bool has_one = static_cast<int>(threadIdx.x % 32) < job.chosen;
  if (job.scoring == Scoring::kTopKSoftmax) {
    const float best = WarpMax(logit);
    const float power = has_one ? expf(logit - best) : 0.0f;
    return power / GroupSum(power, 32) * job.scale;
  }
  const bool sigmoid = job.scoring == Scoring::kSigmoid;
  float weight = sigmoid ? Sigmoid(logit) : expf(logit - max) / SoftmaxSum(job, logits, max);
  weight = has_one ? weight : 0.0f;
  const float sum = GroupSum(weight, 32) + (sigmoid ? 1e-20f : 0.0f);
  return (job.renormalize ? weight / sum : weight) * job.scale;
}

template <typename T>
__global__ void __launch_bounds__(32 * kWarps) RouteTokens(Job<T> job) {
  const int64_t token = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (token >= job.tokens) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const T* logits = job.logits + token * job.stride;
  Keys keys;
  float max = -INFINITY;
#pragma unroll
  for (int i = 0; i < kMaxItems; ++i) {
    const int expert = lane + 32 * i;
    keys.ranked[i] = 0;
    if (expert < job.experts) {
      float key = Widen(logits[expert]);
      max = fmaxf(max, key);
      if (job.scoring == Scoring::kSigmoid) {
        key = Sigmoid(key) + (job.bias != nullptr ? job.bias[expert] : 0.0f);
      }
      keys.ranked[i] = Ranked(key, expert);
    }
  }
  const uint32_t open = OpenGroups(job, keys);
  const auto can_be_chosen = [&](int expert) {
    return (open >> (expert / job.group_size) & 1) != 0;
  };
  const bool all = open == 0xffffffff;
  uint64_t bound = ~uint64_t{0};
  int mine = 0;
  for (int j = 0; j < job.chosen; ++j) {
    bound = keys.BestBelow(bound, [&](int expert) { return all || can_be_chosen(expert); });
    mine = lane == j ? IndexOf(bound) : mine;
  }
  const float logit = lane < job.chosen ? Widen(logits[mine]) : -INFINITY;
  const float weight = WeightOf(job, logits, logit, WarpMax(max));
  if (lane < job.chosen) {
    job.ids[token * job.chosen + lane] = mine;
    job.weights[token * job.chosen + lane] = weight;
  }
}

Status RunRouteTokens(const OpContext& context, const Args& args) {
  const int64_t tokens = args.logits.dim(0);
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  WithPlainType(args.logits.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto experts = static_cast<int>(args.logits.dim(1));
    const Job<T> job = {.logits = args.logits.as<T>(),
                        .bias = args.bias.defined() ? args.bias.as<float>() : nullptr,
                        .ids = args.ids.as<int32_t>(),
                        .weights = args.weights.as<float>(),
                        .stride = args.logits.stride(0),
                        .tokens = tokens,
                        .experts = experts,
                        .chosen = static_cast<int>(args.ids.dim(1)),
                        .group_size = experts / args.groups,
                        .groups = args.groups,
                        .top_groups = args.top_groups,
                        .scoring = args.scoring,
                        .renormalize = args.renormalize,
                        .scale = args.scale};
    const auto blocks = static_cast<unsigned>((tokens + kWarps - 1) / kWarps);
    RouteTokens<<<blocks, 32 * kWarps, 0, stream>>>(job);
  });
  return LaunchStatus("moe_route");
}

bool FitsAWarp(const OpContext&, const Args& args) {
  return args.logits.dim(1) <= 32 * kMaxItems && args.ids.dim(1) <= kMaxChosen &&
         args.groups <= kMaxGroups;
}

}  // namespace

Implementations CudaImplementations() {
  return {{"warp_per_token", FitsAWarp, RunRouteTokens}};
}

}  // namespace quire::ops::moe_route
