// Problems of rope_and_cache. No product code includes this.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/reshape_and_cache/reshape_and_cache_cases.h"
#include "ops/rope_and_cache/rope_and_cache.h"

namespace quire::ops::rope_and_cache {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.query);
  visit(args.key);
  visit(args.value);
  visit(args.cos_sin);
  visit(args.slot_mapping);
  visit(args.cache);
}

struct Case {
  std::string name = {};
  int64_t tokens = 17;
  int32_t q_heads = 6;
  int32_t kv_heads = 2;
  int32_t head_dim = 64;
  int64_t rotated = 64;
  rope::Style style = rope::Style::kNeox;
  DType type = DType::kBF16;
  DType cache_type = DType::kBF16;
  KvScaling scaling = KvScaling::kNone;
  PageOrder order = PageOrder::kNhd;
  int32_t page_size = 16;
  int64_t heads_between = 0;  // queries and keys; 0: side by side
  int64_t gap = 0;            // elements between the tokens
};

inline void AppendFormats(std::vector<Case>& cases) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const DType stored : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3}) {
      Case c = {.name = StrCat(InfoOf(type).name, "_to_", InfoOf(stored).name),
                .type = type,
                .cache_type = stored};
      if (stored != DType::kF8E4M3) {
        cases.push_back(c);
        continue;
      }
      const std::string name = c.name;
      c.name = name + "_per_tensor";
      c.scaling = KvScaling::kPerTensor;
      c.style = rope::Style::kInterleaved;
      cases.push_back(c);
      c.name = name + "_per_token_head";
      c.scaling = KvScaling::kPerTokenHead;
      cases.push_back(c);
    }
  }
}

inline std::vector<Case> ConformanceCases() {
  constexpr auto kNeox = rope::Style::kNeox;
  constexpr auto kInterleaved = rope::Style::kInterleaved;
  std::vector<Case> cases = {
      {.name = "none", .tokens = 0},
      {.name = "llama_decode",
       .tokens = 1,
       .q_heads = 32,
       .kv_heads = 8,
       .head_dim = 128,
       .rotated = 128,
       .style = kInterleaved,
       .page_size = 64},
      {.name = "llama_prefill",
       .tokens = 70,
       .q_heads = 32,
       .kv_heads = 8,
       .head_dim = 128,
       .rotated = 128,
       .style = kInterleaved,
       .page_size = 1},
      {.name = "gemma3",
       .tokens = 33,
       .q_heads = 4,
       .kv_heads = 1,
       .head_dim = 256,
       .rotated = 256,
       .order = PageOrder::kHnd},
      {.name = "partial_neox", .head_dim = 96, .rotated = 32},
      {.name = "partial_interleaved", .head_dim = 96, .rotated = 48, .style = kInterleaved},
      {.name = "nothing_rotates", .rotated = 0},
      {.name = "apart", .style = kNeox, .heads_between = 1},
      {.name = "unaligned", .heads_between = 1, .gap = 3},
      {.name = "no_whole_packs", .head_dim = 50, .rotated = 42},
      {.name = "half_a_pack", .head_dim = 64, .rotated = 40, .order = PageOrder::kHnd},
  };
  AppendFormats(cases);
  return cases;
}

// A projection [T, queries, keys, values], a table and a cache in which every unused byte is 0xff.
class Problem {
 public:
  Problem(const Case& c, uint64_t seed)
      : case_(c),
        num_pages_(2 * c.tokens / c.page_size + 1),
        qkv_(c.type, {c.tokens, Heads() * c.head_dim}, Heads() * c.head_dim + c.gap),
        cos_sin_(DType::kF32, {c.tokens, c.rotated / 2, 2}),
        k_({BytesOf(c.cache_type, Rows() * c.head_dim)}),
        v_({BytesOf(c.cache_type, Rows() * c.head_dim)}),
        k_scale_({c.scaling == KvScaling::kPerTokenHead ? Rows() : 1}),
        v_scale_({c.scaling == KvScaling::kPerTokenHead ? Rows() : 1}) {
    std::mt19937_64 rng(seed);
    qkv_.Assign(RandomFloats(rng, c.tokens * Heads() * c.head_dim));
    std::vector<float> table;
    for (const float angle : RandomFloats(rng, c.tokens * c.rotated / 2)) {
      table.push_back(std::cos(angle));
      table.push_back(std::sin(angle));
    }
    cos_sin_.Assign(table);
    slots_ = reshape_and_cache::DrawnSlots(rng, c.tokens, num_pages_ * c.page_size);
    k_.Assign(std::vector<uint8_t>(k_.Values().size(), 0xff));
    v_.Assign(std::vector<uint8_t>(v_.Values().size(), 0xff));
    k_scale_.Assign(std::vector<float>(k_scale_.Values().size(), 0.013f));
    v_scale_.Assign(std::vector<float>(v_scale_.Values().size(), 2.5f));
  }

  Args args() {
    const int64_t keys = case_.q_heads + case_.heads_between;
    return {.query = Columns(0, case_.q_heads),
            .key = Columns(keys, case_.kv_heads),
            .value = Columns(keys + case_.kv_heads, case_.kv_heads),
            .cos_sin = cos_sin_.View(),
            .style = case_.style,
            .slot_mapping = {slots_.data(), DType::kI64, {case_.tokens}},
            .cache = {.k = k_.data(),
                      .v = v_.data(),
                      .dtype = case_.cache_type,
                      .num_pages = num_pages_,
                      .num_kv_heads = case_.kv_heads,
                      .page_size = case_.page_size,
                      .head_dim = case_.head_dim,
                      .place = Place::Host(),
                      .order = case_.order,
                      .scaling = case_.scaling,
                      .k_scale = k_scale_.data(),
                      .v_scale = v_scale_.data()}};
  }
  // The projection, then what the cache holds.
  std::vector<std::vector<uint8_t>> Bytes() const {
    return {qkv_.Bytes(), k_.Values(), v_.Values()};
  }
  std::vector<std::vector<float>> Scales() const { return {k_scale_.Values(), v_scale_.Values()}; }
  std::string Damage() const {
    return qkv_.Damage() + cos_sin_.Damage() + k_.Damage() + v_.Damage() + k_scale_.Damage() +
           v_scale_.Damage();
  }

 private:
  int64_t Heads() const { return case_.q_heads + case_.heads_between + 2 * case_.kv_heads; }
  int64_t Rows() const { return num_pages_ * case_.page_size * case_.kv_heads; }
  TensorView Columns(int64_t head, int64_t heads) {
    const int64_t d = case_.head_dim;
    return qkv_.View().Columns(head * d, (head + heads) * d).SplitLast(d);
  }

  const Case case_;
  const int64_t num_pages_;
  TypedArray qkv_;
  TypedArray cos_sin_;
  GuardedArray<uint8_t> k_;
  GuardedArray<uint8_t> v_;
  GuardedArray<float> k_scale_;
  GuardedArray<float> v_scale_;
  std::vector<int64_t> slots_;
};

}  // namespace quire::ops::rope_and_cache
