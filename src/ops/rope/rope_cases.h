// Problems that the tests and the benchmark share.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "ops/rope/rope.h"
#include "ops/row_cases.h"

namespace quire::ops::rope {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.cos_sin);
  visit(args.angles.positions);
  visit(args.angles.inverse_frequency);
  visit(args.out);
}

// How a problem gives its angles: by a table, or by positions [T] or [S, T].
enum class Form : uint8_t { kTable, kPositions, kSections };

struct Case {
  std::string name = {};
  int64_t tokens = 0;
  int64_t heads = 1;
  int64_t elements = 0;  // D
  int64_t rotated = 0;   // r
  int64_t gap = 0;       // elements between the rows of T of x; out has twice as many
  Style style = Style::kNeox;
  Form form = Form::kTable;
  bool in_place = false;
  int32_t max_position = 8000;
  RowTypes types = {};
  bool random = false;  // all but the types is drawn

  // With a table a rotation is two products and a sum, never contracted: there is but one right
  // answer. Without, cosines and sines differ by a unit in the last place.
  Tolerance tolerance() const {
    if (form == Form::kTable && !random) {
      return {};
    }
    return types.x != DType::kF32 ? ToleranceOf(types.x) : Tolerance{.rtol = 1e-6, .atol = 2e-6};
  }
};

inline std::vector<Case> ConformanceCases() {
  constexpr Style kNeox = Style::kNeox;
  constexpr Style kInterleaved = Style::kInterleaved;
  const std::vector<Case> shapes = {
      {"none", 0, 2, 8, 8, 0, kNeox, Form::kTable},
      {"one_pair", 1, 1, 2, 2, 0, kNeox, Form::kTable, true},
      {"nothing_rotates", 3, 2, 9, 0, 0, kNeox, Form::kTable},
      {"neox_tail", 3, 3, 46, 42, 5, kNeox, Form::kTable},
      {"interleaved_tail", 3, 3, 46, 42, 5, kInterleaved, Form::kTable},
      {"neox_partial", 5, 2, 80, 20, 0, kNeox, Form::kPositions},
      {"interleaved_partial", 5, 2, 576, 64, 0, kInterleaved, Form::kPositions, true},
      {"interleaved_long", 2, 1, 600, 600, 0, kInterleaved, Form::kTable, true},
      {"neox_long", 2, 1, 600, 600, 0, kNeox, Form::kPositions},
      {"far_positions", 17, 2, 64, 64, 0, kNeox, Form::kPositions, false, 1 << 24},
      {"smollm2_decode", 1, 12, 64, 64, 192, kInterleaved, Form::kTable, true},
      {"smollm2_prefill", 65, 12, 64, 64, 192, kInterleaved, Form::kTable, true},
      {"gemma3_prefill", 33, 5, 256, 256, 256, kNeox, Form::kTable, true},
      {"qwen2_vl", 15, 4, 128, 128, 32, kNeox, Form::kSections, true},
      {"sections_interleaved", 7, 2, 50, 38, 0, kInterleaved, Form::kSections},
  };
  std::vector<Case> cases;
  AppendInTypes(shapes, kRowTypes, cases);
  AppendRandom(Case{.random = true}, 21, kRowTypes, cases);
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  constexpr Style kNeox = Style::kNeox;
  constexpr Style kInterleaved = Style::kInterleaved;
  const std::vector<Case> shapes = {
      {"decode", 1, 32, 128, 128, 0, kNeox, Form::kTable, true},
      {"neox_prefill", 8192, 32, 128, 128, 0, kNeox, Form::kTable, true},
      {"interleaved_prefill", 8192, 32, 128, 128, 0, kInterleaved, Form::kTable, true},
      {"positions_prefill", 8192, 32, 128, 128, 0, kNeox, Form::kPositions, true},
  };
  std::vector<Case> cases;
  AppendInTypes(shapes, kRowTypes, cases);
  return cases;
}

