// Problems of copy_pages, shared by its test and its benchmark. No product code includes this.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/copy_pages/copy_pages.h"

namespace quire::ops::copy_pages {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.source);
  visit(args.destination);
  visit(args.pairs);
}

struct Case {
  std::string name = {};
  int32_t source_pages = 9;
  int32_t destination_pages = 12;
  int32_t page_elements = 2 * 16 * 64;
  int32_t pairs = 5;
  DType dtype = DType::kF16;
  bool within = false;  // source is the destination too
  bool random = false;  // the extents are drawn instead
};

// The case itself, or what the seed makes of a random one.
inline Case Drawn(const Case& c, uint64_t seed) {
  if (!c.random) {
    return c;
  }
  std::mt19937_64 rng(seed);
  Case drawn = c;
  drawn.source_pages = RandomInts(rng, 1, 1, 60)[0];
  drawn.destination_pages = RandomInts(rng, 1, 1, 60)[0];
  drawn.page_elements = RandomInts(rng, 1, 1, 3000)[0];
  const int32_t most = c.within ? drawn.destination_pages / 2 : drawn.destination_pages;
  drawn.pairs = RandomInts(rng, 1, 0, most)[0];
  return drawn;
}

// `count` pairs: different destinations; sources may repeat, but are not written within one array.
inline std::vector<int32_t> DrawnPairs(std::mt19937_64& rng, const Case& c) {
  std::vector<int32_t> pages(static_cast<size_t>(c.destination_pages));
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), rng);
  std::vector<int32_t> pairs;
  for (int32_t i = 0; i < c.pairs; ++i) {
    const size_t kept = pages.size() - static_cast<size_t>(c.pairs);
    const int32_t from = c.within ? pages[static_cast<size_t>(c.pairs) + rng() % kept]
                                  : static_cast<int32_t>(rng() % c.source_pages);
    pairs.insert(pairs.end(), {from, pages[static_cast<size_t>(i)]});
  }
  return pairs;
}

// A case with its memory. The pages have random bytes.
class Problem {
 public:
  Problem(const Case& c, uint64_t seed)
      : case_(c),
        source_({BytesOf(c.dtype, int64_t{c.source_pages} * c.page_elements)}),
        destination_({BytesOf(c.dtype, int64_t{c.destination_pages} * c.page_elements)}) {
    std::mt19937_64 rng(seed);
    source_.Assign(RandomBytes(rng, source_.columns()));
    before_ = RandomBytes(rng, destination_.columns());
    pairs_ = DrawnPairs(rng, c);
    Clear();
  }

  Args args() {
    const TensorView destination(destination_.data(), case_.dtype,
                                 {case_.destination_pages, case_.page_elements});
    const TensorView source(source_.data(), case_.dtype, {case_.source_pages, case_.page_elements});
    return {.source = case_.within ? destination : source,
            .destination = destination,
            .pairs = {pairs_.data(), DType::kI32, {static_cast<int64_t>(pairs_.size()) / 2, 2}}};
  }
  std::vector<int32_t>& pairs() { return pairs_; }
  std::vector<uint8_t> Destination() const { return destination_.Values(); }
  const std::vector<uint8_t>& before() const { return before_; }
  std::string Damage() const { return source_.Damage() + destination_.Damage(); }
  // The destination as it was before any copy.
  void Clear() { destination_.Assign(before_); }

 private:
  static std::vector<uint8_t> RandomBytes(std::mt19937_64& rng, int64_t count) {
    std::vector<uint8_t> bytes(static_cast<size_t>(count));
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(rng());
    }
    return bytes;
  }

  const Case case_;
  GuardedArray<uint8_t> source_;
  GuardedArray<uint8_t> destination_;
  std::vector<uint8_t> before_;
  std::vector<int32_t> pairs_;
};

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases = {
      {.name = "no_pairs", .pairs = 0},
      {.name = "one_pair", .pairs = 1},
      {.name = "all_pages", .pairs = 12},
      {.name = "within_no_pairs", .pairs = 0, .within = true},
      {.name = "within_one_pair", .pairs = 1, .within = true},
      {.name = "within_most_pages", .pairs = 11, .within = true},
      {.name = "empty_pages", .page_elements = 0},
      {.name = "one_source_page", .source_pages = 1, .pairs = 9},
      {.name = "pages_of_a_byte", .page_elements = 1, .dtype = DType::kF8E4M3},
      {.name = "pages_of_a_piece", .page_elements = 65536, .pairs = 3, .dtype = DType::kF32},
      {.name = "pages_past_a_piece", .page_elements = 65537, .pairs = 3, .dtype = DType::kF32},
      {.name = "within_pages_of_pieces",
       .page_elements = 140001,
       .pairs = 3,
       .dtype = DType::kF32,
       .within = true},
      {.name = "many_small_pages",
       .source_pages = 3000,
       .destination_pages = 4000,
       .page_elements = 24,
       .pairs = 2500},
  };
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kI64, DType::kQ8_0}) {
    cases.push_back({.name = StrCat("type_", InfoOf(dtype).name), .dtype = dtype});
    cases.push_back(
        {.name = StrCat("within_type_", InfoOf(dtype).name), .dtype = dtype, .within = true});
  }
  for (int i = 0; i < 24; ++i) {
    constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};
    cases.push_back({.name = StrCat("random_", i),
                     .dtype = kTypes[i % 4],
                     .within = i % 3 == 0,
                     .random = true});
  }
  return cases;
}

}  // namespace quire::ops::copy_pages
