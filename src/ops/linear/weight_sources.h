// Weights of every format that PackWeight() takes, made of random values, with their exact
// elements: for the tests and the benchmark of linear.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "ops/linear/linear_cases.h"

namespace quire::ops::linear {

enum class Scaling : uint8_t { kNone, kTensor, kFeature, kSquare };

// A kind of weight of a checkpoint.
struct SourceKind {
  std::string name;
  DType dtype = DType::kF32;  // of a plain weight, or of the scales of int4 groups
  Scaling scaling = Scaling::kNone;
  WeightFormat format = WeightFormat::kPlain;
  bool act_order = false;
  bool zeros = true;
};

inline std::vector<SourceKind> SourceKinds() {
  std::vector<SourceKind> kinds;
  for (const DType dtype : kWeightTypes) {
    kinds.push_back({.name = std::string(InfoOf(dtype).name), .dtype = dtype});
  }
  kinds.push_back({.name = "i8_tensor", .dtype = DType::kI8, .scaling = Scaling::kTensor});
  kinds.push_back({.name = "i8_feature", .dtype = DType::kI8, .scaling = Scaling::kFeature});
  kinds.push_back({.name = "f8", .dtype = DType::kF8E4M3});
  kinds.push_back({.name = "f8_tensor", .dtype = DType::kF8E4M3, .scaling = Scaling::kTensor});
  kinds.push_back({.name = "f8_feature", .dtype = DType::kF8E4M3, .scaling = Scaling::kFeature});
  kinds.push_back({.name = "f8_square", .dtype = DType::kF8E4M3, .scaling = Scaling::kSquare});
  kinds.push_back({.name = "awq", .dtype = DType::kF16, .format = WeightFormat::kAwq});
  kinds.push_back({.name = "awq_bf16", .dtype = DType::kBF16, .format = WeightFormat::kAwq});
  kinds.push_back({.name = "gptq", .dtype = DType::kF16, .format = WeightFormat::kGptq});
  kinds.push_back({.name = "gptq_symmetric",
                   .dtype = DType::kF16,
                   .format = WeightFormat::kGptq,
                   .zeros = false});
  kinds.push_back({.name = "gptq2_act_order",
                   .dtype = DType::kF16,
                   .format = WeightFormat::kGptq2,
                   .act_order = true});
  return kinds;
}

inline SourceKind KindNamed(std::string_view name) {
  for (const SourceKind& kind : SourceKinds()) {
    if (kind.name == name) {
      return kind;
    }
  }
  QUIRE_CHECK(false) << "no kind is called " << name;
  return {};
}

// One weight [n, k] of a kind. Its views point into it: it does not move.
class SourceWeight {
 public:
  static constexpr int64_t kInt4Group = 64;

  // REQUIRES: whole blocks; n a multiple of 8 and k of 64 for int4 groups. `group_seed` makes the
  // order of the groups; weights that are stacked have the same.
  SourceWeight(std::mt19937_64& rng, const SourceKind& kind, int64_t n, int64_t k,
               uint64_t group_seed = 1)
      : kind_(kind), n_(n), k_(k) {
    if (kind.format != WeightFormat::kPlain) {
      MakeInt4(rng, group_seed);
    } else if (kind.dtype == DType::kI8 || kind.dtype == DType::kF8E4M3) {
      MakeScaled(rng);
    } else {
      plain_.emplace(rng, Part{kind.dtype, n}, k);
      source_.weight = plain_->View();
    }
  }
  SourceWeight(const SourceWeight&) = delete;
  SourceWeight& operator=(const SourceWeight&) = delete;

  const WeightSource& source() const { return source_; }
  const SourceKind& kind() const { return kind_; }
  int64_t n() const { return n_; }

  // The exact elements of an output feature.
  std::vector<double> Row(int64_t feature) const {
    if (plain_) {
      const std::vector<float> row = plain_->Row(feature);
      return {row.begin(), row.end()};
    }
    const auto begin = elements_.begin() + feature * k_;
    return {begin, begin + k_};
  }

 private:
  float RandomScale(std::mt19937_64& rng) {
    return std::uniform_real_distribution<float>(0.001f, 0.02f)(rng);
  }

