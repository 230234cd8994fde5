// Problems of paged_attention, shared by its tests and its benchmark: sequences with known keys and
// values in a cache whose pages lie in random order and whose unused slots hold NaNs. No product
// code includes this.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/paged_attention/paged_attention.h"
#include "tensor/half.h"

namespace quire::ops::paged_attention {

struct Case {
  std::string name;
  int q_heads = 4;
  int kv_heads = 2;
  int head_dim = 64;
  int page_size = 16;
  DType dtype = DType::kF16;
  std::vector<int32_t> lengths;  // [B] tokens in the cache
  std::vector<int32_t> rows;     // [B] query rows, the last of each sequence
  int32_t window_left = -1;
  float logit_soft_cap = 0.0f;
  Tolerance tolerance = {2e-5, 2e-6};
};

// Element i of a row of numbers in `dtype`, rounded from fp32.
inline void PutElement(void* data, DType dtype, int64_t i, float value) {
  switch (dtype) {
    case DType::kF16: static_cast<uint16_t*>(data)[i] = FloatToHalf(value); break;
    case DType::kBF16: static_cast<uint16_t*>(data)[i] = FloatToBFloat16(value); break;
    default: static_cast<float*>(data)[i] = value; break;
  }
}

// What sequences hold, whatever their pages: queries, keys and values of every position of every
// sequence, made from a seed. The same seed and sequence index give the same numbers in every case.
struct SequenceData {
  std::vector<float> query;  // [length, Hq, D]
  std::vector<float> key;    // [length, Hkv, D]
  std::vector<float> value;  // [length, Hkv, D]
};
inline SequenceData MakeSequence(const Case& problem, uint64_t seed, int32_t index,
                                 int32_t length) {
  std::mt19937_64 rng(seed * 1000003 + static_cast<uint64_t>(index));
  const int64_t kv = int64_t{length} * problem.kv_heads * problem.head_dim;
  const int64_t q = int64_t{length} * problem.q_heads * problem.head_dim;
  return {RandomFloats(rng, q), RandomFloats(rng, kv), RandomFloats(rng, kv)};
}

// A case with its memory. Pages are taken in random order from twice as many as needed; slots of no
// token hold NaN, as do the pages that nobody owns.
class Problem {
 public:
  Problem(const Case& problem, const std::vector<SequenceData>& data, uint64_t page_seed,
          int64_t row_gap = 0)
      : case_(problem),
        query_stride_(problem.head_dim + row_gap),
        query_({Tokens(problem), problem.q_heads, problem.head_dim}, query_stride_),
        out_({Tokens(problem), problem.q_heads, problem.head_dim}) {
    max_pages_ = 1;
    for (const int32_t length : problem.lengths) {
      max_pages_ = std::max(max_pages_, (length + problem.page_size - 1) / problem.page_size);
    }
    TakePages(page_seed);
    FillCache(data);
    FillQueries(data);
  }

  Args args() {
    Args args;
    args.query = query_.View(DType::kF32);
    args.cache = {k_.data(),      v_.data(),       case_.dtype,    num_pages_,
                  case_.kv_heads, case_.page_size, case_.head_dim, Place::Host()};
    args.sequences = {page_table_.data(), case_.lengths.data(), query_start_.data(),
                      static_cast<int32_t>(case_.lengths.size()), max_pages_};
    args.out = out_.View(DType::kF32);
    args.scale = 1.0f / std::sqrt(static_cast<float>(case_.head_dim));
    args.window_left = case_.window_left;
    args.logit_soft_cap = case_.logit_soft_cap;
    return args;
  }
  GuardedArray<float>& out() { return out_; }
  std::vector<int32_t>& page_table() { return page_table_; }
  // Bytes of keys and values that the sequences hold.
  int64_t KvBytes() const {
    const int64_t tokens = std::accumulate(case_.lengths.begin(), case_.lengths.end(), int64_t{0});
    return 2 * tokens * case_.kv_heads * BytesOf(case_.dtype, case_.head_dim);
  }
  // The output rows of sequence b: [rows, Hq, D].
  std::vector<float> OutputOf(size_t b) const {
    const int64_t row = int64_t{case_.q_heads} * case_.head_dim;
    const std::vector<float> all = out_.Values();
    return {all.begin() + query_start_[b] * row, all.begin() + query_start_[b + 1] * row};
  }

 private:
  static int64_t Tokens(const Case& problem) {
    return std::accumulate(problem.rows.begin(), problem.rows.end(), int64_t{0});
  }

  void TakePages(uint64_t seed) {
    int32_t needed = 0;
    for (const int32_t length : case_.lengths) {
      needed += (length + case_.page_size - 1) / case_.page_size;
    }
    num_pages_ = 2 * needed + 1;
    std::vector<int32_t> free(static_cast<size_t>(num_pages_));
    std::iota(free.begin(), free.end(), 0);
    std::mt19937_64 rng(seed);
    std::shuffle(free.begin(), free.end(), rng);
    page_table_.assign(case_.lengths.size() * static_cast<size_t>(max_pages_), -1);
    for (size_t b = 0; b < case_.lengths.size(); ++b) {
      for (int32_t page = 0; page * case_.page_size < case_.lengths[b]; ++page) {
        page_table_[b * static_cast<size_t>(max_pages_) + static_cast<size_t>(page)] = free.back();
        free.pop_back();
      }
    }
  }

