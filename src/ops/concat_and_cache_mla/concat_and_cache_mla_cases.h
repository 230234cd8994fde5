// Problems of concat_and_cache_mla, shared by its test and its benchmark. No product code includes
// this.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "ops/concat_and_cache_mla/concat_and_cache_mla.h"
#include "ops/conformance.h"

namespace quire::ops::concat_and_cache_mla {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.latent);
  visit(args.rope);
  visit(args.slot_mapping);
  visit(args.cache);
}

struct Case {
  std::string name = {};
  int32_t tokens = 17;
  int32_t latent_dim = 512;
  int32_t rope_dim = 64;
  int32_t page_size = 16;
  DType input_type = DType::kBF16;
  DType cache_type = DType::kBF16;
  DType slot_type = DType::kI64;
  int32_t gap = 0;      // elements between the rows of the inputs
  bool random = false;  // the extents and the gap are drawn instead
};

// The case itself, or what the seed makes of a random one.
inline Case Drawn(const Case& c, uint64_t seed) {
  if (!c.random) {
    return c;
  }
  std::mt19937_64 rng(seed);
  Case drawn = c;
  drawn.tokens = RandomInts(rng, 1, 0, 60)[0];
  drawn.latent_dim = RandomInts(rng, 1, 1, 300)[0];
  drawn.rope_dim = RandomInts(rng, 1, 0, 70)[0];
  drawn.page_size = 1 << RandomInts(rng, 1, 0, 7)[0];
  drawn.gap = RandomInts(rng, 1, 0, 1)[0] * RandomInts(rng, 1, 1, 600)[0];
  return drawn;
}

// A case with its memory; every byte of the cache is a guard. About half of its slots are written.
// The inputs hold random bit patterns (NaN, infinities, subnormals) beside plain values.
class Problem {
 public:
  Problem(const Case& problem, uint64_t seed)
      : case_(problem),
        num_pages_(2 * problem.tokens / problem.page_size + 1),
        latent_(problem.input_type, {problem.tokens, problem.latent_dim},
                problem.latent_dim + problem.gap),
        rope_(problem.input_type, {problem.tokens, problem.rope_dim},
              problem.rope_dim + problem.gap),
        cache_(
            {BytesOf(problem.cache_type, num_slots() * (problem.latent_dim + problem.rope_dim))}) {
    std::mt19937_64 rng(seed);
    Fill(rng, latent_);
    Fill(rng, rope_);
    slots_.resize(static_cast<size_t>(num_slots()));
    std::iota(slots_.begin(), slots_.end(), 0);
    std::shuffle(slots_.begin(), slots_.end(), rng);
    slots_.resize(static_cast<size_t>(problem.tokens));
    for (size_t token = 2; token < slots_.size(); token += 5) {
      slots_[token] = token % 2 == 0 ? -1 : -70000;
    }
    short_slots_.assign(slots_.begin(), slots_.end());
    ClearCache();
  }

  Args args() {
    void* slots = case_.slot_type == DType::kI32 ? static_cast<void*>(short_slots_.data())
                                                 : static_cast<void*>(slots_.data());
    return {.latent = latent_.View(),
            .rope = rope_.View(),
            .slot_mapping = {slots, case_.slot_type, {case_.tokens}},
            .cache = {.data = cache_.data(),
                      .dtype = case_.cache_type,
                      .num_pages = num_pages_,
                      .page_size = case_.page_size,
                      .latent_dim = case_.latent_dim,
                      .rope_dim = case_.rope_dim,
                      .place = Place::Host(),
                      .scale = case_.cache_type == DType::kF8E4M3 ? &scale_ : nullptr}};
  }
  std::vector<int64_t>& slots() { return slots_; }
  int64_t num_slots() const { return num_pages_ * case_.page_size; }
  std::vector<uint8_t> CacheBytes() const { return cache_.Values(); }
  std::string Damage() const { return cache_.Damage() + latent_.Damage() + rope_.Damage(); }
  void ClearCache() { cache_.Assign(std::vector<uint8_t>(cache_.Values().size(), 0xff)); }

 private:
  static void Fill(std::mt19937_64& rng, TypedArray& rows) {
    rows.Assign(RandomFloats(rng, rows.shape().elements()));
    const TensorView view = rows.View();
    const int64_t size = BytesOf(view.dtype(), 1);
    auto* bytes = static_cast<uint8_t*>(view.data());
    for (int64_t i = 0; i < view.shape().elements(); i += 3) {
      const int64_t at = i / view.dim(1) * view.stride(0) + i % view.dim(1);
      for (int64_t byte = 0; byte < size; ++byte) {
        bytes[at * size + byte] = static_cast<uint8_t>(rng());
      }
    }
  }

  const Case case_;
  const int64_t num_pages_;
  TypedArray latent_;
  TypedArray rope_;
  GuardedArray<uint8_t> cache_;
  std::vector<int64_t> slots_;
  std::vector<int32_t> short_slots_;
  float scale_ = 0.021f;
};

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  for (const DType input : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const DType stored : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3}) {
      cases.push_back({.name = StrCat(InfoOf(input).name, "_to_", InfoOf(stored).name),
                       .input_type = input,
                       .cache_type = stored});
      cases.push_back({.name = StrCat(InfoOf(input).name, "_to_", InfoOf(stored).name, "_small"),
                       .latent_dim = 21,
                       .rope_dim = 5,
                       .page_size = 4,
                       .input_type = input,
                       .cache_type = stored,
                       .slot_type = DType::kI32,
                       .gap = 3});
    }
  }
  for (const int32_t page_size : {1, 16, 64}) {
    for (const int32_t tokens : {0, 1, page_size - 1, page_size, page_size + 1, 130}) {
      cases.push_back({.name = StrCat("page_", page_size, "_tokens_", tokens, "_", cases.size()),
                       .tokens = tokens,
                       .page_size = page_size,
                       .cache_type = tokens % 2 == 0 ? DType::kF8E4M3 : DType::kF16,
                       .gap = tokens == 130 ? 64 : 0});
    }
  }
  cases.push_back({.name = "no_rope", .tokens = 5, .latent_dim = 24, .rope_dim = 0});
  cases.push_back({.name = "one_element", .tokens = 5, .latent_dim = 1, .rope_dim = 1});
  for (const DType stored : {DType::kBF16, DType::kF32}) {  // 8 MiB and more
    cases.push_back({.name = StrCat("large_to_", InfoOf(stored).name),
                     .tokens = stored == DType::kBF16 ? 7400 : 3700,
                     .cache_type = stored});
  }
  for (int i = 0; i < 12; ++i) {
    constexpr DType kInputs[] = {DType::kF32, DType::kF16, DType::kBF16};
    constexpr DType kStored[] = {DType::kF8E4M3, DType::kF16, DType::kBF16, DType::kF32};
    cases.push_back({.name = StrCat("random_", i),
                     .input_type = kInputs[i % 3],
                     .cache_type = kStored[i % 4],
                     .random = true});
  }
  return cases;
}

}  // namespace quire::ops::concat_and_cache_mla
