// Problems that the tests and the benchmark share.
#pragma once

#include <string>
#include <vector>

#include "ops/act_and_mul/act_and_mul.h"
#include "ops/row_cases.h"

namespace quire::ops::act_and_mul {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.gate_up);
  visit(args.out);
  visit(args.gate);
  visit(args.up);
}

// How a problem gives its inputs.
enum class Form : uint8_t { kGateUp, kGateAndUp, kGateAlone };

struct Case {
  std::string name = {};
  int64_t tokens = 0;
  int64_t features = 0;  // F
  int64_t gap = 0;       // elements between the rows of the inputs; out has twice as many
  Form form = Form::kGateUp;
  Activation activation = Activation::kSilu;
  RowTypes types = {};
  bool random = false;  // all but the types is drawn

  // fp32: e^-x to 1.5 units, a sum, a quotient and a product, each rounded. GELU: its exponent is
  // rounded before e^ multiplies that error by the exponent, which only tiny results (x < -1) have
  // large.
  Tolerance tolerance() const {
    return types.x != DType::kF32 ? ToleranceOf(types.x) : Tolerance{.rtol = 2e-6, .atol = 2e-7};
  }
};

inline std::vector<Case> ConformanceCases() {
  const std::vector<Case> shapes = {
      {.name = "none", .tokens = 0, .features = 16},
      {.name = "one_element", .tokens = 1, .features = 1},
      {.name = "tail", .tokens = 5, .features = 37, .gap = 3},
      {.name = "two_views_tail", .tokens = 5, .features = 37, .gap = 3, .form = Form::kGateAndUp},
      {.name = "gate_alone_tail", .tokens = 4, .features = 29, .gap = 1, .form = Form::kGateAlone},
      {.name = "decode", .tokens = 1, .features = 1536},
      {.name = "batch", .tokens = 33, .features = 512, .gap = 16},
      {.name = "prefill", .tokens = 65, .features = 1024, .form = Form::kGateAndUp},
  };
  constexpr struct {
    const char* name;
    Activation activation;
  } kActivations[] = {{"silu", Activation::kSilu},
                      {"gelu_tanh", Activation::kGeluTanh},
                      {"gelu", Activation::kGelu}};
  std::vector<Case> activated;
  for (const auto& activation : kActivations) {
    for (Case c : shapes) {
      c.name = StrCat(activation.name, "_", c.name);
      c.activation = activation.activation;
      activated.push_back(c);
    }
  }
  std::vector<Case> cases;
  AppendInTypes(activated, kRowTypes, cases);
  AppendRandom(Case{.random = true}, 15, kRowTypes, cases);
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  AppendInTypes<Case>(
      {{.name = "silu_decode", .tokens = 1, .features = 14336},
       {.name = "silu_prefill", .tokens = 4096, .features = 4096},
       {.name = "gelu_tanh_prefill",
        .tokens = 4096,
        .features = 4096,
        .activation = Activation::kGeluTanh},
       {.name = "gelu_prefill", .tokens = 4096, .features = 4096, .activation = Activation::kGelu}},
      kRowTypes, cases);
  return cases;
}

inline Case Drawn(const Case& c, std::mt19937_64& rng) {
  if (!c.random) {
    return c;
  }
  return {.name = c.name,
          .tokens = DrawInt(rng, 1, 40),
          .features = DrawInt(rng, 1, 300),
          .gap = DrawInt(rng, 0, 20),
          .form = static_cast<Form>(DrawInt(rng, 0, 2)),
          .activation = static_cast<Activation>(DrawInt(rng, 0, 2)),
          .types = c.types};
}

// See row_conformance.h. The inputs lie in one array [T, 2 F], in either form.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        gate_up_(case_.types.x, {case_.tokens, 2 * case_.features}, 2 * case_.features + case_.gap),
        out_(case_.types.x, {case_.tokens, case_.features}, case_.features + 2 * case_.gap) {
    gate_up_.Assign(RandomFloats(rng, 2 * case_.tokens * case_.features, 0.0f, 3.0f));
    args = {.out = out_.View(), .activation = case_.activation};
    if (case_.form == Form::kGateUp) {
      args.gate_up = gate_up_.View();
    } else {
      args.gate = Gate();
      args.up = case_.form == Form::kGateAndUp ? Up() : TensorView();
    }
  }

  void Reset() { Spoil(out_); }
  std::vector<float> Results() { return out_.Values(); }
  std::string Damage() const { return gate_up_.Damage() + out_.Damage(); }
  int64_t tokens() const { return case_.tokens; }
  Args Token(int64_t t) {
    Args token = args;
    token.out = args.out.Rows(t, t + 1);
    for (TensorView* input : {&token.gate_up, &token.gate, &token.up}) {
      *input = input->rank() > 0 ? input->Rows(t, t + 1) : *input;
    }
    return token;
  }
  // The arguments that compute element `i` of token `t` alone.
  Args Element(int64_t t, int64_t i) {
    const auto only = [&](const TensorView& view) { return view.Rows(t, t + 1).Columns(i, i + 1); };
    Args element = {.out = only(args.out), .activation = case_.activation, .gate = only(Gate())};
    if (case_.form != Form::kGateAlone) {
      element.up = only(Up());
    }
    return element;
  }
  Args InPlace() {
    const std::vector<float> inputs = gate_up_.Values();
    std::vector<float> gates;
    for (int64_t t = 0; t < case_.tokens; ++t) {
      const auto row = inputs.begin() + 2 * t * case_.features;
      gates.insert(gates.end(), row, row + case_.features);
    }
    out_.Assign(gates);
    Args in_place = {.out = args.out, .activation = case_.activation, .gate = args.out};
    if (case_.form != Form::kGateAlone) {
      in_place.up = Up();
    }
    return in_place;
  }
  int64_t bytes() const {
    return (case_.form == Form::kGateAlone ? 2 : 3) *
           BytesOf(case_.types.x, case_.tokens * case_.features);
  }
  int64_t features() const { return case_.features; }
  TypedArray& gate_up() { return gate_up_; }

  Args args;

 private:
  TensorView Gate() { return gate_up_.View().Columns(0, case_.features); }
  TensorView Up() { return gate_up_.View().Columns(case_.features, 2 * case_.features); }

  Case case_;
  TypedArray gate_up_;
  TypedArray out_;
};

}  // namespace quire::ops::act_and_mul
