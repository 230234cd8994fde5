// Experts on the GPU: microseconds of a call of the operator in a graph, beside the bandwidth at
// which it reads the experts that are used and the products that it makes. Models' shapes, random
// choices.
//
//   quire_moe_cuda_bench
#include <cstdio>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gpu_operator.h"
#include "ops/moe/moe.h"

namespace quire::ops::moe {

namespace {

struct Shape {
  const char* name;
  int64_t experts;
  int64_t k;
  int64_t hidden;
  int64_t features;
  DType dtype;
};

class Bench {
 public:
  void Measure(const Shape& shape) {
    std::vector<std::shared_ptr<const linear::PackedWeight>> packed;
    std::vector<Expert> experts;
    for (int64_t e = 0; e < shape.experts; ++e) {
      packed.push_back(Weight(shape.dtype, 2 * shape.features, shape.hidden));
      packed.push_back(Weight(shape.dtype, shape.hidden, shape.features));
      experts.push_back({packed[packed.size() - 2].get(), packed.back().get()});
    }
    for (const int64_t tokens : {1, 8, 64, 128, 256, 1024, 8192}) {
      Measure(shape, experts, tokens);
    }
  }

 private:
  std::shared_ptr<const linear::PackedWeight> Weight(DType dtype, int64_t n, int64_t k) {
    bytes_.resize(static_cast<size_t>(BytesOf(dtype, n * k)));
    for (size_t i = 0; i < bytes_.size(); i += 2) {  // small numbers, whatever the type
      const auto half = static_cast<uint16_t>(0x2c00 + i * 40503 % 0x0fff);
      std::memcpy(&bytes_[i], &half, 2);
    }
    const TensorView view(bytes_.data(), dtype, {n, k});
    return Required(
        linear::PackWeight(gpu_.Context(), std::span(&view, 1), linear::ActivationMode::kBf16));
  }

  TensorView Upload(std::vector<Buffer>& buffers, const void* data, DType dtype, int64_t rows,
                    int64_t columns) {
    buffers.push_back(gpu_.Upload(data, static_cast<size_t>(BytesOf(dtype, rows * columns))));
    return {buffers.back().data(), dtype, {rows, columns}, buffers.back().place()};
  }

  void Measure(const Shape& shape, const std::vector<Expert>& experts, int64_t tokens) {
    std::mt19937 rng(1);
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < tokens; ++t) {
      std::set<int32_t> chosen;
      while (static_cast<int64_t>(chosen.size()) < shape.k) {
        chosen.insert(static_cast<int32_t>(rng() % static_cast<uint32_t>(shape.experts)));
      }
      ids.insert(ids.end(), chosen.begin(), chosen.end());
    }
    const std::vector<float> weights(ids.size(), 0.125f);
    const std::vector<uint16_t> x(static_cast<size_t>(tokens * shape.hidden), 0x3c00);
    std::vector<Buffer> buffers;
    Args args;
    args.x = Upload(buffers, x.data(), DType::kBF16, tokens, shape.hidden);
    args.ids = Upload(buffers, ids.data(), DType::kI32, tokens, shape.k);
    args.weights = Upload(buffers, weights.data(), DType::kF32, tokens, shape.k);
    args.experts = experts;
    args.out = Upload(buffers, x.data(), DType::kBF16, tokens, shape.hidden);
    const auto run = [&] { return Run(gpu_.Context(), args); };
    Require(run());
    const double seconds = gpu_.SecondsOf(10, run);
    const std::set<int32_t> used(ids.begin(), ids.end());
    const auto expert_bytes =
        static_cast<double>(experts[0].gate_up->bytes() + experts[0].down->bytes());
    const double flops =
        6.0 * static_cast<double>(tokens * shape.k * shape.hidden * shape.features);
    std::printf("%-24s %5ld tokens %9.1f us %6.0f GB/s of weights %7.1f TFLOP/s\n", shape.name,
                static_cast<long>(tokens), seconds * 1e6,
                static_cast<double>(used.size()) * expert_bytes / seconds / 1e9,
                flops / seconds / 1e12);
    std::fflush(stdout);
  }

  GpuOperatorBench gpu_;
  std::vector<uint8_t> bytes_;
};

}  // namespace

}  // namespace quire::ops::moe

int main() {
  using quire::DType;
  quire::ops::moe::Bench bench;
  bench.Measure({"qwen3-30b-a3b bf16", 128, 8, 2048, 768, DType::kBF16});
  bench.Measure({"mixtral-8x7b bf16", 8, 2, 4096, 14336, DType::kBF16});
  bench.Measure({"qwen3-30b-a3b q8_0", 128, 8, 2048, 768, DType::kQ8_0});
  bench.Measure({"qwen3-30b-a3b q4_k", 128, 8, 2048, 768, DType::kQ4_K});
  return 0;
}