inline Case Drawn(const Case& c, std::mt19937_64& rng) {
  if (!c.random) {
    return c;
  }
  const int64_t pairs = DrawInt(rng, 3, 150);
  return {.name = c.name,
          .tokens = DrawInt(rng, 1, 40),
          .heads = DrawInt(rng, 1, 5),
          .elements = 2 * pairs + DrawInt(rng, 0, 1) * DrawInt(rng, 0, 40),
          .rotated = 2 * pairs,
          .gap = DrawInt(rng, 0, 20),
          .style = DrawBool(rng) ? Style::kNeox : Style::kInterleaved,
          .form = static_cast<Form>(DrawInt(rng, 0, 2)),
          .in_place = DrawBool(rng),
          .max_position = 1 << DrawInt(rng, 0, 24),
          .types = c.types};
}

// See row_conformance.h. Arrays are [T, H * D] with a gap after each row.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        x_(case_.types.x, {case_.tokens, Width()}, Width() + case_.gap),
        out_(case_.types.x, {case_.tokens, Width()}, Width() + 2 * case_.gap),
        cos_sin_(DType::kF32, {case_.tokens, case_.rotated / 2, 2}) {
    x_.Assign(RandomFloats(rng, case_.tokens * Width()));
    for (int64_t i = 0; i < case_.rotated / 2; ++i) {
      frequency_.push_back(std::pow(10000.0f, -2.0f * i / case_.rotated));
    }
    const int64_t axes = case_.form == Form::kSections ? 3 : 1;
    positions_ = RandomInts(rng, axes * case_.tokens, 0, case_.max_position);
    args = {.x = Heads(x_), .style = case_.style, .out = Heads(out_)};
    if (case_.in_place) {
      args.x = Heads(out_);
      args.out = {};
    }
    if (case_.form == Form::kTable) {
      std::vector<float> table(static_cast<size_t>(case_.tokens * case_.rotated));
      ComputeCosSin(positions_, frequency_, 1.0f, table.data());
      cos_sin_.Assign(table);
      args.cos_sin = cos_sin_.View();
    } else {
      args.angles = GivenAngles();
    }
  }

  void Reset() {
    if (case_.in_place) {
      out_.Assign(x_.Values());
    } else {
      Spoil(out_);
    }
  }
  std::vector<float> Results() { return out_.Values(); }
  std::string Damage() const { return x_.Damage() + out_.Damage() + cos_sin_.Damage(); }
  int64_t tokens() const { return case_.tokens; }
  Args Token(int64_t t) {
    Args token = args;
    token.x = args.x.Rows(t, t + 1);
    token.out = case_.in_place ? TensorView() : args.out.Rows(t, t + 1);
    if (case_.form == Form::kTable) {
      token.cos_sin = args.cos_sin.Rows(t, t + 1);
    } else if (case_.form == Form::kPositions) {
      token.angles.positions = args.angles.positions.Rows(t, t + 1);
    } else {
      for (int64_t s = 0; s < 3; ++s) {
        token_positions_[s] = positions_[s * case_.tokens + t];
      }
      token.angles.positions = {token_positions_.data(), DType::kI32, {3, 1}};
    }
    return token;
  }
  Args InPlace() {
    out_.Assign(x_.Values());
    Args in_place = args;
    in_place.x = Heads(out_);
    in_place.out = {};
    return in_place;
  }
  int64_t bytes() const { return 2 * BytesOf(case_.types.x, case_.tokens * Width()); }

  Args args;

 private:
  int64_t Width() const { return case_.heads * case_.elements; }
  TensorView Heads(TypedArray& array) const { return array.View().SplitLast(case_.elements); }
  Angles GivenAngles() {
    const int64_t pairs = case_.rotated / 2;
    Angles angles = {.positions = {positions_.data(), DType::kI32, {case_.tokens}},
                     .inverse_frequency = {frequency_.data(), DType::kF32, {pairs}},
                     .attention_factor = 1.25f};
    if (case_.form == Form::kSections) {
      const auto height = static_cast<int32_t>(pairs * 3 / 8);
      angles.positions = {positions_.data(), DType::kI32, {3, case_.tokens}};
      angles.sections = {static_cast<int32_t>(pairs) - 2 * height, height, height};
    }
    return angles;
  }

  Case case_;
  TypedArray x_;
  TypedArray out_;
  TypedArray cos_sin_;
  std::vector<float> frequency_;
  std::vector<int32_t> positions_;
  std::array<int32_t, 3> token_positions_ = {};
};

}  // namespace quire::ops::rope
