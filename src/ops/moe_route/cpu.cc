// Scores become integers that order like them, with NaN below all numbers and what is taken or
// closed below NaN; the best is found by as many scans as there are choices.
#include <cstring>
#include <limits>

#include "ops/cpu_convert.h"
#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "ops/moe_route/moe_route.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::moe_route {

namespace {

constexpr int64_t kMaxExperts = 1024;
constexpr int kPartialSums = 16;  // every width adds in the order of 16 lanes
constexpr int32_t kClosed = std::numeric_limits<int32_t>::min();
constexpr int32_t kNan = kClosed + 1;

// The scores of one token, padded to a multiple of 16.
struct Token {
  alignas(64) float values[kMaxExperts];  // logits, then unnormalized weights
  alignas(64) int32_t keys[kMaxExperts];
};

// Integers that order like v; -0 is 0.
template <int kLanes>
[[gnu::always_inline]] inline void KeysOf(const typename Lanes<kLanes>::Float& v,
                                          typename Lanes<kLanes>::Int& keys) {
  using Int = typename Lanes<kLanes>::Int;
  const typename Lanes<kLanes>::Float value = v + 0.0f;
  std::memcpy(&keys, &value, sizeof(keys));
  keys ^= (keys >> 31) & 0x7fffffff;
  keys = value == value ? keys : Int{} + kNan;
}

inline float ValueOf(int32_t key) {
  if (key <= kNan) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  const int32_t bits = key ^ ((key >> 31) & 0x7fffffff);
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// The place of the largest of keys [begin, end), the first of equals.
template <int kLanes>
[[gnu::always_inline]] inline int64_t LargestKey(const int32_t* keys, int64_t begin, int64_t end) {
  using Int = typename Lanes<kLanes>::Int;
  int64_t best = begin;
  int64_t i = begin;
  if (end - begin >= 2 * kLanes) {
    Int largest;
    std::memcpy(&largest, keys + begin, sizeof(largest));
    Int place = {};
    for (i = begin + kLanes; i + kLanes <= end; i += kLanes) {
      Int v;
      std::memcpy(&v, keys + i, sizeof(v));
      const Int greater = v > largest;
      largest = greater ? v : largest;
      place = greater ? Int{} + static_cast<int32_t>(i - begin) : place;
    }
    int32_t best_key = largest[0];
    best = begin + place[0];
    for (int lane = 1; lane < kLanes; ++lane) {
      const int64_t at = begin + place[lane] + lane;
      if (largest[lane] > best_key || (largest[lane] == best_key && at < best)) {
        best_key = largest[lane];
        best = at;
      }
    }
  }
  for (; i < end; ++i) {
    best = keys[i] > keys[best] ? i : best;
  }
  return best;
}

// keys of the experts by the order of choice; for sigmoid scores, values become the scores.
template <int kLanes>
[[gnu::always_inline]] inline void MakeKeys(const Args& args, int64_t experts, Token& token) {
  using Float = typename Lanes<kLanes>::Float;
  const float* bias = args.bias.defined() ? args.bias.as<const float>() : nullptr;
  for (int64_t i = 0; i < experts; i += kLanes) {
    Float v;
    Load(token.values + i, v);
    if (args.scoring == Scoring::kSigmoid) {
      Float power;
      Exp<kLanes>(-v, power);
      v = 1.0f / (power + 1.0f);
      Store(v, token.values + i);
      if (bias != nullptr && i + kLanes <= experts) {
        Float add;
        Load(bias + i, add);
        v = v + add;
      } else if (bias != nullptr) {
        Float add;
        LoadPart(bias + i, experts - i, add);
        v = v + add;
      }
    }
    typename Lanes<kLanes>::Int keys;
    KeysOf<kLanes>(v, keys);
    std::memcpy(token.keys + i, &keys, sizeof(keys));
  }
}

// Closes all groups but the best.
template <int kLanes>
[[gnu::always_inline]] inline void CloseGroups(const Args& args, int64_t experts, Token& token) {
  const int64_t size = experts / args.groups;
  int32_t scores[kMaxExperts];
  for (int64_t g = 0; g < args.groups; ++g) {
    const int64_t begin = g * size;
    const int64_t first = LargestKey<kLanes>(token.keys, begin, begin + size);
    scores[g] = token.keys[first];
    if (args.scoring == Scoring::kSigmoid && size > 1) {
      token.keys[first] = kClosed;
      const int64_t second = LargestKey<kLanes>(token.keys, begin, begin + size);
      token.keys[first] = scores[g];
      typename Lanes<kLanes>::Float sum = {};
      sum[0] = ValueOf(scores[g]) + ValueOf(token.keys[second]);
      typename Lanes<kLanes>::Int key;
      KeysOf<kLanes>(sum, key);
      scores[g] = key[0];
    }
  }
  bool open[kMaxExperts] = {};
  for (int i = 0; i < args.top_groups; ++i) {
    const int64_t best = LargestKey<kLanes>(scores, 0, args.groups);
    open[best] = true;
    scores[best] = kClosed;
  }
  for (int64_t e = 0; e < experts; ++e) {
    token.keys[e] = open[e / size] ? token.keys[e] : kClosed;
  }
}

inline float SumOfPartials(float (&partial)[kPartialSums]) {
  for (int half = kPartialSums / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      partial[i] += partial[i + half];
    }
  }
  return partial[0];
}

// values become e^(value - max); returns their sum. The padding beyond `count` is written.
template <int kLanes>
[[gnu::always_inline]] inline float Exponentials(float* values, int64_t count, float max) {
  using Float = typename Lanes<kLanes>::Float;
  float partial[kPartialSums] = {};
  for (int64_t block = 0; block < count; block += kPartialSums) {
    for (int64_t i = block; i < block + kPartialSums; i += kLanes) {
      Float v;
      Load(values + i, v);
      v = v - max;
      Float power;
      Exp<kLanes>(v, power);
      Store(power, values + i);
    }
    for (int64_t i = block; i < block + kPartialSums && i < count; ++i) {
      partial[i - block] += values[i];
    }
  }
  return SumOfPartials(partial);
}

// The largest that is not a NaN, -infinity if there is none.
inline float LargestOf(const float* values, int64_t count) {
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; ++i) {
    max = values[i] > max ? values[i] : max;
  }
  return max;
}

