// Problems of flash_attention, shared by its tests and its benchmark.
#pragma once

#include "ops/attention/attention_cases.h"
#include "ops/flash_attention/flash_attention.h"

namespace quire::ops::flash_attention {

using attention::Case;

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.query);
  visit(args.query_start);
  visit(args.key);
  visit(args.value);
  visit(args.key_start);
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
  args.query_start = memory.query_start();
  if (c.page_size > 0) {
    args.cache = memory.cache();
    args.page_table = memory.page_table();
    args.kv_length = memory.kv_length();
  } else {
    args.key = memory.key();
    args.value = memory.value();
    args.key_start = memory.key_start();
  }
  args.out = memory.out();
  args.lse = memory.lse();
  args.scale = 1.0f / std::sqrt(static_cast<float>(c.key_dim));
  args.causal = c.causal;
  args.window_left = c.window_left;
  args.window_right = c.window_right;
  args.logit_soft_cap = c.logit_soft_cap;
  args.sinks = memory.sinks();
  return args;
}

// Adds a decode and a mixed case, changed by `change`.
template <typename Change>
void AddBoth(std::vector<Case>& cases, const std::string& name, const Change& change) {
  cases.push_back(attention::DecodeCase(StrCat("decode_", name)));
  change(cases.back());
  cases.push_back(attention::MixedCase(StrCat("mixed_", name)));
  change(cases.back());
}

// Where keys lie and in what types.
inline void AddPlaces(std::vector<Case>& cases) {
  for (const attention::CacheType& type : attention::kCacheTypes) {
    for (const int page_size : {0, 1, 2, 16, 64, 256}) {
      for (const PageOrder order : {PageOrder::kHnd, PageOrder::kNhd}) {
        if (page_size == 0 && (order == PageOrder::kNhd || type.scaling != KvScaling::kNone)) {
          continue;
        }
        const std::string_view place = page_size == 0             ? "rows"
                                       : order == PageOrder::kHnd ? "hnd"
                                                                  : "nhd";
        AddBoth(cases, StrCat(type.name, "_", place, "_", page_size), [&](Case& c) {
          c.page_size = page_size;
          c.order = order;
          c.dtype = type.dtype;
          c.scaling = type.scaling;
        });
      }
    }
    for (const DType query : {DType::kF16, DType::kBF16}) {
      AddBoth(cases, StrCat(type.name, "_query_", InfoOf(query).name), [&](Case& c) {
        c.query_dtype = query;
        c.dtype = type.dtype;
        c.scaling = type.scaling;
      });
    }
  }
}

inline void AddSizes(std::vector<Case>& cases) {
  constexpr std::pair<int, int> kDims[] = {{16, 16},   {64, 64},   {80, 80},   {96, 96},
                                           {128, 128}, {192, 192}, {256, 256}, {192, 128},
                                           {576, 512}, {64, 144}};
  for (const attention::CacheType& type : attention::kCacheTypes) {
    for (const auto& [key_dim, value_dim] : kDims) {
      cases.push_back(attention::MixedCase(StrCat(type.name, "_dim_", key_dim, "_", value_dim)));
      Case& c = cases.back();
      c.dtype = type.dtype;
      c.scaling = type.scaling;
      c.key_dim = key_dim;
      c.value_dim = value_dim;
      if (key_dim > 128) {  // the reference is slow
        c.lengths = {70, 21, 130, 5};
        c.rows = {1, 21, 4, 0};
      }
    }
  }
  for (const int group : {1, 3, 5, 8, 12}) {
    AddBoth(cases, StrCat("group_", group), [&](Case& c) { c.q_heads = 2 * group; });
  }
}

