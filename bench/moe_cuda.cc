// Experts on the GPU: microseconds of a call of the operator in a graph, beside the bandwidth at
// which it reads the experts that are used and the products that it makes. Models' shapes, random
// choices.
//
//   quire_moe_cuda_bench
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "ops/moe/moe.h"
#include "platform/open_device.h"

namespace quire::ops::moe {

namespace {

void Require(const Status& status) {
  if (!status.ok()) {
    std::printf("FAIL %s\n", status.message().c_str());
    std::exit(1);
  }
}
template <typename T>
T Required(Result<T> result) {
  Require(result.status());
  return *std::move(result);
}

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
  Bench()
      : device_(Required(OpenDevice("cuda")).device),
        stream_(Required(device_->CreateStream())),
        workspace_(*device_) {}

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
  OpContext Context() { return {*stream_, workspace_}; }

  std::shared_ptr<const linear::PackedWeight> Weight(DType dtype, int64_t n, int64_t k) {
    bytes_.resize(static_cast<size_t>(BytesOf(dtype, n * k)));
    for (size_t i = 0; i < bytes_.size(); i += 2) {  // small numbers, whatever the type
      const auto half = static_cast<uint16_t>(0x2c00 + i * 40503 % 0x0fff);
      std::memcpy(&bytes_[i], &half, 2);
    }
    const TensorView view(bytes_.data(), dtype, {n, k});
    return Required(
        linear::PackWeight(Context(), std::span(&view, 1), linear::ActivationMode::kBf16));
  }

  TensorView Upload(std::vector<Buffer>& buffers, const void* data, DType dtype, int64_t rows,
                    int64_t columns) {
    const auto size = static_cast<size_t>(BytesOf(dtype, rows * columns));
    buffers.push_back(Required(device_->Allocate(size)));
    Require(
        stream_->Copy(buffers.back().data(), buffers.back().place(), data, Place::Host(), size));
    Require(stream_->Synchronize());
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
    Require(Run(Context(), args));
    Require(stream_->Synchronize());
    constexpr int kCalls = 10;
    const auto graph = Required(stream_->Capture([&] {
      for (int i = 0; i < kCalls; ++i) {
        QUIRE_RETURN_IF_ERROR(Run(Context(), args));
      }
      return OkStatus();
    }));
    std::vector<double> times;
    for (int i = 0; i < 7; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      Require(graph->Replay(*stream_));
      Require(stream_->Synchronize());
      times.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / kCalls);
    }
    std::nth_element(times.begin(), times.begin() + 3, times.end());
    const std::set<int32_t> used(ids.begin(), ids.end());
    const auto expert_bytes =
        static_cast<double>(experts[0].gate_up->bytes() + experts[0].down->bytes());
    const double flops =
        6.0 * static_cast<double>(tokens * shape.k * shape.hidden * shape.features);
    std::printf("%-24s %5ld tokens %9.1f us %6.0f GB/s of weights %7.1f TFLOP/s\n", shape.name,
                static_cast<long>(tokens), times[3] * 1e6,
                static_cast<double>(used.size()) * expert_bytes / times[3] / 1e9,
                flops / times[3] / 1e12);
    std::fflush(stdout);
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  Workspace workspace_;
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
