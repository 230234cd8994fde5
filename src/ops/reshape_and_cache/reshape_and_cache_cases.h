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

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.key);
  visit(args.value);
  visit(args.slot_mapping);
  visit(args.cache);
}

struct Case {
  std::string name = {};
  int32_t tokens = 17;
  int32_t kv_heads = 3;
  int32_t head_dim = 64;
  int32_t page_size = 16;
  DType input_type = DType::kF32;
  DType cache_type = DType::kF16;
  DType slot_type = DType::kI64;
  int32_t head_gap = 0;     // elements between the heads of the inputs
  int32_t other_heads = 0;  // heads between the tokens of the inputs, as in a fused projection
  int32_t value_dim = 0;    // 0: as head_dim
  PageOrder order = PageOrder::kHnd;
  KvScaling scaling = KvScaling::kNone;
  bool random = false;  // the extents and gaps are drawn instead
};

// The case itself, or what the seed makes of a random one.
inline Case Drawn(const Case& c, uint64_t seed) {
  if (!c.random) {
    return c;
  }
  std::mt19937_64 rng(seed);
  Case drawn = c;
  drawn.tokens = RandomInts(rng, 1, 0, 70)[0];
  drawn.kv_heads = RandomInts(rng, 1, 1, 9)[0];
  drawn.head_dim = RandomInts(rng, 1, 1, 200)[0];
  drawn.value_dim = RandomInts(rng, 1, 0, 150)[0];
  drawn.page_size = 1 << RandomInts(rng, 1, 0, 7)[0];
  drawn.head_gap = RandomInts(rng, 1, 0, 1)[0] * RandomInts(rng, 1, 1, 20)[0];
  drawn.other_heads = RandomInts(rng, 1, 0, 3)[0];
  drawn.slot_type = RandomInts(rng, 1, 0, 1)[0] == 0 ? DType::kI32 : DType::kI64;
  return drawn;
}

// Values with every kind of number that a conversion treats apart. A third of the rows are plain,
// some are zero.
inline std::vector<float> InputValues(std::mt19937_64& rng, int64_t rows, int64_t elements) {
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
  std::vector<float> values = RandomFloats(rng, rows * elements);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t row = i / static_cast<size_t>(elements);
    if (row % 7 == 5) {
      values[i] = 0;
    } else if (row % 3 != 0 && i % 3 == 0) {
      values[i] = odd[rng() % std::size(odd)];
    }
  }
  return values;
}

// `tokens` slots drawn from all of a cache; every fifth token is skipped.
inline std::vector<int64_t> DrawnSlots(std::mt19937_64& rng, int64_t tokens, int64_t num_slots) {
  std::vector<int64_t> slots(static_cast<size_t>(num_slots));
  std::iota(slots.begin(), slots.end(), 0);
  std::shuffle(slots.begin(), slots.end(), rng);
  slots.resize(static_cast<size_t>(tokens));
  for (size_t token = 2; token < slots.size(); token += 5) {
    slots[token] = token % 2 == 0 ? -1 : -70000;
  }
  return slots;
}

// A case with its memory; every byte of the cache is a guard. About half of its slots are written.
class Problem {
 public:
  Problem(const Case& problem, uint64_t seed)
      : case_(problem),
        value_dim_(problem.value_dim > 0 ? problem.value_dim : problem.head_dim),
        num_pages_(2 * problem.tokens / problem.page_size + 1),
        key_(problem.input_type, InputShape(problem.head_dim), problem.head_dim + problem.head_gap),
        value_(problem.input_type, InputShape(value_dim_), value_dim_ + problem.head_gap),
        k_({BytesOf(problem.cache_type, Rows() * problem.head_dim)}),
        v_({BytesOf(problem.cache_type, Rows() * value_dim_)}),
        k_scale_({problem.scaling == KvScaling::kPerTokenHead ? Rows() : 1}),
        v_scale_({problem.scaling == KvScaling::kPerTokenHead ? Rows() : 1}) {
    std::mt19937_64 rng(seed);
    const int64_t rows = int64_t{problem.tokens} * (problem.kv_heads + problem.other_heads);
    key_.Assign(InputValues(rng, rows, problem.head_dim));
    value_.Assign(InputValues(rng, rows, value_dim_));
    slots_ = DrawnSlots(rng, problem.tokens, num_slots());
    short_slots_.assign(slots_.begin(), slots_.end());
    ClearCache();
  }

  Args args() {
    void* slots = case_.slot_type == DType::kI32 ? static_cast<void*>(short_slots_.data())
                                                 : static_cast<void*>(slots_.data());
    return {.key = Input(key_, case_.head_dim),
            .value = Input(value_, value_dim_),
            .slot_mapping = {slots, case_.slot_type, {case_.tokens}},
            .cache = {.k = k_.data(),
                      .v = v_.data(),
                      .dtype = case_.cache_type,
                      .num_pages = num_pages_,
                      .num_kv_heads = case_.kv_heads,
                      .page_size = case_.page_size,
                      .head_dim = case_.head_dim,
                      .place = Place::Host(),
                      .order = case_.order,
                      .value_head_dim = case_.value_dim,
                      .scaling = case_.scaling,
                      .k_scale = k_scale_.data(),
                      .v_scale = v_scale_.data()}};
  }
  std::vector<int64_t>& slots() { return slots_; }
  int64_t num_slots() const { return num_pages_ * case_.page_size; }
  // The bytes of the cache: keys, values and the bits of their scales.
  std::vector<std::vector<uint8_t>> CacheBytes() const {
    return {k_.Values(), v_.Values(), ScaleBytes(k_scale_), ScaleBytes(v_scale_)};
  }
  std::string Damage() const {
    return k_.Damage() + v_.Damage() + k_scale_.Damage() + v_scale_.Damage() + key_.Damage() +
           value_.Damage();
  }
  // NaN everywhere; the scales per tensor are numbers.
  void ClearCache() {
    k_.Assign(std::vector<uint8_t>(k_.Values().size(), 0xff));
    v_.Assign(std::vector<uint8_t>(v_.Values().size(), 0xff));
    const bool one = case_.scaling == KvScaling::kPerTensor;
    k_scale_.Assign(std::vector<float>(k_scale_.Values().size(), one ? 0.013f : -7.0f));
    v_scale_.Assign(std::vector<float>(v_scale_.Values().size(), one ? 2.5f : -7.0f));
  }

