// Problems that the tests and the benchmark share.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "ops/gather_last_rows/gather_last_rows.h"
#include "ops/row_cases.h"

namespace quire::ops::gather_last_rows {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.rows);
  visit(args.query_start);
  visit(args.out);
}

struct Case {
  std::string name = {};
  int64_t tokens = 0;     // T
  int64_t rows = 0;       // R
  int64_t elements = 0;   // D
  int64_t gap = 0;        // elements between the rows of x; out has twice as many
  bool sequences = true;  // query_start, else rows
  RowTypes types = {};
  bool random = false;  // all but the types is drawn
};

inline std::vector<Case> ConformanceCases() {
  const std::vector<Case> shapes = {
      {.name = "none", .tokens = 0, .rows = 0, .elements = 8},
      {.name = "no_rows", .tokens = 5, .rows = 0, .elements = 8, .sequences = false},
      {.name = "one_element", .tokens = 1, .rows = 1, .elements = 1},
      {.name = "no_columns", .tokens = 3, .rows = 2, .elements = 0},
      {.name = "decode", .tokens = 7, .rows = 7, .elements = 65},
      {.name = "one_prefill", .tokens = 65, .rows = 1, .elements = 576, .gap = 3},
      {.name = "ragged", .tokens = 63, .rows = 9, .elements = 576, .gap = 64},
      {.name = "repeated_rows",
       .tokens = 5,
       .rows = 33,
       .elements = 37,
       .gap = 1,
       .sequences = false},
      {.name = "verification_rows", .tokens = 40, .rows = 24, .elements = 640, .sequences = false},
      {.name = "on_threads", .tokens = 200, .rows = 64, .elements = 2048},
  };
  std::vector<Case> cases;
  AppendInTypes(shapes, kRowTypes, cases);
  AppendRandom(Case{.random = true}, 30, kRowTypes, cases);
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  AppendInTypes<Case>({{.name = "decode", .tokens = 64, .rows = 64, .elements = 4096},
                       {.name = "prefill", .tokens = 8192, .rows = 16, .elements = 4096},
                       {.name = "large", .tokens = 16384, .rows = 8192, .elements = 4096}},
                      kRowTypes, cases);
  return cases;
}

inline Case Drawn(const Case& c, std::mt19937_64& rng) {
  if (!c.random) {
    return c;
  }
  const int64_t tokens = DrawInt(rng, 1, 60);
  return {.name = c.name,
          .tokens = tokens,
          .rows = DrawInt(rng, 0, tokens),
          .elements = DrawInt(rng, 1, 300),
          .gap = DrawInt(rng, 0, 20),
          .sequences = DrawBool(rng),
          .types = c.types};
}

// See row_conformance.h. A "token" is a row of out.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        x_(case_.types.x, {case_.tokens, case_.elements}, case_.elements + case_.gap),
        out_(case_.types.x, {case_.rows, case_.elements}, case_.elements + 2 * case_.gap) {
    x_.Assign(RandomFloats(rng, case_.tokens * case_.elements));
    if (case_.sequences) {
      index_ = Starts(rng);
    } else if (case_.rows > 0) {
      index_ = RandomInts(rng, case_.rows, 0, static_cast<int32_t>(case_.tokens - 1));
    }
    const TensorView index(index_.data(), DType::kI32, {static_cast<int64_t>(index_.size())});
    args = {.x = x_.View(),
            .rows = case_.sequences ? TensorView() : index,
            .query_start = case_.sequences ? index : TensorView(),
            .out = out_.View()};
  }

  void Reset() { Spoil(out_); }
  std::vector<float> Results() { return out_.Values(); }
  std::string Damage() const { return x_.Damage() + out_.Damage(); }
  int64_t tokens() const { return case_.rows; }
  Args Token(int64_t r) {
    Args token = args;
    token.out = args.out.Rows(r, r + 1);
    if (case_.sequences) {
      token.query_start = args.query_start.Rows(r, r + 2);
    } else {
      token.rows = args.rows.Rows(r, r + 1);
    }
    return token;
  }
  int64_t bytes() const { return 2 * BytesOf(case_.types.x, case_.rows * case_.elements); }

  std::vector<int32_t>& index() { return index_; }

  Args args;

 private:
  // R different ends in 1 .. T, the last row of x among them.
  std::vector<int32_t> Starts(std::mt19937_64& rng) const {
    std::vector<int32_t> ends(static_cast<size_t>(std::max<int64_t>(case_.tokens - 1, 0)));
    std::iota(ends.begin(), ends.end(), 1);
    std::shuffle(ends.begin(), ends.end(), rng);
    ends.resize(static_cast<size_t>(std::max<int64_t>(case_.rows - 1, 0)));
    std::sort(ends.begin(), ends.end());
    std::vector<int32_t> starts = {0};
    starts.insert(starts.end(), ends.begin(), ends.end());
    if (case_.rows > 0) {
      starts.push_back(static_cast<int32_t>(case_.tokens));
    }
    return starts;
  }

  Case case_;
  TypedArray x_;
  TypedArray out_;
  std::vector<int32_t> index_;
};

}  // namespace quire::ops::gather_last_rows