inline void AddMasks(std::vector<Case>& cases) {
  for (const int32_t window : {0, 1, 63, 64, 100, 511}) {
    AddBoth(cases, StrCat("window_", window), [&](Case& c) { c.window_left = window; });
  }
  constexpr std::pair<int32_t, int32_t> kWindows[] = {{-1, -1}, {-1, 0}, {-1, 7},  {10, -1},
                                                      {0, 0},   {5, 70}, {64, 64}, {200, 3}};
  for (const auto& [left, right] : kWindows) {
    AddBoth(cases, StrCat("open_", left + 1, "_", right + 1),
            [left = left, right = right](Case& c) {
              c.causal = false;
              c.window_left = left;
              c.window_right = right;
            });
  }
  for (const bool windowed : {false, true}) {
    const std::string_view end = windowed ? "_window" : "";
    const int32_t left = windowed ? 40 : -1;
    AddBoth(cases, StrCat("soft_cap", end), [&](Case& c) {
      c.logit_soft_cap = 2.0f;
      c.window_left = left;
    });
    AddBoth(cases, StrCat("sinks", end), [&](Case& c) {
      c.sinks = true;
      c.window_left = left;
    });
    AddBoth(cases, StrCat("sinks_soft_cap_f16", end), [&](Case& c) {
      c.sinks = true;
      c.logit_soft_cap = 5.0f;
      c.window_left = left;
      c.query_dtype = DType::kF16;
    });
  }
}

// What tensor cores take: queries of the cache's type and the usual head sizes.
inline void AddTensorCores(std::vector<Case>& cases) {
  for (const DType type : {DType::kF16, DType::kBF16}) {
    for (const int dim : {64, 128, 256}) {
      const auto add = [&](std::string_view name, const auto& change) {
        cases.push_back(
            attention::MixedCase(StrCat("same_", InfoOf(type).name, "_dim_", dim, name)));
        Case& c = cases.back();
        c.dtype = c.query_dtype = type;
        c.key_dim = c.value_dim = dim;
        change(c);
      };
      add("", [](Case&) {});
      add("_page_1", [](Case& c) { c.page_size = 1; });
      add("_rows", [](Case& c) { c.page_size = 0; });
      add("_nhd_group_5", [](Case& c) {
        c.order = PageOrder::kNhd;
        c.q_heads = 10;
      });
      add("_long", [](Case& c) {
        c.lengths = {1100, 513, 2049, 512};
        c.rows = {1, 2, 1, 1};
      });
      add("_everything", [](Case& c) {
        c.lengths = {700, 70, 1300};
        c.rows = {20, 70, 3};
        c.window_left = 530;
        c.logit_soft_cap = 3.0f;
        c.sinks = true;
      });
      add("_open", [](Case& c) {
        c.causal = false;
        c.window_left = 20;
        c.window_right = 9;
      });
    }
  }
}

// More rows than keys, no rows, no keys, no sequences, and lengths past the masks of old.
inline void AddLengths(std::vector<Case>& cases) {
  for (const int page_size : {0, 16}) {
    const auto add = [&](std::string_view name, std::vector<int32_t> lengths,
                         std::vector<int32_t> rows) -> Case& {
      cases.push_back({.name = StrCat(name, page_size == 0 ? "_rows" : "_paged"),
                       .page_size = page_size,
                       .lengths = std::move(lengths),
                       .rows = std::move(rows)});
      return cases.back();
    };
    add("more_rows_than_keys", {3, 0, 1, 64}, {7, 5, 1, 100});
    add("more_rows_than_keys_window", {3, 0, 1, 64}, {7, 5, 1, 100}).window_left = 2;
    add("more_rows_than_keys_open", {3, 0, 1, 64}, {7, 5, 1, 100}).causal = false;
    Case& right = add("more_rows_than_keys_right", {3, 0, 1, 64}, {7, 5, 1, 100});
    right.causal = false;
    right.window_right = 2;
    add("more_rows_than_keys_sinks", {3, 0, 1, 64}, {7, 5, 1, 100}).sinks = true;
    add("no_rows", {3, 0}, {0, 0});
    add("no_sequences", {}, {});
    add("long", {2100, 5000}, {1, 1}).key_dim = 16;
    add("long_window", {2100, 5000}, {2, 1}).window_left = 2049;
  }
}

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  AddPlaces(cases);
  AddSizes(cases);
  AddMasks(cases);
  AddTensorCores(cases);
  AddLengths(cases);
  for (int i = 0; i < 24; ++i) {
    cases.push_back({.name = StrCat("random_", i), .random = i + 1});
  }
  return cases;
}

}  // namespace quire::ops::flash_attention
