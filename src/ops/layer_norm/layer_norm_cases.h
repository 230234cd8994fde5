// Problems that the tests and the benchmark share.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ops/layer_norm/layer_norm.h"
#include "ops/row_cases.h"

namespace quire::ops::layer_norm {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.weight);
  visit(args.bias);
  visit(args.out);
}

struct Case {
  std::string name = {};
  int64_t tokens = 0;
  int64_t heads = 0;     // 0: x is [T, D]
  int64_t elements = 0;  // D
  int64_t gap = 0;       // elements between the rows of T
  bool bias = true;
  float mean = 0.5f;  // of x, whose deviation is 2
  RowTypes types = {};
  bool random = false;  // all but the types is drawn

  // The bias may cancel what it is added to, and x its mean, of which a few units in the last place
  // are wrong.
  Tolerance tolerance() const {
    return types.x != DType::kF32 ? ToleranceOf(types.x)
                                  : Tolerance{.rtol = 1e-5, .atol = 1e-6 + 4e-7 * mean};
  }
};

inline std::vector<Case> ConformanceCases() {
  const std::vector<Case> shapes = {
      {.name = "none", .tokens = 0, .elements = 64},
      {.name = "one_element", .tokens = 2, .elements = 1},
      {.name = "shorter_than_a_vector", .tokens = 3, .elements = 7, .gap = 2},
      {.name = "tail", .tokens = 5, .elements = 83, .bias = false},
      {.name = "whole_vectors", .tokens = 5, .elements = 96, .gap = 16},
      {.name = "gpt2_decode", .tokens = 1, .elements = 768},
      {.name = "gpt2_batch", .tokens = 33, .elements = 768, .gap = 3},
      {.name = "odd_heads", .tokens = 9, .heads = 3, .elements = 21, .gap = 5, .bias = false},
      {.name = "query_heads", .tokens = 17, .heads = 8, .elements = 128, .gap = 256},
      {.name = "large_mean", .tokens = 4, .elements = 515, .mean = 300.0f},
      {.name = "large_row", .tokens = 2, .elements = 8192},
  };
  std::vector<Case> cases;
  AppendInTypes(shapes, kRowTypes, cases);
  AppendInTypes(shapes, kMixedRowTypes, cases);
  AppendRandom(Case{.random = true}, 15, kRowTypes, cases);
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  AppendInTypes<Case>({{.name = "decode", .tokens = 1, .elements = 4096},
                       {.name = "batch", .tokens = 256, .elements = 4096},
                       {.name = "prefill", .tokens = 8192, .elements = 4096}},
                      kRowTypes, cases);
  return cases;
}

inline Case Drawn(const Case& c, std::mt19937_64& rng) {
  if (!c.random) {
    return c;
  }
  return {.name = c.name,
          .tokens = DrawInt(rng, 1, 40),
          .heads = DrawInt(rng, 0, 3),
          .elements = DrawInt(rng, 1, 300),
          .gap = DrawInt(rng, 0, 20),
          .bias = DrawBool(rng),
          .types = c.types};
}

// See row_conformance.h. Arrays are [T, H * D] with a gap after each row.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        x_(Array()),
        out_(Array()),
        weight_(case_.types.weight, {case_.elements}),
        bias_(case_.types.weight, {case_.elements}) {
    x_.Assign(RandomFloats(rng, case_.tokens * Width(), case_.mean, 2.0f));
    weight_.Assign(RandomFloats(rng, case_.elements, 1.0f, 0.5f));
    bias_.Assign(RandomFloats(rng, case_.elements));
    args = {.x = Heads(x_),
            .weight = weight_.View(),
            .bias = case_.bias ? bias_.View() : TensorView(),
            .out = Heads(out_),
            .epsilon = 1e-5f};
  }

  void Reset() { Spoil(out_); }
  std::vector<float> Results() { return out_.Values(); }
  std::string Damage() const {
    return x_.Damage() + weight_.Damage() + bias_.Damage() + out_.Damage();
  }
  int64_t tokens() const { return case_.tokens; }
  Args Token(int64_t t) {
    Args token = args;
    token.x = args.x.Rows(t, t + 1);
    token.out = args.out.Rows(t, t + 1);
    return token;
  }
  Args InPlace() {
    out_.Assign(x_.Values());
    Args in_place = args;
    in_place.x = args.out;
    return in_place;
  }
  int64_t bytes() const { return 2 * BytesOf(case_.types.x, case_.tokens * Width()); }

  Args args;

 private:
  int64_t Width() const { return std::max<int64_t>(case_.heads, 1) * case_.elements; }
  TypedArray Array() const {
    return TypedArray(case_.types.x, {case_.tokens, Width()}, Width() + case_.gap);
  }
  TensorView Heads(TypedArray& array) const {
    return case_.heads > 0 ? array.View().SplitLast(case_.elements) : array.View();
  }

  Case case_;
  TypedArray x_;
  TypedArray out_;
  TypedArray weight_;
  TypedArray bias_;
};

}  // namespace quire::ops::layer_norm
