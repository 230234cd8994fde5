// Problems that the tests and the benchmark share.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ops/embedding/embedding.h"
#include "ops/row_cases.h"

namespace quire::ops::embedding {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  if (!args.tokens.empty()) {  // host memory for the host alone
    args.ids = {const_cast<int32_t*>(args.tokens.data()),
                DType::kI32,
                {static_cast<int64_t>(args.tokens.size())}};
    args.tokens = {};
  }
  visit(args.table);
  visit(args.out);
  visit(args.ids);
  visit(args.drawn);
}

struct Case {
  std::string name = {};
  DType table = DType::kF32;
  int64_t tokens = 0;
  int64_t vocabulary = 9;
  int64_t elements = 0;  // D
  int64_t gap = 0;       // elements between the rows of out; of a plain table too
  float scale = 1.0f;
  DType ids = DType::kI32;
  int64_t drawn = 0;    // the last tokens are given by `drawn`
  RowTypes types = {};  // of out
  bool random = false;  // all but the types is drawn

  // The reference forms scale * code + min itself: a rounding may fall elsewhere.
  Tolerance tolerance() const {
    return types.x != DType::kF32 ? ToleranceOf(types.x) : Tolerance{.rtol = 1e-6, .atol = 1e-6};
  }
};

inline std::vector<Case> ConformanceCases() {
  const std::vector<Case> shapes = {
      {.name = "none", .tokens = 0, .elements = 8},
      {.name = "one_element", .tokens = 1, .elements = 1, .ids = DType::kI64},
      {.name = "from_f32", .tokens = 5, .elements = 37, .gap = 3},
      {.name = "from_f32_scaled", .tokens = 5, .elements = 64, .scale = 8.0f, .ids = DType::kI64},
      {.name = "two_drawn", .tokens = 5, .elements = 64, .drawn = 2},
      {.name = "all_drawn", .tokens = 3, .elements = 5, .ids = DType::kI64, .drawn = 3},
      {.name = "from_f16", .table = DType::kF16, .tokens = 3, .elements = 40},
      {.name = "from_f16_scaled",
       .table = DType::kF16,
       .tokens = 5,
       .elements = 37,
       .gap = 3,
       .scale = 25.298221f},
      {.name = "from_bf16", .table = DType::kBF16, .tokens = 3, .elements = 40, .ids = DType::kI64},
      {.name = "from_bf16_scaled",
       .table = DType::kBF16,
       .tokens = 4,
       .elements = 83,
       .gap = 1,
       .scale = 0.125f},
      {.name = "from_q4_0", .table = DType::kQ4_0, .tokens = 3, .elements = 64},
      {.name = "from_q4_1", .table = DType::kQ4_1, .tokens = 3, .elements = 64, .gap = 5},
      {.name = "from_q5_0", .table = DType::kQ5_0, .tokens = 3, .elements = 96},
      {.name = "from_q5_1", .table = DType::kQ5_1, .tokens = 3, .elements = 64},
      {.name = "from_q8_0", .table = DType::kQ8_0, .tokens = 3, .elements = 1056},
      {.name = "from_q4_k", .table = DType::kQ4_K, .tokens = 3, .elements = 512},
      {.name = "from_q5_k", .table = DType::kQ5_K, .tokens = 3, .elements = 256},
      {.name = "from_q6_k_scaled",
       .table = DType::kQ6_K,
       .tokens = 3,
       .elements = 1280,
       .gap = 16,
       .scale = 8.0f},
      {.name = "on_threads",
       .table = DType::kBF16,
       .tokens = 129,
       .vocabulary = 500,
       .elements = 640},
      {.name = "smollm2_decode",
       .table = DType::kQ8_0,
       .tokens = 1,
       .vocabulary = 1000,
       .elements = 576},
  };
  std::vector<Case> cases;
  AppendInTypes(shapes, kRowTypes, cases);
  AppendRandom(Case{.random = true}, 15, kRowTypes, cases);
  return cases;
}

inline std::vector<Case> BenchmarkCases() {
  std::vector<Case> cases;
  AppendInTypes<Case>({{.name = "q8_0_decode",
                        .table = DType::kQ8_0,
                        .tokens = 1,
                        .vocabulary = 49152,
                        .elements = 576},
                       {.name = "q8_0_prefill",
                        .table = DType::kQ8_0,
                        .tokens = 4096,
                        .vocabulary = 49152,
                        .elements = 2048},
                       {.name = "bf16_prefill",
                        .table = DType::kBF16,
                        .tokens = 8192,
                        .vocabulary = 32768,
                        .elements = 4096},
                       {.name = "bf16_scaled_prefill",
                        .table = DType::kBF16,
                        .tokens = 8192,
                        .vocabulary = 32768,
                        .elements = 4096,
                        .scale = 64.0f}},
                      kRowTypes, cases);
  return cases;
}

