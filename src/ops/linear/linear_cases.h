// Problems that the test and the benchmark of linear share.
#pragma once

#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/linear/linear.h"
#include "tensor/block_formats.h"
#include "tensor/half.h"

namespace quire::ops::linear {

template <typename Visitor>
void VisitArrays(Args& args, const Visitor& visit) {
  visit(args.x);
  visit(args.bias);
  visit(args.out);
  visit(args.norm.weight);
}

inline constexpr DType kWeightTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0,
                                         DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
                                         DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// One of the weights that are stacked.
struct Part {
  DType dtype;
  int64_t n;
};

struct Problem {
  std::vector<Part> parts;
  int64_t k;
};

inline std::string Name(const Problem& problem) {
  std::string name;
  for (const Part& part : problem.parts) {
    name += StrCat(InfoOf(part.dtype).name, "x", part.n, " ");
  }
  return StrCat(name, "k=", problem.k);
}

// A weight [n, k] of random bits that are finite and of the size of a model's weights.
struct HostWeight {
  HostWeight(std::mt19937_64& rng, Part part, int64_t k_features)
      : dtype(part.dtype), n(part.n), k(k_features) {
    bytes.resize(static_cast<size_t>(BytesOf(dtype, n * k)));
    if (IsQuantized(dtype)) {
      FillBlocks(rng);
    } else {
      FillPlain(rng);
    }
  }

  TensorView View() { return {bytes.data(), dtype, {n, k}}; }

  // Row `row` in fp32.
  std::vector<float> Row(int64_t row) const {
    std::vector<float> values(static_cast<size_t>(k));
    DequantizeRow(dtype, bytes.data() + BytesOf(dtype, row * k), k, values.data());
    return values;
  }

  DType dtype;
  int64_t n;
  int64_t k;
  std::vector<uint8_t> bytes;

 private:
  void FillPlain(std::mt19937_64& rng) {
    const std::vector<float> values = RandomFloats(rng, n * k, 0.0f, 0.1f);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t half =
          dtype == DType::kF16 ? FloatToHalf(values[i]) : FloatToBFloat16(values[i]);
      if (dtype == DType::kF32) {
        std::memcpy(&bytes[4 * i], &values[i], 4);
      } else {
        std::memcpy(&bytes[2 * i], &half, 2);
      }
    }
  }

  void FillBlocks(std::mt19937_64& rng) {
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(rng());
    }
    std::uniform_real_distribution<float> size(0.001f, 0.02f);
    const auto block_bytes = static_cast<size_t>(InfoOf(dtype).block_bytes);
    for (size_t block = 0; block < bytes.size(); block += block_bytes) {
      const uint16_t d = FloatToHalf(size(rng));
      const uint16_t m = FloatToHalf(-8.0f * size(rng));
      const size_t d_at = dtype == DType::kQ6_K ? offsetof(BlockQ6K, d) : 0;
      std::memcpy(&bytes[block + d_at], &d, 2);
      if (GroupInfoOf(dtype).has_min) {
        std::memcpy(&bytes[block + 2], &m, 2);
      }
    }
  }
};

// A problem with its weights in host memory and packed.
struct Packed {
  Packed(const OpContext& context, std::mt19937_64& rng, const Problem& problem,
         ActivationMode mode) {
    std::vector<TensorView> views;
    for (const Part& part : problem.parts) {
      parts.emplace_back(rng, part, problem.k);
    }
    for (HostWeight& part : parts) {
      views.push_back(part.View());
    }
    auto packed = PackWeight(context, views, mode);
    QUIRE_CHECK(packed.ok()) << packed.status().message();
    weight = *packed;
  }

  std::vector<HostWeight> parts;
  std::shared_ptr<const PackedWeight> weight;
};

}  // namespace quire::ops::linear