 private:
  static std::vector<uint8_t> ScaleBytes(const GuardedArray<float>& scales) {
    const std::vector<float> values = scales.Values();
    std::vector<uint8_t> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
  int64_t Rows() const { return num_pages_ * case_.page_size * case_.kv_heads; }
  Shape InputShape(int64_t elements) const {
    return {case_.tokens, case_.kv_heads + case_.other_heads, elements};
  }
  TensorView Input(TypedArray& array, int64_t elements) const {
    const TensorView view = array.View();
    return {view.data(),
            view.dtype(),
            {case_.tokens, case_.kv_heads, elements},
            {view.stride(0), view.stride(1), 1}};
  }

  const Case case_;
  const int32_t value_dim_;
  const int64_t num_pages_;
  TypedArray key_;
  TypedArray value_;
  GuardedArray<uint8_t> k_;
  GuardedArray<uint8_t> v_;
  GuardedArray<float> k_scale_;
  GuardedArray<float> v_scale_;
  std::vector<int64_t> slots_;
  std::vector<int32_t> short_slots_;
};

inline void AppendFormats(std::vector<Case>& cases) {
  for (const DType input : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const DType stored : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3}) {
      for (const PageOrder order : {PageOrder::kHnd, PageOrder::kNhd}) {
        Case c = {.name = StrCat(InfoOf(input).name, "_to_", InfoOf(stored).name,
                                 order == PageOrder::kHnd ? "_hnd" : "_nhd"),
                  .input_type = input,
                  .cache_type = stored,
                  .other_heads = order == PageOrder::kHnd ? 2 : 0,
                  .order = order};
        if (stored != DType::kF8E4M3) {
          cases.push_back(c);
          continue;
        }
        const std::string name = c.name;
        c.name = name + "_per_tensor";
        c.scaling = KvScaling::kPerTensor;
        cases.push_back(c);
        c.name = name + "_per_token_head";
        c.scaling = KvScaling::kPerTokenHead;
        cases.push_back(c);
      }
    }
  }
}

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  AppendFormats(cases);
  for (const int32_t page_size : {1, 4, 16, 64, 256}) {
    for (const int32_t tokens : {0, 1, page_size - 1, page_size, page_size + 1, 200}) {
      cases.push_back({.name = StrCat("page_", page_size, "_tokens_", tokens, "_", cases.size()),
                       .tokens = tokens,
                       .page_size = page_size,
                       .slot_type = tokens % 2 == 0 ? DType::kI64 : DType::kI32,
                       .head_gap = tokens == 200 ? 5 : 0});
    }
  }
  for (const int32_t head_dim : {1, 8, 80, 100, 128, 192, 256}) {
    cases.push_back({.name = StrCat("dim_", head_dim), .head_dim = head_dim});
    cases.push_back({.name = StrCat("nhd_quantized_dim_", head_dim),
                     .head_dim = head_dim,
                     .cache_type = DType::kF8E4M3,
                     .order = PageOrder::kNhd,
                     .scaling = KvScaling::kPerTokenHead});
  }
  cases.push_back({.name = "key_192_value_128",
                   .head_dim = 192,
                   .input_type = DType::kBF16,
                   .cache_type = DType::kBF16,
                   .value_dim = 128});
  for (const DType input : {DType::kF32, DType::kBF16}) {  // 8 MiB and more
    cases.push_back({.name = StrCat("large_", InfoOf(input).name, "_to_f32"),
                     .tokens = 1040,
                     .kv_heads = 8,
                     .head_dim = 128,
                     .input_type = input,
                     .cache_type = DType::kF32});
  }
  cases.push_back({.name = "nhd_heads_apart", .head_gap = 3, .order = PageOrder::kNhd});
  for (int i = 0; i < 24; ++i) {
    constexpr DType kInputs[] = {DType::kF32, DType::kF16, DType::kBF16};
    constexpr DType kStored[] = {DType::kF16, DType::kF8E4M3, DType::kBF16, DType::kF8E4M3};
    const DType stored = kStored[i % 4];
    cases.push_back({.name = StrCat("random_", i),
                     .input_type = kInputs[i % 3],
                     .cache_type = stored,
                     .order = i % 8 < 4 ? PageOrder::kHnd : PageOrder::kNhd,
                     .scaling = stored != DType::kF8E4M3 ? KvScaling::kNone
                                : i % 4 == 1             ? KvScaling::kPerTensor
                                                         : KvScaling::kPerTokenHead,
                     .random = true});
  }
  return cases;
}

}  // namespace quire::ops::reshape_and_cache
