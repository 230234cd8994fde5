// Problems that the tests and the benchmark share.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ops/rms_norm/rms_norm.h"
#include "ops/row_cases.h"

namespace quire::ops::rms_norm {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.weight);
  visit(args.out);
  visit(args.residual);
}

struct Case {
  std::string name = {};
  int64_t tokens = 0;
  int64_t heads = 0;     // 0: x is [T, D]
  int64_t elements = 0;  // D
  int64_t gap = 0;       // elements between the rows of T
  bool accumulate = false;
  bool residual = false;
  float weight_offset = 0.0f;
  RowTypes types = {};
  bool random = false;  // all but the types is drawn

  // A sum with what was there before may cancel.
  Tolerance tolerance() const {
    return types.x != DType::kF32
               ? ToleranceOf(types.x)
               : Tolerance{.rtol = 2e-6, .atol = accumulate || random ? 5e-6 : 1e-7};
  }
};

inline std::vector<Case> ConformanceCases() {
  const std::vector<Case> shapes = {
      {.name = "none", .tokens = 0, .elements = 64, .residual = true},
      {.name = "one_element", .tokens = 1, .elements = 1},
      {.name = "shorter_than_a_vector", .tokens = 3, .elements = 7, .gap = 2, .residual = true},
      {.name = "tail", .tokens = 5, .elements = 83, .accumulate = true},
      {.name = "residual_tail", .tokens = 5, .elements = 83, .gap = 5, .residual = true},
      {.name = "smollm2_decode", .tokens = 1, .elements = 576},
      {.name = "smollm2_batch", .tokens = 32, .elements = 576, .gap = 64},
      {.name = "smollm2_prefill", .tokens = 128, .elements = 576, .residual = true},
      {.name = "gemma3_post_norm", .tokens = 7, .elements = 640, .gap = 3, .accumulate = true},
      {.name = "gemma3_query_norm",
       .tokens = 33,
       .heads = 4,
       .elements = 256,
       .gap = 512,
       .weight_offset = 1.0f},
      {.name = "odd_heads", .tokens = 9, .heads = 3, .elements = 21, .gap = 5, .accumulate = true},
      {.name = "residual_heads",
       .tokens = 6,
       .heads = 2,
       .elements = 48,
       .residual = true,
       .weight_offset = 1.0f},
      {.name = "all_at_once",
       .tokens = 4,
       .elements = 130,
       .gap = 1,
       .accumulate = true,
       .residual = true,
       .weight_offset = -0.5f},
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
  AppendInTypes<Case>(
      {{.name = "decode", .tokens = 1, .elements = 4096},
       {.name = "query_norm", .tokens = 512, .heads = 32, .elements = 128},
       {.name = "batch", .tokens = 256, .elements = 4096, .residual = true},
       {.name = "prefill", .tokens = 8192, .elements = 4096},
       {.name = "prefill_residual", .tokens = 8192, .elements = 4096, .residual = true}},
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
          .accumulate = DrawBool(rng),
          .residual = DrawBool(rng),
          .weight_offset = DrawBool(rng) ? 1.0f : 0.0f,
          .types = c.types};
}

// See row_conformance.h. Arrays are [T, H * D] with a gap after each row.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        x_(Array()),
        residual_(Array()),
        out_(Array()),
        weight_(case_.types.weight, {case_.elements}) {
    const int64_t count = case_.tokens * Width();
    x_.Assign(RandomFloats(rng, count, 0.5f, 3.0f));
    residual_before_ = RandomFloats(rng, case_.residual ? count : 0, -1.0f, 2.0f);
    weight_.Assign(RandomFloats(rng, case_.elements, 1.0f, 0.5f));
    args = {.x = Heads(x_),
            .weight = weight_.View(),
            .out = Heads(out_),
            .epsilon = 1e-5f,
            .accumulate = case_.accumulate,
            .residual = case_.residual ? Heads(residual_) : TensorView(),
            .weight_offset = case_.weight_offset};
  }

  void Reset() {
    if (case_.accumulate) {
      out_.Assign(x_.Values());
    } else {
      Spoil(out_);
    }
    if (case_.residual) {
      residual_.Assign(residual_before_);
    }
  }
  std::vector<float> Results() {
    std::vector<float> results = out_.Values();
    if (case_.residual) {
      const std::vector<float> sums = residual_.Values();
      results.insert(results.end(), sums.begin(), sums.end());
    }
    return results;
  }
  std::string Damage() const {
    return x_.Damage() + weight_.Damage() + out_.Damage() + residual_.Damage();
  }
  int64_t tokens() const { return case_.tokens; }
  Args Token(int64_t t) {
    Args token = args;
    token.x = args.x.Rows(t, t + 1);
    token.out = args.out.Rows(t, t + 1);
    if (case_.residual) {
      token.residual = args.residual.Rows(t, t + 1);
    }
    return token;
  }
  Args InPlace() {
    out_.Assign(x_.Values());
    Args in_place = args;
    in_place.x = args.out;
    return in_place;
  }
  int64_t bytes() const {
    return (case_.residual ? 4 : 2) * BytesOf(case_.types.x, case_.tokens * Width());
  }

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
  TypedArray residual_;
  TypedArray out_;
  TypedArray weight_;
  std::vector<float> residual_before_;
};

}  // namespace quire::ops::rms_norm
