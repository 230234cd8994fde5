// Problems of page_table_copy and repack_kv_index, shared by their tests and benchmarks. No product
// code includes this.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/page_table_copy/page_table_copy.h"
#include "ops/page_table_copy/request_pages.h"

namespace quire::ops::page_table_copy {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.request_pages);
  visit(args.request_ids);
  visit(args.kv_length);
  visit(args.out);
}

struct Case {
  std::string name = {};
  int32_t page_size = 16;
  std::vector<int32_t> lengths = {};  // tokens of each sequence; empty: drawn
  int32_t batch = 0;                  // of drawn lengths
  int32_t max_length = 0;             // of drawn lengths, reached by one sequence
  int32_t spare_pages = 0;            // by which a request's row is longer than max_length needs
  int32_t row_gap = 0;                // elements between the rows of both tables
  bool random = false;                // page size, batch, lengths and gaps are drawn too
};

// The case with its lengths, which are drawn from the seed where the case has none.
inline Case Drawn(const Case& c, uint64_t seed) {
  std::mt19937_64 rng(seed);
  Case drawn = c;
  if (c.random) {
    drawn.page_size = 1 << RandomInts(rng, 1, 0, 8)[0];
    drawn.batch = RandomInts(rng, 1, 1, 40)[0];
    drawn.max_length = RandomInts(rng, 1, 1, 600)[0] * (drawn.page_size < 4 ? 1 : 9);
    drawn.spare_pages = RandomInts(rng, 1, 0, 5)[0];
    drawn.row_gap = RandomInts(rng, 1, 0, 9)[0];
  }
  if (drawn.batch > 0) {
    drawn.lengths = RandomInts(rng, drawn.batch, 0, drawn.max_length);
    drawn.lengths[rng() % drawn.lengths.size()] = drawn.max_length;
  }
  for (const int32_t length : drawn.lengths) {
    drawn.max_length = std::max(drawn.max_length, length);
  }
  return drawn;
}

// The table of more requests than the case has sequences, and the sequences in a random order. The
// pages that no sequence may use are far out of any cache.
class Requests {
 public:
  static constexpr int32_t kNoPage = 0x7eadbeef;

  // REQUIRES: a case from Drawn().
  Requests(const Case& c, uint64_t seed)
      : lengths_(c.lengths),
        width_(PagesOf(c.max_length, c.page_size) + c.spare_pages),
        table_({static_cast<int64_t>(c.lengths.size()) + 3, width_}, width_ + c.row_gap) {
    std::mt19937_64 rng(seed);
    ids_.resize(c.lengths.size() + 3);
    std::iota(ids_.begin(), ids_.end(), 0);
    std::shuffle(ids_.begin(), ids_.end(), rng);
    ids_.resize(c.lengths.size());
    std::vector<int32_t> pages(static_cast<size_t>(table_.rows() * width_), kNoPage);
    for (size_t b = 0; b < ids_.size(); ++b) {
      for (int64_t page = 0; page < PagesOf(lengths_[b], c.page_size); ++page) {
        pages[static_cast<size_t>(ids_[b] * width_ + page)] = static_cast<int32_t>(rng() % 100000);
      }
    }
    table_.Assign(pages);
  }

  int64_t batch() const { return static_cast<int64_t>(ids_.size()); }
  int64_t width() const { return width_; }
  TensorView request_pages() {
    return {table_.data(), DType::kI32, {batch() + 3, width_}, {table_.Row(1) - table_.Row(0), 1}};
  }
  TensorView request_ids() { return {ids_.data(), DType::kI32, {batch()}}; }
  TensorView kv_length() { return {lengths_.data(), DType::kI32, {batch()}}; }
  std::vector<int32_t>& ids() { return ids_; }
  std::vector<int32_t>& lengths() { return lengths_; }

 private:
  std::vector<int32_t> lengths_;
  std::vector<int32_t> ids_;
  int64_t width_;
  GuardedArray<int32_t> table_;
};

// Lengths around every page boundary, and around the ends of the blocks of `block_pages` pages that
// an implementation may cut a copy into; the grid of batches that is usual for such operators.
inline std::vector<Case> ConformanceCases(int32_t block_pages) {
  std::vector<Case> cases;
  for (const int32_t p : {1, 4, 16, 64}) {
    cases.push_back({.name = StrCat("boundaries_page_", p),
                     .page_size = p,
                     .lengths = {0, 1, p - 1, p, p + 1, 0, 2 * p - 1, 2 * p, 2 * p + 1, 7 * p, 0},
                     .spare_pages = 2,
                     .row_gap = 3});
    cases.push_back({.name = StrCat("blocks_page_", p),
                     .page_size = p,
                     .lengths = {block_pages * p, block_pages * p + 1, block_pages * p - 1,
                                 2 * block_pages * p + 1, 1, 3 * block_pages * p}});
    for (const int32_t length : {0, 1, p, p + 1}) {
      cases.push_back({.name = StrCat("one_of_", length, "_page_", p, "_", cases.size()),
                       .page_size = p,
                       .lengths = {length}});
    }
    cases.push_back({.name = StrCat("batch_64_length_5000_page_", p),
                     .page_size = p,
                     .batch = 64,
                     .max_length = 5000});
  }
  cases.push_back({.name = "no_sequences"});
  cases.push_back({.name = "all_empty", .lengths = {0, 0, 0, 0}});
  cases.push_back({.name = "grid_1_16_4", .page_size = 4, .batch = 1, .max_length = 16});
  cases.push_back({.name = "grid_8_32_4", .page_size = 4, .batch = 8, .max_length = 32});
  cases.push_back({.name = "grid_16_128_8", .page_size = 8, .batch = 16, .max_length = 128});
  for (int i = 0; i < 16; ++i) {
    cases.push_back({.name = StrCat("random_", i), .random = true});
  }
  return cases;
}

}  // namespace quire::ops::page_table_copy
