// Problems of reshape_and_cache, shared by its test and its benchmark. No product code includes
// this.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"

namespace quire::ops::reshape_and_cache {

struct Case {
  std::string name;
  int32_t tokens = 17;
  int32_t kv_heads = 3;
  int32_t head_dim = 64;
  int32_t page_size = 16;
  DType cache_type = DType::kF16;
  DType slot_type = DType::kI64;
  int32_t head_gap = 0;  // elements between the heads of the inputs
};

// A case with its memory: the tokens' slots are drawn from twice as many, every fifth token is
// skipped, and the inputs hold every kind of number that a conversion treats apart.
class Problem {
 public:
  Problem(const Case& problem, uint64_t seed)
      : case_(problem),
        key_({problem.tokens, problem.kv_heads, problem.head_dim},
             problem.head_dim + problem.head_gap),
        value_({problem.tokens, problem.kv_heads, problem.head_dim},
               problem.head_dim + problem.head_gap),
        num_pages_(2 * problem.tokens / problem.page_size + 1),
        k_({BytesOf(problem.cache_type, Elements())}),
        v_({BytesOf(problem.cache_type, Elements())}) {
    std::mt19937_64 rng(seed);
    FillInput(rng, key_);
    FillInput(rng, value_);
    slots_.resize(static_cast<size_t>(num_pages_ * problem.page_size));
    std::iota(slots_.begin(), slots_.end(), 0);
    std::shuffle(slots_.begin(), slots_.end(), rng);
    slots_.resize(static_cast<size_t>(problem.tokens));
    for (size_t token = 2; token < slots_.size(); token += 5) {
      slots_[token] = token % 2 == 0 ? -1 : -70000;
    }
    short_slots_.assign(slots_.begin(), slots_.end());
  }

  Args args() {
    Args args;
    args.key = key_.View(DType::kF32);
    args.value = value_.View(DType::kF32);
    void* slots = case_.slot_type == DType::kI32 ? static_cast<void*>(short_slots_.data())
                                                 : static_cast<void*>(slots_.data());
    args.slot_mapping = TensorView(slots, case_.slot_type, {case_.tokens});
    args.cache = {k_.data(),      v_.data(),       case_.cache_type, num_pages_,
                  case_.kv_heads, case_.page_size, case_.head_dim,   Place::Host()};
    return args;
  }
  std::vector<int64_t>& slots() { return slots_; }
  int64_t num_slots() const { return num_pages_ * case_.page_size; }
  GuardedArray<uint8_t>& k() { return k_; }
  GuardedArray<uint8_t>& v() { return v_; }
  void ClearCache() {
    k_.Assign(std::vector<uint8_t>(k_.Values().size(), 0x5a));
    v_.Assign(std::vector<uint8_t>(v_.Values().size(), 0x5a));
  }

 private:
  int64_t Elements() const {
    return num_pages_ * case_.page_size * case_.kv_heads * case_.head_dim;
  }

  static void FillInput(std::mt19937_64& rng, GuardedArray<float>& input) {
    std::vector<float> values = RandomFloats(rng, input.rows() * input.columns());
    const float odd[] = {0.0f,
                         -0.0f,
                         65504.0f,
                         65519.9f,
                         65520.0f,
                         -1e30f,
                         6e-8f,
                         2.9e-8f,
                         1e-40f,
                         6.1e-5f,
                         std::numeric_limits<float>::infinity(),
                         std::numeric_limits<float>::quiet_NaN(),
                         std::bit_cast<float>(0xff812345u),
                         1.0f + 0x1p-11f,
                         1.0f + 0x3p-11f,
                         1.0f + 0x1p-8f,
                         1.0f + 0x3p-8f,
                         std::numeric_limits<float>::max()};
    for (size_t i = 0; i < values.size(); i += 3) {
      values[i] = odd[rng() % std::size(odd)];
    }
    input.Assign(values);
  }

  const Case case_;
  GuardedArray<float> key_;
  GuardedArray<float> value_;
  int64_t num_pages_;
  GuardedArray<uint8_t> k_;
  GuardedArray<uint8_t> v_;
  std::vector<int64_t> slots_;
  std::vector<int32_t> short_slots_;
};

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int32_t page_size : {1, 16, 64, 256}) {
      for (const int32_t tokens : {1, 17, 200}) {
        cases.push_back({.name = StrCat(InfoOf(type).name, "_page_", page_size, "_tokens_", tokens),
                         .tokens = tokens,
                         .page_size = page_size,
                         .cache_type = type,
                         .slot_type = tokens == 17 ? DType::kI32 : DType::kI64,
                         .head_gap = tokens == 200 ? 5 : 0});
      }
    }
    for (const int32_t head_dim : {8, 80, 100, 256}) {
      cases.push_back({.name = StrCat(InfoOf(type).name, "_dim_", head_dim),
                       .head_dim = head_dim,
                       .cache_type = type});
    }
  }
  return cases;
}

}  // namespace quire::ops::reshape_and_cache
