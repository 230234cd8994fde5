#include "ops/cuda_rows.cuh"
#include "ops/moe_route/moe_route.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::moe_route {

namespace {

constexpr int kWarps = 4;      // of a block; each routes a token
constexpr int kMaxItems = 32;  // experts of a lane
constexpr int kMaxGroups = 32;
constexpr uint32_t kAllOpen = 0xffffffff;

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
template <int kItems>
struct Keys {
  uint64_t ranked[kItems];  // 0: not to be chosen

  // The best below `bound`, in all lanes; `of` says whether an expert counts.
  template <typename Of>
  __device__ uint64_t BestBelow(uint64_t bound, const Of& of) const {
    uint64_t best = 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (ranked[i] < bound && ranked[i] > best && of(IndexOf(ranked[i]))) {
        best = ranked[i];
      }
    }
    return WarpMax(best);
  }
};

template <typename T, int kItems>
__device__ uint64_t GroupScore(const Job<T>& job, const Keys<kItems>& keys, int group) {
  const auto of_group = [&](int expert) { return expert / job.group_size == group; };
  const uint64_t best = keys.BestBelow(~uint64_t{0}, of_group);
  if (job.scoring != Scoring::kSigmoid || job.group_size == 1) {
    return Ranked(KeyOf(best), group);
  }
  return Ranked(KeyOf(best) + KeyOf(keys.BestBelow(best, of_group)), group);
}

// A bit for each group that can be chosen from.
template <typename T, int kItems>
__device__ uint32_t OpenGroups(const Job<T>& job, const Keys<kItems>& keys) {
  if (job.groups == job.top_groups) {
    return kAllOpen;
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

// The sum over `count` indices of what `of` makes of each, in all lanes.
template <typename Of>
__device__ float WarpSum(int count, const Of& of) {
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x % 32); i < count; i += 32) {
    sum += of(i);
  }
  return GroupSum(sum, 32);
}

// Writes the weights of the chosen `ids`. `max` is the largest logit.
template <typename T>
__device__ void WriteWeights(const Job<T>& job, const T* logits, const int32_t* ids, float max,
                             float* weights) {
  const auto logit = [&](int j) { return Widen(logits[ids[j]]); };
  float divisor = 1.0f;
  if (job.scoring == Scoring::kTopKSoftmax) {
    float best = -INFINITY;
    for (int j = static_cast<int>(threadIdx.x % 32); j < job.chosen; j += 32) {
      best = fmaxf(best, logit(j));
    }
    max = WarpMax(best);
    divisor = WarpSum(job.chosen, [&](int j) { return expf(logit(j) - max); });
  } else if (job.scoring == Scoring::kSoftmax) {
    divisor = WarpSum(job.experts, [&](int e) { return expf(Widen(logits[e]) - max); });
  }
  const bool sigmoid = job.scoring == Scoring::kSigmoid;
  const auto weight = [&](int j) {
    return sigmoid ? Sigmoid(logit(j)) : expf(logit(j) - max) / divisor;
  };
  float sum = 1.0f;
  if (job.renormalize && job.scoring != Scoring::kTopKSoftmax) {
    sum = WarpSum(job.chosen, weight) + (sigmoid ? 1e-20f : 0.0f);
  }
  for (int j = static_cast<int>(threadIdx.x % 32); j < job.chosen; j += 32) {
    weights[j] = weight(j) / sum * job.scale;
  }
}

template <typename T, int kItems>
__global__ void __launch_bounds__(32 * kWarps) RouteTokens(Job<T> job) {
  const int64_t token = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (token >= job.tokens) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const T* logits = job.logits + token * job.stride;
  Keys<kItems> keys;
  float max = -INFINITY;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
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
    return open == kAllOpen || (open >> (expert / job.group_size) & 1) != 0;
  };
  int32_t* ids = job.ids + token * job.chosen;
  uint64_t bound = ~uint64_t{0};
  for (int j = 0; j < job.chosen; ++j) {
    bound = keys.BestBelow(bound, can_be_chosen);
    if (lane == 0) {
      ids[j] = IndexOf(bound);
    }
  }
  __syncwarp();
  WriteWeights(job, logits, ids, WarpMax(max), job.weights + token * job.chosen);
}

// Calls body with the constant number of experts that a lane has.
template <typename Body>
void WithItems(int experts, const Body& body) {
  if (experts <= 128) {
    body(std::integral_constant<int, 4>());
  } else if (experts <= 256) {
    body(std::integral_constant<int, 8>());
  } else {
    body(std::integral_constant<int, kMaxItems>());
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
    WithItems(experts, [&](auto items) {
      RouteTokens<T, items.value><<<blocks, 32 * kWarps, 0, stream>>>(job);
    });
  });
  return LaunchStatus("moe_route");
}

bool FitsAWarp(const OpContext&, const Args& args) {
  return args.logits.dim(1) <= 32 * kMaxItems && args.groups <= kMaxGroups;
}

}  // namespace

Implementations CudaImplementations() {
  return {{"warp_per_token", FitsAWarp, RunRouteTokens}};
}

}  // namespace quire::ops::moe_route
