// Device code: a block finds tokens by their rank, or by the weight of all up to them, without
// sorting.
//
// The tokens of a row in their order (descending logit, ties by ascending id) are cut into bins by
// the distance of their logit to the largest. A histogram of counts or weights says in which bin a
// rank or a share of the weight lies; the tokens of that bin are then gathered and compared with
// one another, or, where they are too many, cut again by the bits of their keys. Once the tokens
// up to a bin are few they are kept as a list in shared memory, which stands for the row.
#pragma once

#include <cstdint>

#include "ops/topk_topp_sampling/cuda_weight.cuh"

namespace quire::ops::topk_topp_sampling {

inline constexpr int kBins = 2048;
inline constexpr int kSmall = 512;      // tokens that are compared with one another
inline constexpr int kListed = 3072;    // tokens that are kept in shared memory
inline constexpr float kRange = 42.0f;  // 2^-42 has no weight

struct SelectorStorage {
  union {
    struct {
      uint32_t low[kBins];
      uint32_t high[kBins];
    } bins;
    struct {
      uint64_t key[kSmall];
      uint64_t value[kSmall];
    } small;
  };
  uint64_t list[kListed];
  uint64_t warp_sums[32];
  uint64_t found[4];
  int counters[2];
};

// Calls body(logit, id) for the threads' shares of a row, in ascending id for each thread.
template <int kThreads, typename Body>
__device__ void ForEachLogit(const float* logits, int count, const Body& body) {
  constexpr int kUnroll = 4;
  const auto misaligned = static_cast<int>(reinterpret_cast<uintptr_t>(logits) / 4 % 4);
  const int head = min(count, (4 - misaligned) % 4);
  for (int i = threadIdx.x; i < head; i += kThreads) {
    body(__ldg(logits + i), i);
  }
  const auto* quads = reinterpret_cast<const float4*>(logits + head);
  const int num_quads = (count - head) / 4;
  for (int first = threadIdx.x; first < num_quads; first += kUnroll * kThreads) {
    float4 values[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int quad = first + u * kThreads;
      values[u] = quad < num_quads ? __ldg(quads + quad) : float4{0, 0, 0, 0};
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int quad = first + u * kThreads;
      if (quad < num_quads) {
        const int id = head + 4 * quad;
        body(values[u].x, id);
        body(values[u].y, id + 1);
        body(values[u].z, id + 2);
        body(values[u].w, id + 3);
      }
    }
  }
  for (int i = head + 4 * num_quads + threadIdx.x; i < count; i += kThreads) {
    body(__ldg(logits + i), i);
  }
}

// What is added up: one for each token, or its weight if that is at least `least`.
struct Measure {
  bool weighs = false;
  float max = 0;
  float scale = 0;
  uint64_t least = 0;

  __device__ uint64_t Of(float logit) const {
    if (!weighs) {
      return 1;
    }
    const uint64_t weight = DeviceWeight(logit, max, scale);
    return weight >= least ? weight : 0;
  }
};

// What their running sum must reach.
struct Target {
  enum class Kind : uint8_t { kCount, kTopP, kDraw };
  Kind kind = Kind::kCount;
  uint64_t count = 0;  // kCount
  float fraction = 0;  // top_p, or the uniform number of the draw

  __device__ uint64_t Of(uint64_t total) const {
    switch (kind) {
      case Kind::kTopP: return DeviceTopPWeight(fraction, total);
      case Kind::kDraw: return DeviceDrawWeight(fraction, total);
      default: return count;
    }
  }
};

// All threads of a block call everything together.
template <int kThreads>
class Selector {
 public:
  __device__ Selector(SelectorStorage& storage, const float* logits, int count, float max,
                      float min, float scale)
      : s_(storage), logits_(logits), count_(count), max_(max) {
    const float range = fminf(max - min, scale > 0 ? kRange / scale : max - min);
    factor_ = range > 0 ? fminf((kBins - 1) / range, 3e38f) : 0.0f;
  }

  // Tokens behind `key` no longer count.
  __device__ void Limit(uint64_t key) { bound_ = min(bound_, key); }
  __device__ uint64_t bound() const { return bound_; }

