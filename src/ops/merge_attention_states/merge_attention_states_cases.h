// Problems that the tests and the benchmark share.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "ops/merge_attention_states/merge_attention_states.h"
#include "ops/row_cases.h"

namespace quire::ops::merge_attention_states {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.out_a);
  visit(args.lse_a);
  visit(args.out_b);
  visit(args.lse_b);
  visit(args.out);
  visit(args.lse);
}

// Which log-sum-exps are minus infinity, by row and head in turn.
enum class Empty : uint8_t { kNever, kSomeA, kSomeB, kSome, kBoth };

struct Case {
  std::string name = {};
  int64_t tokens = 0;
  int64_t heads = 1;
  int64_t elements = 0;  // D
  int64_t gap = 0;       // elements between the heads
  Empty empty = Empty::kNever;
  float spread = 3.0f;  // deviation of the log-sum-exps
  RowTypes types = {};
  bool random = false;  // all but the types is drawn

  Tolerance tolerance() const { return ToleranceOf(types.x); }
};

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> shapes = {
      {.name = "none", .tokens = 0, .heads = 2, .elements = 64},
      {.name = "one_element", .tokens = 3, .heads = 2, .elements = 1},
      {.name = "tail", .tokens = 5, .heads = 3, .elements = 83, .gap = 5, .empty = Empty::kSome},
      {.name = "decode", .tokens = 1, .heads = 9, .elements = 64},
      {.name = "gemma3", .tokens = 33, .heads = 4, .elements = 256, .gap = 16},
      {.name = "latent", .tokens = 3, .heads = 16, .elements = 512, .empty = Empty::kSome},
      {.name = "far_apart", .tokens = 9, .heads = 4, .elements = 64, .spread = 200.0f},
      {.name = "empty_a", .tokens = 9, .heads = 3, .elements = 80, .empty = Empty::kSomeA},
      {.name = "empty_b", .tokens = 9, .heads = 3, .elements = 80, .empty = Empty::kSomeB},
      {.name = "empty_both",
       .tokens = 9,
       .heads = 3,
       .elements = 80,
       .gap = 1,
       .empty = Empty::kBoth},
      {.name = "two_threads", .tokens = 70, .heads = 8, .elements = 128, .empty = Empty::kSome},
  };
  std::vector<Case> cases;
  AppendInTypes(shapes, kRowTypes, cases);
  AppendRandom(Case{.random = true}, 18, kRowTypes, cases);
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  AppendInTypes<Case>({{.name = "decode", .tokens = 32, .heads = 32, .elements = 128},
                       {.name = "prefill", .tokens = 4096, .heads = 32, .elements = 128}},
                      kRowTypes, cases);
  return cases;
}

inline Case Drawn(const Case& c, std::mt19937_64& rng) {
  if (!c.random) {
    return c;
  }
  return {.name = c.name,
          .tokens = DrawInt(rng, 1, 40),
          .heads = DrawInt(rng, 1, 9),
          .elements = DrawInt(rng, 1, 200),
          .gap = DrawInt(rng, 0, 20),
          .empty = static_cast<Empty>(DrawInt(rng, 0, 4)),
          .spread = static_cast<float>(DrawInt(rng, 0, 20)),
          .types = c.types};
}

// See row_conformance.h. What belongs to a log-sum-exp of minus infinity is NaN.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        out_a_(Array()),
        out_b_(Array()),
        out_(Array()),
        lse_a_(Sums()),
        lse_b_(Sums()),
        lse_(Sums()) {
    const Empty empty = case_.empty;
    Draw(rng, empty == Empty::kSomeA || empty == Empty::kSome ? 3 : 0, empty == Empty::kBoth,
         out_a_, lse_a_);
    Draw(rng, empty == Empty::kSomeB || empty == Empty::kSome ? 2 : 0, empty == Empty::kBoth,
         out_b_, lse_b_);
    args = {.out_a = out_a_.View(),
            .lse_a = lse_a_.View(),
            .out_b = out_b_.View(),
            .lse_b = lse_b_.View(),
            .out = out_.View(),
            .lse = lse_.View()};
  }

  void Reset() {
    Spoil(out_);
    Spoil(lse_);
  }
  std::vector<float> Results() {
    std::vector<float> results = out_.Values();
    const std::vector<float> sums = lse_.Values();
    results.insert(results.end(), sums.begin(), sums.end());
    return results;
  }
  std::string Damage() const {
    return out_a_.Damage() + out_b_.Damage() + out_.Damage() + lse_a_.Damage() + lse_b_.Damage() +
           lse_.Damage();
  }
  int64_t tokens() const { return case_.tokens; }
  Args Token(int64_t t) {
    Args token = args;
    for (TensorView* view :
         {&token.out_a, &token.lse_a, &token.out_b, &token.lse_b, &token.out, &token.lse}) {
      *view = view->Rows(t, t + 1);
    }
    return token;
  }
  Args InPlace() {
    out_.Assign(out_a_.Values());
    lse_.Assign(lse_a_.Values());
    Args in_place = args;
    in_place.out_a = args.out;
    in_place.lse_a = args.lse;
    return in_place;
  }
  int64_t bytes() const { return 3 * BytesOf(case_.types.x, Rows() * case_.elements); }

  Args args;

 private:
  int64_t Rows() const { return case_.tokens * case_.heads; }
  TypedArray Array() const {
    return {case_.types.x, {case_.tokens, case_.heads, case_.elements}, case_.elements + case_.gap};
  }
  TypedArray Sums() const { return {DType::kF32, {case_.tokens, case_.heads}}; }

  // Every `nth` row has no keys; all have none where `never`.
  void Draw(std::mt19937_64& rng, int64_t nth, bool never, TypedArray& out, TypedArray& lse) {
    std::vector<float> values = RandomFloats(rng, Rows() * case_.elements);
    std::vector<float> sums = RandomFloats(rng, Rows(), 1.0f, case_.spread);
    for (int64_t row = 0; row < Rows(); ++row) {
      if (never || (nth > 0 && row % nth == 0)) {
        sums[static_cast<size_t>(row)] = -INFINITY;
        std::fill_n(values.begin() + row * case_.elements, case_.elements, NAN);
      }
    }
    out.Assign(values);
    lse.Assign(sums);
  }

  Case case_;
  TypedArray out_a_;
  TypedArray out_b_;
  TypedArray out_;
  TypedArray lse_a_;
  TypedArray lse_b_;
  TypedArray lse_;
};

}  // namespace quire::ops::merge_attention_states