inline Case Drawn(const Case& c, std::mt19937_64& rng) {
  if (!c.random) {
    return c;
  }
  constexpr DType kTables[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,
                               DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                               DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
  const DType table = kTables[DrawInt(rng, 0, 10)];
  return {.name = c.name,
          .table = table,
          .tokens = DrawInt(rng, 1, 40),
          .vocabulary = DrawInt(rng, 1, 100),
          .elements = DrawInt(rng, 1, 5) * (IsQuantized(table) ? InfoOf(table).block_elements : 23),
          .gap = DrawInt(rng, 0, 20),
          .scale = DrawBool(rng) ? 1.0f : 3.0f,
          .ids = DrawBool(rng) ? DType::kI32 : DType::kI64,
          .types = c.types};
}

// Bytes of a table whose values are all of ordinary size: any code bits, every half-sized word of a
// block a number around 1. Formats keep their halves at even offsets, and codes may be anything.
inline std::vector<uint8_t> TableBytes(DType dtype, int64_t elements, std::mt19937_64& rng) {
  std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(dtype, elements)));
  const std::vector<float> pool = RandomFloats(rng, 4096);
  const DType stored = IsQuantized(dtype) ? DType::kF16 : dtype;
  const auto count = static_cast<int64_t>(bytes.size()) / BytesOf(stored, 1);
  for (int64_t i = 0; i < count; ++i) {
    const float number = pool[static_cast<size_t>(i * 7 + i / 4096) % pool.size()];
    StoreElement(IsQuantized(dtype) ? 0.25f + std::min(std::abs(number), 3.0f) : number,
                 bytes.data(), stored, i);
  }
  return bytes;
}

// See row_conformance.h. Unused rows of the table are there to be read by mistake.
class Problem {
 public:
  Problem(const Case& given, std::mt19937_64& rng)
      : case_(Drawn(given, rng)),
        tokens_(RandomInts(rng, case_.tokens, 0, static_cast<int32_t>(case_.vocabulary - 1))),
        stride_(case_.elements + (IsQuantized(case_.table) ? 0 : case_.gap)),
        table_(TableBytes(case_.table, case_.vocabulary * stride_, rng)),
        out_(case_.types.x, {case_.tokens, case_.elements}, case_.elements + case_.gap) {
    if (case_.tokens > 1) {
      tokens_[0] = static_cast<int32_t>(case_.vocabulary - 1);
      tokens_[1] = 0;
    }
    for (int64_t i = 0; i < case_.drawn; ++i) {  // the last one first
      int32_t& token = tokens_[static_cast<size_t>(case_.tokens - 1 - i)];
      drawn_.push_back(token);
      token = static_cast<int32_t>(-1 - i);
    }
    wide_.assign(tokens_.begin(), tokens_.end());
    args = {.tokens = tokens_,
            .table = {table_.data(), case_.table, {case_.vocabulary, case_.elements}, {stride_, 1}},
            .out = out_.View(),
            .scale = case_.scale};
    if (case_.ids == DType::kI64) {
      args.tokens = {};
      args.ids = {wide_.data(), DType::kI64, {case_.tokens}};
    }
    if (case_.drawn > 0) {
      args.drawn = {drawn_.data(), DType::kI32, {case_.drawn}};
    }
  }

  void Reset() { Spoil(out_); }
  std::vector<float> Results() { return out_.Values(); }
  std::string Damage() const { return out_.Damage(); }
  int64_t tokens() const { return case_.tokens; }
  Args Token(int64_t t) {
    Args token = args;
    token.out = args.out.Rows(t, t + 1);
    if (case_.ids == DType::kI64) {
      token.ids = args.ids.Rows(t, t + 1);
    } else {
      token.tokens = args.tokens.subspan(t, 1);
    }
    return token;
  }
  int64_t bytes() const {
    return case_.tokens *
           (BytesOf(case_.table, case_.elements) + BytesOf(case_.types.x, case_.elements));
  }

  std::vector<int32_t>& token_ids() { return tokens_; }

  Args args;

 private:
  Case case_;
  std::vector<int32_t> tokens_;
  std::vector<int64_t> wide_;
  std::vector<int32_t> drawn_;
  int64_t stride_;  // elements of a row of the table
  std::vector<uint8_t> table_;
  TypedArray out_;
};

}  // namespace quire::ops::embedding