  // The first key at which the running sum of `measure` reaches `target`, or bound() if the total
  // is less.
  __device__ __noinline__ uint64_t Find(const Measure& measure, const Target& target) {
    ClearBins();
    ForEachKept([&](uint64_t key) {
      const float logit = DeviceLogit(key);
      Add(BinOf(logit), measure.Of(logit));
    });
    const uint64_t total = ScanBins();
    const uint64_t wanted = target.Of(total);
    if (wanted > total) {
      return bound_;
    }
    const Place place = PlaceOf(wanted);
    if (GatherBin(place.bin)) {
      return Resolve(measure, wanted - place.before);
    }
    return FindInBin(measure, place.bin, wanted - place.before);
  }

  // Calls body(key) for each token up to bound().
  template <typename Body>
  __device__ void ForEachKept(const Body& body) {
    if (listed_ < 0) {
      ForEachLogit<kThreads>(logits_, count_, [&](float logit, int id) {
        if (const uint64_t key = DeviceKey(logit, id); key <= bound_) {
          body(key);
        }
      });
      return;
    }
    for (int i = threadIdx.x; i < listed_; i += kThreads) {
      if (const uint64_t key = s_.list[i]; key <= bound_) {
        body(key);
      }
    }
  }

  // The sum of the threads' values and, in `before`, of those of the threads before.
  __device__ uint64_t Scan(uint64_t value, uint64_t& before) {
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    uint64_t sum = value;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const uint64_t other = __shfl_up_sync(0xffffffffu, sum, step);
      sum += lane >= step ? other : 0;
    }
    __syncthreads();
    if (lane == 31) {
      s_.warp_sums[warp] = sum;
    }
    __syncthreads();
    uint64_t total = 0;
    before = sum - value;
    for (int w = 0; w < kThreads / 32; ++w) {
      before += w < warp ? s_.warp_sums[w] : 0;
      total += s_.warp_sums[w];
    }
    return total;
  }

 private:
  struct Place {
    int bin;
    uint64_t before;  // the sum of the bins before
  };

  __device__ int BinOf(float logit) const {
    return static_cast<int>(fminf((max_ - logit) * factor_, kBins - 1.0f));
  }

  __device__ void ClearBins() {
    __syncthreads();
    for (int i = threadIdx.x; i < kBins; i += kThreads) {
      s_.bins.low[i] = 0;
      s_.bins.high[i] = 0;
    }
    __syncthreads();
  }

  __device__ void Add(int bin, uint64_t value) {
    if (value == 0) {
      return;
    }
    const auto low = static_cast<uint32_t>(value);
    const uint32_t old = atomicAdd(&s_.bins.low[bin], low);
    const uint32_t high = static_cast<uint32_t>(value >> 32) + (old + low < old ? 1 : 0);
    if (high > 0) {
      atomicAdd(&s_.bins.high[bin], high);
    }
  }

  __device__ uint64_t BinSum(int bin) const {
    return static_cast<uint64_t>(s_.bins.high[bin]) << 32 | s_.bins.low[bin];
  }

  // The total of the bins; each thread keeps the sum before its own.
  __device__ uint64_t ScanBins() {
    __syncthreads();
    uint64_t own = 0;
    for (int i = 0; i < kBins / kThreads; ++i) {
      own += BinSum(threadIdx.x * (kBins / kThreads) + i);
    }
    return Scan(own, before_);
  }

  // The bin at which the running sum reaches `wanted`. REQUIRES: ScanBins() gave at least that.
  __device__ Place PlaceOf(uint64_t wanted) {
    uint64_t before = before_;
    for (int i = 0; i < kBins / kThreads; ++i) {
      const int bin = threadIdx.x * (kBins / kThreads) + i;
      const uint64_t sum = BinSum(bin);
      if (before < wanted && wanted <= before + sum) {
        s_.found[0] = static_cast<uint64_t>(bin);
        s_.found[1] = before;
      }
      before += sum;
    }
    __syncthreads();
    const Place place = {static_cast<int>(s_.found[0]), s_.found[1]};
    __syncthreads();
    return place;
  }

  // Puts `key` at the end of an array of `size` unless it is full; `counter` goes on to size + 1.
  __device__ static void Append(uint64_t key, uint64_t* array, int size, int& counter) {
    if (*static_cast<volatile int*>(&counter) > size) {
      return;
    }
    const int at = atomicAdd(&counter, 1);
    if (at < size) {
      array[at] = key;
    }
  }