template <int kLanes>
[[gnu::always_inline]] inline void RouteToken(const Args& args, int32_t* ids, float* weights,
                                              Token& token) {
  const int64_t experts = args.logits.dim(1);
  const int64_t k = args.ids.dim(1);
  MakeKeys<kLanes>(args, experts, token);
  if (args.groups > 1) {
    CloseGroups<kLanes>(args, experts, token);
  }
  float divisor = 1.0f;
  if (args.scoring == Scoring::kSoftmax) {
    divisor = Exponentials<kLanes>(token.values, experts, LargestOf(token.values, experts));
  }
  float chosen[kMaxExperts + kPartialSums];
  std::memset(chosen + k, 0, kPartialSums * sizeof(float));
  float sum = 0.0f;
  for (int64_t j = 0; j < k; ++j) {
    const int64_t best = LargestKey<kLanes>(token.keys, 0, experts);
    token.keys[best] = kClosed;
    ids[j] = static_cast<int32_t>(best);
    chosen[j] = token.values[best] / divisor;
    sum += chosen[j];
  }
  if (args.scoring == Scoring::kTopKSoftmax) {
    divisor = Exponentials<kLanes>(chosen, k, LargestOf(chosen, k));
    for (int64_t j = 0; j < k; ++j) {
      chosen[j] /= divisor;
    }
    sum = 1.0f;
  }
  if (args.scoring == Scoring::kSigmoid) {
    sum += 1e-20f;
  }
  for (int64_t j = 0; j < k; ++j) {
    weights[j] = (args.renormalize ? chosen[j] / sum : chosen[j]) * args.scale;
  }
}

void RouteBaseline(const Args& args, int32_t* ids, float* weights, Token& token) {
  RouteToken<kBaselineLanes>(args, ids, weights, token);
}

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
void RouteAvx2(const Args& args, int32_t* ids, float* weights, Token& token) {
  RouteToken<kAvx2Lanes>(args, ids, weights, token);
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
void RouteAvx512(const Args& args, int32_t* ids, float* weights, Token& token) {
  RouteToken<kAvx512Lanes>(args, ids, weights, token);
}
QUIRE_END_TARGET
#endif

template <CpuIsa kIsa>
bool Accepts(const OpContext& context, const Args& args) {
  return DeviceHas<kIsa>(context, args) && args.logits.dim(1) <= kMaxExperts;
}

template <CpuIsa kIsa, void (*kRoute)(const Args&, int32_t*, float*, Token&)>
Status RunRows(const OpContext& context, const Args& args) {
  const int64_t experts = args.logits.dim(1);
  const int64_t k = args.ids.dim(1);
  const ConvertFunction widen = ConverterOf(kIsa, args.logits.dtype(), DType::kF32);
  ForRowRanges(context, args.logits.dim(0), experts * (2 + k), [&](int64_t begin, int64_t end) {
    Token token;
    std::memset(&token, 0, sizeof(token));
    for (int64_t t = begin; t < end; ++t) {
      const auto* row = static_cast<const uint8_t*>(args.logits.data()) +
                        BytesOf(args.logits.dtype(), t * args.logits.stride(0));
      widen(row, experts, token.values);
      kRoute(args, args.ids.as<int32_t>() + t * k, args.weights.as<float>() + t * k, token);
    }
  });
  return OkStatus();
}

constexpr std::string_view kTypes = "f32, f16, bf16";

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", Accepts<CpuIsa::kAvx512>, RunRows<CpuIsa::kAvx512, RouteAvx512>, kTypes},
      {"avx2", Accepts<CpuIsa::kAvx2>, RunRows<CpuIsa::kAvx2, RouteAvx2>, kTypes},
#endif
      {"vectorized", Accepts<CpuIsa::kBaseline>, RunRows<CpuIsa::kBaseline, RouteBaseline>, kTypes},
  };
}

}  // namespace quire::ops::moe_route
