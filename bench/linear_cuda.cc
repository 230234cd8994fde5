// Products of f8e4m3 weights on the GPU: microseconds of a call of the operator in a graph, with
// activations in f8e4m3 (ActivationMode::kFp8) and, beside it, in bf16. Projections of DeepSeek-V3,
// a scale per square of 128 x 128; weights take turns so that no cache holds them.
//
//   quire_linear_cuda_bench
#include <cstdio>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "gpu_operator.h"
#include "ops/linear/linear.h"

namespace quire::ops::linear {

namespace {

using Weights = std::vector<std::shared_ptr<const PackedWeight>>;

class Bench {
 public:
  void Measure(int64_t n, int64_t k) {
    constexpr int64_t kColdBytes = int64_t{120} << 20;
    Weights fp8;
    Weights bf16;
    for (int64_t bytes = 0; bytes < kColdBytes; bytes += n * k) {
      fp8.push_back(Weight(n, k, ActivationMode::kFp8));
      bf16.push_back(Weight(n, k, ActivationMode::kBf16));
    }
    std::printf("%ld x %ld, %zu weights in turn\n", static_cast<long>(n), static_cast<long>(k),
                fp8.size());
    for (const int64_t rows : {1, 8, 16, 32, 64, 128, 256, 512, 2048, 8192}) {
      const TensorView x = Rows(rows, k, true);
      const TensorView out = Rows(rows, n, false);
      std::printf("  %5ld rows:", static_cast<long>(rows));
      for (const std::string_view name : {"fp8_rows", "few_rows", "matmul"}) {
        Print(name, fp8, x, out);
      }
      std::printf(" | bf16");
      Print(rows <= 16 ? "few_rows" : "matmul", bf16, x, out);
      std::printf("\n");
      std::fflush(stdout);
    }
  }

 private:
  std::shared_ptr<const PackedWeight> Weight(int64_t n, int64_t k, ActivationMode mode) {
    std::vector<uint8_t> codes(static_cast<size_t>(n * k));
    for (size_t i = 0; i + 8 <= codes.size(); i += 8) {
      const uint64_t eight = rng_() & 0xbfbfbfbfbfbfbfbf;  // numbers below 2
      std::memcpy(&codes[i], &eight, sizeof(eight));
    }
    const int64_t rows = (n + 127) / 128;
    const int64_t columns = (k + 127) / 128;
    std::vector<float> scales(static_cast<size_t>(rows * columns));
    for (float& scale : scales) {
      scale = std::uniform_real_distribution<float>(0.01f, 0.02f)(rng_);
    }
    const WeightSource source = {.weight = TensorView(codes.data(), DType::kF8E4M3, {n, k}),
                                 .scales = TensorView(scales.data(), DType::kF32, {rows, columns})};
    return Required(PackWeight(gpu_.Context(), std::span(&source, 1), mode));
  }

  // bf16 in the device's memory, of x or of out.
  TensorView Rows(int64_t rows, int64_t columns, bool is_x) {
    std::vector<uint16_t> values(static_cast<size_t>(rows * columns));
    for (uint16_t& value : values) {
      value = static_cast<uint16_t>(0x3c00 | (rng_() & 0x83ff));
    }
    Buffer& buffer = is_x ? x_ : out_;
    buffer = gpu_.Upload(values.data(), values.size() * 2);
    return {buffer.data(), DType::kBF16, {rows, columns}, buffer.place()};
  }

  void Print(std::string_view name, const Weights& weights, const TensorView& x,
             const TensorView& out) {
    size_t next = 0;
    const auto run = [&] {
      return Run(
          gpu_.Context(name),
          {.x = x, .weight = weights[next++ % weights.size()].get(), .bias = {}, .out = out});
    };
    if (!run().ok()) {
      std::printf(" %.*s -", static_cast<int>(name.size()), name.data());
      return;
    }
    const int calls = x.dim(0) > 1024 ? 3 : 12;
    const double seconds = gpu_.SecondsOf(calls, run);
    const double flops = 2.0 * static_cast<double>(x.dim(0) * x.dim(1) * out.dim(1));
    std::printf(" %.*s %.1f us", static_cast<int>(name.size()), name.data(), seconds * 1e6);
    if (x.dim(0) >= 256) {
      std::printf(" (%.0f TFLOP/s)", flops / seconds / 1e12);
    }
  }

  GpuOperatorBench gpu_;
  std::mt19937_64 rng_{1};
  Buffer x_;
  Buffer out_;
};

}  // namespace

}  // namespace quire::ops::linear

int main() {
  quire::ops::linear::Bench bench;
  bench.Measure(4096, 7168);
  bench.Measure(2112, 7168);
  bench.Measure(7168, 2048);
  bench.Measure(24576, 1536);
  bench.Measure(7168, 16384);
  return 0;
}