  // Gathers the tokens of `bin`, and lists those up to it if that is not done and they are few.
  // Whether the bin's tokens are few.
  __device__ bool GatherBin(int bin) {
    __syncthreads();
    if (threadIdx.x < 2) {
      s_.counters[threadIdx.x] = 0;
    }
    __syncthreads();
    const bool lists = listed_ < 0;
    ForEachKept([&](uint64_t key) {
      const int own = BinOf(DeviceLogit(key));
      if (own > bin) {
        return;
      }
      if (lists) {
        Append(key, s_.list, kListed, s_.counters[1]);
      }
      if (own == bin) {
        Append(key, s_.small.key, kSmall, s_.counters[0]);
      }
    });
    __syncthreads();
    if (lists && s_.counters[1] <= kListed) {
      listed_ = s_.counters[1];
    }
    return s_.counters[0] <= kSmall;
  }

  // The token among the gathered ones at which their running sum reaches `wanted`.
  __device__ uint64_t Resolve(const Measure& measure, uint64_t wanted) {
    const int count = s_.counters[0];
    for (int i = threadIdx.x; i < count; i += kThreads) {
      s_.small.value[i] = measure.Of(DeviceLogit(s_.small.key[i]));
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += kThreads) {
      const uint64_t key = s_.small.key[i];
      uint64_t before = 0;
      for (int j = 0; j < count; ++j) {
        before += s_.small.key[j] < key ? s_.small.value[j] : 0;
      }
      if (before < wanted && wanted <= before + s_.small.value[i]) {
        s_.found[2] = key;
      }
    }
    __syncthreads();
    return s_.found[2];
  }

  // The same for a bin of many tokens, whose range of keys is cut again and again.
  __device__ __noinline__ uint64_t FindInBin(const Measure& measure, int bin, uint64_t wanted) {
    uint64_t first;
    uint64_t last;
    KeyRange(bin, first, last);
    while (true) {
      int shift = 0;
      while ((last - first) >> shift >= kBins) {
        ++shift;
      }
      ClearBins();
      ForEachIn(first, last, [&](uint64_t key) {
        Add(static_cast<int>((key - first) >> shift), measure.Of(DeviceLogit(key)));
      });
      ScanBins();
      const Place place = PlaceOf(wanted);
      wanted -= place.before;
      first += static_cast<uint64_t>(place.bin) << shift;
      last = min(last, first + (uint64_t{1} << shift) - 1);
      if (first == last) {
        return first;
      }
      if (threadIdx.x == 0) {
        s_.counters[0] = 0;
      }
      __syncthreads();
      ForEachIn(first, last,
                [&](uint64_t key) { Append(key, s_.small.key, kSmall, s_.counters[0]); });
      __syncthreads();
      if (s_.counters[0] <= kSmall) {
        return Resolve(measure, wanted);
      }
    }
  }

  template <typename Body>
  __device__ void ForEachIn(uint64_t first, uint64_t last, const Body& body) {
    ForEachKept([&](uint64_t key) {
      if (first <= key && key <= last) {
        body(key);
      }
    });
  }

  // The first and last key in a bin.
  __device__ void KeyRange(int bin, uint64_t& first, uint64_t& last) {
    __syncthreads();
    if (threadIdx.x == 0) {
      s_.found[2] = ~uint64_t{0};
      s_.found[3] = 0;
    }
    __syncthreads();
    uint64_t low = ~uint64_t{0};
    uint64_t high = 0;
    ForEachKept([&](uint64_t key) {
      if (BinOf(DeviceLogit(key)) == bin) {
        low = min(low, key);
        high = max(high, key);
      }
    });
    atomicMin(reinterpret_cast<unsigned long long*>(&s_.found[2]), low);
    atomicMax(reinterpret_cast<unsigned long long*>(&s_.found[3]), high);
    __syncthreads();
    first = s_.found[2];
    last = s_.found[3];
    __syncthreads();
  }

  SelectorStorage& s_;
  const float* logits_;
  int count_;
  float max_;
  float factor_;
  uint64_t bound_ = ~uint64_t{0};
  uint64_t before_ = 0;
  int listed_ = -1;  // tokens in the list, which then stands for the row
};

}  // namespace quire::ops::topk_topp_sampling