  void MakeScaled(std::mt19937_64& rng) {
    codes_.resize(static_cast<size_t>(n_ * k_));
    const int64_t rows = kind_.scaling == Scaling::kFeature  ? n_
                         : kind_.scaling == Scaling::kSquare ? (n_ + 127) / 128
                                                             : 1;
    const int64_t columns = kind_.scaling == Scaling::kSquare ? (k_ + 127) / 128 : 1;
    for (int64_t i = 0; i < rows * columns; ++i) {
      scales_.push_back(RandomScale(rng));
    }
    for (int64_t i = 0; i < n_ * k_; ++i) {
      auto code = static_cast<uint8_t>(rng());
      if (kind_.dtype == DType::kF8E4M3 && (code & 0x7f) == 0x7f) {
        code = 0x01;  // a NaN becomes a subnormal
      }
      codes_[static_cast<size_t>(i)] = code;
      int64_t scale = 0;
      if (kind_.scaling == Scaling::kFeature) {
        scale = i / k_;
      } else if (kind_.scaling == Scaling::kSquare) {
        scale = i / k_ / 128 * columns + i % k_ / 128;
      }
      const double element =
          kind_.dtype == DType::kI8 ? static_cast<int8_t>(code) : Float8ToFloat(code);
      elements_.push_back(kind_.scaling == Scaling::kNone
                              ? element
                              : element * scales_[static_cast<size_t>(scale)]);
    }
    source_.weight = TensorView(codes_.data(), kind_.dtype, {n_, k_});
    if (kind_.scaling == Scaling::kSquare) {
      source_.scales = TensorView(scales_.data(), DType::kF32, {rows, columns});
    } else if (kind_.scaling != Scaling::kNone) {
      source_.scales = TensorView(scales_.data(), DType::kF32, {rows});
    }
  }

  // Sets the 4 bits of [row, column] of a matrix of words with `words` words a row.
  static void SetNibble(std::vector<uint32_t>& words, int64_t word, int64_t nibble, int code) {
    words[static_cast<size_t>(word)] |= static_cast<uint32_t>(code) << (4 * nibble);
  }

  void MakeInt4(std::mt19937_64& rng, uint64_t group_seed) {
    static constexpr int kAwqFeature[8] = {0, 2, 4, 6, 1, 3, 5, 7};  // of each nibble
    const int64_t groups = k_ / kInt4Group;
    const bool awq = kind_.format == WeightFormat::kAwq;
    for (int64_t i = 0; i < k_; ++i) {
      group_index_.push_back(static_cast<int32_t>(i / kInt4Group));
    }
    if (kind_.act_order) {
      std::mt19937_64 group_rng(group_seed);
      std::shuffle(group_index_.begin(), group_index_.end(), group_rng);
      source_.group_index = TensorView(group_index_.data(), DType::kI32, {k_});
    }
    const auto nibble_of = [&](int64_t feature) {
      return awq ? std::find(kAwqFeature, kAwqFeature + 8, feature % 8) - kAwqFeature : feature % 8;
    };
    words_.resize(static_cast<size_t>(n_ * k_ / 8));
    zero_words_.resize(static_cast<size_t>(groups * n_ / 8));
    std::vector<int> zeros;
    for (int64_t i = 0; i < groups * n_; ++i) {
      const int stored = static_cast<int>(rng() % 16);
      SetNibble(zero_words_, i / n_ * (n_ / 8) + i % n_ / 8, nibble_of(i % n_), stored);
      zeros.push_back(!kind_.zeros ? 8 : kind_.format == WeightFormat::kGptq ? stored + 1 : stored);
      halves_.push_back(0);
      StoreElement(RandomScale(rng), halves_.data(), kind_.dtype, i);
    }
    elements_.resize(static_cast<size_t>(n_ * k_));
    for (int64_t i = 0; i < n_ * k_; ++i) {
      const int64_t feature = i / k_;
      const int64_t k = i % k_;
      const int code = static_cast<int>(rng() % 16);
      if (awq) {
        SetNibble(words_, k * (n_ / 8) + feature / 8, nibble_of(feature), code);
      } else {
        SetNibble(words_, k / 8 * n_ + feature, k % 8, code);
      }
      const int64_t at = group_index_[static_cast<size_t>(k)] * n_ + feature;
      elements_[static_cast<size_t>(i)] = double{LoadElement(halves_.data(), kind_.dtype, at)} *
                                          (code - zeros[static_cast<size_t>(at)]);
    }
    const Shape shape = awq ? Shape{k_, n_ / 8} : Shape{k_ / 8, n_};
    source_.format = kind_.format;
    source_.weight = TensorView(words_.data(), DType::kI32, shape);
    source_.scales = TensorView(halves_.data(), kind_.dtype, {groups, n_});
    if (kind_.zeros) {
      source_.zeros = TensorView(zero_words_.data(), DType::kI32, {groups, n_ / 8});
    }
  }

  SourceKind kind_;
  int64_t n_;
  int64_t k_;
  WeightSource source_;
  std::optional<HostWeight> plain_;
  std::vector<uint8_t> codes_;
  std::vector<uint32_t> words_;
  std::vector<uint32_t> zero_words_;
  std::vector<uint16_t> halves_;
  std::vector<float> scales_;
  std::vector<int32_t> group_index_;
  std::vector<double> elements_;
};

}  // namespace quire::ops::linear
