// Problems of mla_attention, shared by its tests and its benchmark.
#pragma once

#include "ops/attention/attention_cases.h"
#include "ops/mla_attention/mla_attention.h"

namespace quire::ops::mla_attention {

using attention::Case;

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.query);
  visit(args.query_start);
  visit(args.cache);
  visit(args.page_table);
  visit(args.kv_length);
  visit(args.out);
  visit(args.lse);
}

inline Args ArgsOf(const Case& c, attention::Memory& memory) {
  Args args;
  args.query = memory.query();
  if (!std::ranges::all_of(c.rows, [](int32_t rows) { return rows == 1; })) {
    args.query_start = memory.query_start();
  }
  args.cache = memory.latent();
  args.page_table = memory.page_table();
  args.kv_length = memory.kv_length();
  args.out = memory.out();
  args.lse = memory.lse();
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.key_dim));
  return args;
}

// A latent cache under the sequences of `c`.
inline Case Latent(Case c, int q_heads, int latent_dim, int rope_dim) {
  c.kind = attention::Kind::kLatent;
  c.q_heads = q_heads;
  c.kv_heads = 1;
  c.key_dim = latent_dim + rope_dim;
  c.value_dim = latent_dim;
  return c;
}

// Rows of 64 + 16: one row each, and verification rows.
inline Case DecodeCase(std::string name) {
  Case c = attention::DecodeCase(std::move(name));
  c.rows.assign(c.lengths.size(), 1);
  return Latent(std::move(c), 5, 64, 16);
}
inline Case VerifyCase(std::string name) {
  return Latent(attention::VerifyCase(std::move(name)), 5, 64, 16);
}

template <typename Change>
void AddBoth(std::vector<Case>& cases, const std::string& name, const Change& change) {
  cases.push_back(DecodeCase(StrCat("decode_", name)));
  change(cases.back());
  cases.push_back(VerifyCase(StrCat("verify_", name)));
  change(cases.back());
}

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  for (const attention::CacheType& type : attention::kCacheTypes) {
    if (type.scaling == KvScaling::kPerTokenHead) {
      continue;  // a latent cache has one scale
    }
    const auto with_type = [&](Case& c) -> Case& {
      c.dtype = type.dtype;
      c.scaling = type.scaling;
      return c;
    };
    for (const int page_size : {1, 2, 16, 32, 64, 256}) {
      AddBoth(cases, StrCat(type.name, "_page_", page_size),
              [&](Case& c) { with_type(c).page_size = page_size; });
    }
    for (const DType query : {DType::kF16, DType::kBF16}) {
      AddBoth(cases, StrCat(type.name, "_query_", InfoOf(query).name),
              [&](Case& c) { with_type(c).query_dtype = query; });
    }
    cases.push_back(
        {.name = StrCat(type.name, "_deepseek"), .lengths = {65, 1, 130}, .rows = {1, 1, 2}});
    cases.back() = Latent(with_type(cases.back()), 16, 512, 64);
  }
  for (const int heads : {1, 16, 40, 128}) {
    for (const int page_size : {1, 8, 64, 256}) {
      AddBoth(cases, StrCat("deepseek_", heads, "_heads_page_", page_size), [&](Case& c) {
        c = Latent(c, heads, 512, 64);
        c.dtype = DType::kBF16;
        c.query_dtype = DType::kBF16;
        c.page_size = page_size;
      });
    }
  }
  for (const int heads : {1, 2, 16, 40}) {
    cases.push_back(VerifyCase(StrCat("heads_", heads)));
    cases.back().q_heads = heads;
  }
  cases.push_back({.name = "deepseek_long",
                   .dtype = DType::kBF16,
                   .query_dtype = DType::kBF16,
                   .lengths = {5000, 3, 2100, 700},
                   .rows = {1, 16, 2, 0}});
  cases.back() = Latent(cases.back(), 16, 512, 64);
  cases.push_back({.name = "deepseek_many",
                   .dtype = DType::kBF16,
                   .query_dtype = DType::kBF16,
                   .lengths = {},
                   .rows = {}});
  for (int32_t i = 0; i < 150; ++i) {
    cases.back().lengths.push_back(i * 37 % 120);
    cases.back().rows.push_back(i % 3);
  }
  cases.back() = Latent(cases.back(), 2, 512, 64);
  cases.push_back(Latent(DecodeCase("no_rope"), 4, 80, 0));
  cases.push_back(DecodeCase("long"));
  cases.back().lengths = {2100, 5000};
  cases.back().rows = {1, 1};
  for (int i = 0; i < 14; ++i) {
    cases.push_back(
        {.name = StrCat("random_", i), .kind = attention::Kind::kLatent, .random = i + 1});
  }
  return cases;
}

}  // namespace quire::ops::mla_attention
