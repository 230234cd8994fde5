// Problems of paged_attention, shared by its tests and its benchmark.
#pragma once

#include "ops/attention/attention_cases.h"
#include "ops/paged_attention/paged_attention.h"

namespace quire::ops::paged_attention {

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
  visit(args.sinks);
}

inline Args ArgsOf(const Case& c, attention::Memory& memory) {
  Args args;
  args.query = memory.query();
  if (!std::ranges::all_of(c.rows, [](int32_t rows) { return rows == 1; })) {
    args.query_start = memory.query_start();
  }
  args.cache = memory.cache();
  args.page_table = memory.page_table();
  args.kv_length = memory.kv_length();
  args.out = memory.out();
  args.lse = memory.lse();
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.key_dim));
  args.window_left = c.window_left;
  args.logit_soft_cap = c.logit_soft_cap;
  args.sinks = memory.sinks();
  return args;
}

// One row each, without query_start.
inline Case DecodeCase(std::string name) {
  Case c = attention::DecodeCase(std::move(name));
  c.kind = attention::Kind::kDecode;
  c.rows.assign(c.lengths.size(), 1);
  return c;
}

// Adds a decode and a verification case, changed by `change`.
template <typename Change>
void AddBoth(std::vector<Case>& cases, const std::string& name, const Change& change) {
  cases.push_back(DecodeCase(StrCat("decode_", name)));
  change(cases.back());
  cases.push_back(attention::VerifyCase(StrCat("verify_", name)));
  change(cases.back());
}

inline void AddTypes(std::vector<Case>& cases) {
  for (const attention::CacheType& type : attention::kCacheTypes) {
    const auto with_type = [&](Case& c) -> Case& {
      c.dtype = type.dtype;
      c.scaling = type.scaling;
      return c;
    };
    for (const int page_size : {1, 2, 16, 64, 128}) {
      AddBoth(cases, StrCat(type.name, "_page_", page_size), [&](Case& c) {
        with_type(c).page_size = page_size;
        c.order = page_size % 3 == 1 ? PageOrder::kHnd : PageOrder::kNhd;
      });
    }
    for (const DType query : {DType::kF16, DType::kBF16}) {
      AddBoth(cases, StrCat(type.name, "_query_", InfoOf(query).name),
              [&](Case& c) { with_type(c).query_dtype = query; });
    }
    for (const int dim : {80, 128, 256}) {
      cases.push_back(attention::VerifyCase(StrCat("verify_", type.name, "_dim_", dim)));
      with_type(cases.back()).key_dim = dim;
      cases.back().value_dim = dim == 256 ? 128 : dim;
    }
  }
}

// What tensor cores take: queries of the cache's type and the usual head sizes.
inline void AddTensorCores(std::vector<Case>& cases) {
  for (const DType type : {DType::kF16, DType::kBF16}) {
    for (const int dim : {64, 128, 256}) {
      for (const int group : {1, 4, 20}) {
        AddBoth(cases, StrCat("same_", InfoOf(type).name, "_dim_", dim, "_group_", group),
                [&](Case& c) {
                  c.dtype = c.query_dtype = type;
                  c.key_dim = c.value_dim = dim;
                  c.q_heads = 2 * group;
                  c.page_size = group == 4 ? 1 : 64;
                  c.sinks = group == 20;
                });
      }
      cases.push_back(DecodeCase(StrCat("same_", InfoOf(type).name, "_dim_", dim, "_long")));
      Case& c = cases.back();
      c.dtype = c.query_dtype = type;
      c.key_dim = c.value_dim = dim;
      c.lengths = {2100, 513, 512, 0, 1024};
      c.rows = {1, 1, 1, 1, 1};
      c.window_left = dim == 128 ? 600 : -1;
    }
  }
}

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  AddTypes(cases);
  AddTensorCores(cases);
  for (const int group : {1, 3, 7, 16}) {
    AddBoth(cases, StrCat("group_", group), [&](Case& c) { c.q_heads = 2 * group; });
  }
  for (const int32_t window : {0, 1, 64, 300}) {
    AddBoth(cases, StrCat("window_", window), [&](Case& c) { c.window_left = window; });
  }
  for (const int32_t window : {-1, 40}) {
    const std::string_view end = window < 0 ? "" : "_window";
    AddBoth(cases, StrCat("soft_cap_sinks", end), [&](Case& c) {
      c.window_left = window;
      c.logit_soft_cap = 2.0f;
      c.sinks = true;
    });
  }
  cases.push_back(DecodeCase("long"));
  cases.back().lengths = {2100, 5000};
  cases.back().rows = {1, 1};
  for (int i = 0; i < 20; ++i) {
    cases.push_back(
        {.name = StrCat("random_", i), .kind = attention::Kind::kDecode, .random = i + 1});
  }
  return cases;
}

}  // namespace quire::ops::paged_attention
