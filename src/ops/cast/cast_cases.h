// Problems of cast, shared by its test and its benchmark. No product code includes this.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "ops/cast/cast.h"
#include "ops/conformance.h"

namespace quire::ops::cast {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.out);
  visit(args.scale);
}

struct Case {
  std::string name = {};
  int64_t rows = 5;
  int64_t elements = 64;  // of a row
  DType from = DType::kF32;
  DType to = DType::kF16;
  int64_t gap = 0;      // elements between the rows of x and of out
  float scale = 0;      // 0: none
  bool random = false;  // rows, elements, gap and scale are drawn instead
};

// The case itself, or what the seed makes of a random one.
inline Case Drawn(const Case& c, uint64_t seed) {
  if (!c.random) {
    return c;
  }
  std::mt19937_64 rng(seed);
  Case drawn = c;
  drawn.rows = RandomInts(rng, 1, 0, 40)[0];
  drawn.elements = RandomInts(rng, 1, 0, 300)[0];
  drawn.gap = RandomInts(rng, 1, 0, 20)[0];
  drawn.scale = RandomInts(rng, 1, 0, 1)[0] == 0 ? 0.0f : RandomFloats(rng, 1, 2.0f)[0];
  return drawn;
}

// A case with its memory: x holds random bit patterns (NaN, infinities, subnormals) beside plain
// values.
class Problem {
 public:
  Problem(const Case& c, uint64_t seed)
      : x_(c.from, {c.rows, c.elements}, c.elements + c.gap),
        out_(c.to, {c.rows, c.elements}, c.elements + c.gap),
        scale_({1}) {
    std::mt19937_64 rng(seed);
    x_.Assign(RandomFloats(rng, c.rows * c.elements, 0.0f, 20.0f));
    auto* bytes = static_cast<uint8_t*>(x_.View().data());
    const int64_t size = BytesOf(c.from, 1);
    for (int64_t i = 0; i < c.rows * c.elements; i += 3) {
      const int64_t at = i / c.elements * (c.elements + c.gap) + i % c.elements;
      for (int64_t byte = 0; byte < size; ++byte) {
        bytes[at * size + byte] = static_cast<uint8_t>(rng());
      }
    }
    args_ = {.x = x_.View(), .out = out_.View(), .scale = {}};
    if (c.scale != 0) {
      scale_.Assign(std::vector<float>{c.scale});
      args_.scale = scale_.View(DType::kF32);
    }
  }

  Args& args() { return args_; }
  TypedArray& x() { return x_; }
  TypedArray& out() { return out_; }

 private:
  TypedArray x_;
  TypedArray out_;
  GuardedArray<float> scale_;
  Args args_;
};

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      const std::string types = StrCat(InfoOf(from).name, "_to_", InfoOf(to).name);
      const auto add = [&](std::string_view name, Case c) {
        c.name = StrCat(types, "_", name);
        c.from = from;
        c.to = to;
        cases.push_back(c);
      };
      add("rows_apart", {.rows = 7, .elements = 100, .gap = 12});
      add("scaled", {.rows = 3, .elements = 1029, .scale = 0.3f});
      add("random", {.random = true});
    }
  }
  const auto add = [&cases](std::string_view name, int64_t rows, int64_t elements, int64_t gap) {
    cases.push_back({.name = std::string(name), .rows = rows, .elements = elements, .gap = gap});
  };
  add("no_rows", 0, 64, 0);
  add("no_elements", 5, 0, 4);
  add("one_element", 1, 1, 0);
  add("shorter_than_a_vector", 4, 3, 1);
  add("a_vector_and_one", 4, 17, 0);
  add("one_long_row", 1, 70001, 0);
  add("long_rows_apart", 3, 40007, 9);
  add("many_short_rows", 3000, 16, 8);
  return cases;
}

}  // namespace quire::ops::cast