  void FillCache(const std::vector<SequenceData>& data) {
    const int64_t elements = num_pages_ * case_.kv_heads * case_.page_size * case_.head_dim;
    k_.assign(static_cast<size_t>(BytesOf(case_.dtype, elements)), 0xff);  // a NaN in every type
    v_ = k_;
    const PagedKvView view = args().cache;
    for (size_t b = 0; b < case_.lengths.size(); ++b) {
      for (int32_t t = 0; t < case_.lengths[b]; ++t) {
        const int32_t page = page_table_[b * static_cast<size_t>(max_pages_) +
                                         static_cast<size_t>(t / case_.page_size)];
        for (int32_t head = 0; head < case_.kv_heads; ++head) {
          const int64_t to =
              view.ElementOffset(page, head) + int64_t{t % case_.page_size} * case_.head_dim;
          const auto from =
              static_cast<size_t>((int64_t{t} * case_.kv_heads + head) * case_.head_dim);
          for (int d = 0; d < case_.head_dim; ++d) {
            PutElement(k_.data(), case_.dtype, to + d, data[b].key[from + static_cast<size_t>(d)]);
            PutElement(v_.data(), case_.dtype, to + d,
                       data[b].value[from + static_cast<size_t>(d)]);
          }
        }
      }
    }
  }

  void FillQueries(const std::vector<SequenceData>& data) {
    query_start_ = {0};
    std::vector<float> queries;
    for (size_t b = 0; b < case_.lengths.size(); ++b) {
      const int64_t row = int64_t{case_.q_heads} * case_.head_dim;
      const float* end = data[b].query.data() + case_.lengths[b] * row;
      queries.insert(queries.end(), end - case_.rows[b] * row, end);
      query_start_.push_back(query_start_.back() + case_.rows[b]);
    }
    query_.Assign(queries);
  }

  const Case case_;
  const int64_t query_stride_;
  GuardedArray<float> query_;
  GuardedArray<float> out_;
  std::vector<uint8_t> k_;
  std::vector<uint8_t> v_;
  std::vector<int32_t> page_table_;
  std::vector<int32_t> query_start_;
  int32_t max_pages_ = 0;
  int64_t num_pages_ = 0;
};

inline std::vector<SequenceData> MakeSequences(const Case& problem, uint64_t seed) {
  std::vector<SequenceData> data;
  for (size_t b = 0; b < problem.lengths.size(); ++b) {
    data.push_back(MakeSequence(problem, seed, static_cast<int32_t>(b), problem.lengths[b]));
  }
  return data;
}

// The shapes of real models that the benchmark runs.
inline Case SmolLm2Shape() {
  return {
      .name = "smollm2", .q_heads = 9, .kv_heads = 3, .head_dim = 64, .lengths = {}, .rows = {}};
}
inline Case Gemma3Shape() {
  return {
      .name = "gemma3", .q_heads = 4, .kv_heads = 1, .head_dim = 256, .lengths = {}, .rows = {}};
}

// One decode row each at lengths around page, tile and range borders; an empty sequence among them.
inline Case DecodeCase(std::string name) {
  return {.name = std::move(name),
          .lengths = {1, 15, 16, 0, 17, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1100},
          .rows = {1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
}

// Decode rows, verification rows, whole prompts and later chunks together.
inline Case MixedCase(std::string name) {
  return {
      .name = std::move(name), .lengths = {70, 33, 600, 5, 530, 1}, .rows = {1, 33, 4, 0, 40, 1}};
}

inline std::vector<Case> ConformanceCases() {
  std::vector<Case> cases;
  for (const int page_size : {1, 2, 16, 64, 256}) {
    cases.push_back(DecodeCase(StrCat("decode_page_", page_size)));
    cases.back().page_size = page_size;
    cases.push_back(MixedCase(StrCat("mixed_page_", page_size)));
    cases.back().page_size = page_size;
  }
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int head_dim : {16, 64, 80, 96, 128, 192, 256, 512}) {
      cases.push_back(MixedCase(StrCat("mixed_", InfoOf(dtype).name, "_dim_", head_dim)));
      if (head_dim > 128) {  // the reference is slow
        cases.back().lengths = {70, 33, 300, 5};
        cases.back().rows = {1, 33, 4, 0};
      }
      cases.back().dtype = dtype;
      cases.back().head_dim = head_dim;
    }
  }
  for (const int group : {1, 3, 4, 5, 8}) {
    cases.push_back(DecodeCase(StrCat("decode_group_", group)));
    cases.back().q_heads = 2 * group;
    cases.push_back(MixedCase(StrCat("mixed_group_", group)));
    cases.back().q_heads = 3 * group;
    cases.back().kv_heads = 3;
  }
  for (const int32_t window : {0, 1, 63, 64, 100, 511, 512}) {
    cases.push_back(DecodeCase(StrCat("decode_window_", window)));
    cases.back().window_left = window;
    cases.push_back(MixedCase(StrCat("mixed_window_", window)));
    cases.back().window_left = window;
  }
  for (const bool windowed : {false, true}) {
    cases.push_back(MixedCase(StrCat("mixed_soft_cap", windowed ? "_window" : "")));
    cases.back().logit_soft_cap = 2.0f;
    cases.back().window_left = windowed ? 40 : -1;
  }
  return cases;
}

}  // namespace quire::ops::paged_attention
