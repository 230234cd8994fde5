// Speed of linear on the projections of the models that Quire is measured with. Every iteration
// uses another copy of the weight, so that weights come from memory as in a model; GB/s counts
// packed weight bytes, Gop/s counts two operations per multiply-add. BM_MemoryRead and BM_Int8 are
// their limits.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "ops/benchmark_limits.h"
#include "ops/linear/weight_sources.h"

namespace quire::ops::linear {
namespace {

constexpr size_t kColdBytes = size_t{128}
                              << 20;  // more than any last-level cache that we measure on

const Problem& ProblemOf(int64_t index) {
  static const std::vector<Problem> problems = {
      {{{DType::kQ4_1, 576}, {DType::kQ4_1, 192}, {DType::kQ4_1, 192}}, 576},   // SmolLM2 q, k, v
      {{{DType::kQ4_1, 576}}, 576},                                             // o
      {{{DType::kQ4_1, 1536}, {DType::kQ4_1, 1536}}, 576},                      // gate, up
      {{{DType::kQ4_1, 576}}, 1536},                                            // down
      {{{DType::kQ8_0, 49152}}, 576},                                           // output
      {{{DType::kQ5_0, 1024}, {DType::kQ5_0, 256}, {DType::kQ8_0, 256}}, 640},  // Gemma 3 q, k, v
      {{{DType::kQ4_K, 640}}, 1024},                                            // o
      {{{DType::kQ5_0, 2048}, {DType::kQ5_0, 2048}}, 640},                      // gate, up
      {{{DType::kQ6_K, 640}}, 2048},                                            // down
      {{{DType::kF16, 3072}}, 576},
      {{{DType::kF32, 3072}}, 576},
  };
  return problems[static_cast<size_t>(index)];
}
constexpr int64_t kProblems = 11;

void BM_Linear(benchmark::State& state) {
  const Problem& problem = ProblemOf(state.range(0));
  const int64_t m = state.range(1);
  CpuFixture cpu(static_cast<int>(state.range(2)));
  std::mt19937_64 rng(1);
  std::vector<Packed> copies;
  copies.emplace_back(cpu.Context(), rng, problem, ActivationMode::kBlock8);
  const size_t bytes = copies[0].weight->bytes();
  const size_t count = m > 64 ? 1 : std::clamp<size_t>(kColdBytes / bytes, 1, 256);
  while (copies.size() < count) {
    copies.emplace_back(cpu.Context(), rng, problem, ActivationMode::kBlock8);
  }
  std::vector<float> x = RandomFloats(rng, m * problem.k);
  std::vector<float> out(static_cast<size_t>(m * copies[0].weight->n()));
  Args args{.x = TensorView(x.data(), DType::kF32, {m, problem.k}),
            .weight = nullptr,
            .bias = {},
            .out = TensorView(out.data(), DType::kF32, {m, copies[0].weight->n()})};
  size_t next = 0;
  for (auto _ : state) {
    args.weight = copies[next].weight.get();
    next = next + 1 == copies.size() ? 0 : next + 1;
    QUIRE_CHECK(Run(cpu.Context(), args).ok());
  }
  const double iterations = static_cast<double>(state.iterations());
  const double products = static_cast<double>(m * problem.k * copies[0].weight->n());
  state.counters["GB/s"] = benchmark::Counter(1e-9 * static_cast<double>(bytes) * iterations,
                                              benchmark::Counter::kIsRate);
  state.counters["Gop/s"] =
      benchmark::Counter(2e-9 * products * iterations, benchmark::Counter::kIsRate);
  state.SetLabel(Name(problem));
}
BENCHMARK(BM_Linear)
    ->ArgNames({"problem", "m", "threads"})
    ->ArgsProduct({benchmark::CreateDenseRange(0, kProblems - 1, 1), {1, 4, 32, 512}, {1, 2}})
    ->UseRealTime();

// What the machine allows: weights of n x k from memory, as many copies as no cache holds, by
// formats and rows. of_read counts packed weight bytes; of_peak is of 8-bit integers in every
// format, although bf16 takes other instructions.
void MeasureShape(benchmark::State& state, int64_t n, int64_t k, DType dtype, int64_t m) {
  const bool is_bf16 = dtype == DType::kBF16;
  CpuFixture cpu(2);
  std::mt19937_64 rng(1);
  const Problem problem = {{{dtype, n}}, k};
  std::vector<std::shared_ptr<const PackedWeight>> copies;
  size_t bytes = 0;
  while (bytes < kColdBytes) {
    copies.push_back(Packed(cpu.Context(), rng, problem,
                            is_bf16 ? ActivationMode::kBf16 : ActivationMode::kBlock8)
                         .weight);
    bytes += copies.back()->bytes();
  }
  const std::vector<float> values = RandomFloats(rng, m * k);
  const DType row_type = is_bf16 ? DType::kBF16 : DType::kF32;
  const Buffer x = FilledBuffer(cpu, BytesOf(row_type, m * k), 0);
  const Buffer out = FilledBuffer(cpu, BytesOf(row_type, m * n), 0);
  for (size_t i = 0; i < values.size(); ++i) {
    StoreElement(values[i], x.data(), row_type, static_cast<int64_t>(i));
  }
  Args args{.x = TensorView(x.data(), row_type, {m, k}),
            .weight = nullptr,
            .bias = {},
            .out = TensorView(out.data(), row_type, {m, n})};
  size_t next = 0;
  for (auto _ : state) {
    args.weight = copies[next].get();
    next = next + 1 == copies.size() ? 0 : next + 1;
    QUIRE_CHECK(Run(cpu.Context(), args).ok());
  }
  SetReadsAgainstLimit(state, cpu, static_cast<int64_t>(copies[0]->bytes()));
  SetProductsAgainstLimit(state, cpu, m * n * k);
}

const bool kShapesRegistered = [] {
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{576, 1536}, {4096, 14336}}) {
    for (const DType dtype : {DType::kQ4_1, DType::kQ8_0, DType::kQ4_K, DType::kBF16}) {
      for (const int64_t m : {1, 32, 64, 512}) {
        benchmark::RegisterBenchmark(
            StrCat("linear/", n, "x", k, "_", InfoOf(dtype).name, "_m", m).c_str(),
            [n = n, k = k, dtype, m](benchmark::State& state) {
              MeasureShape(state, n, k, dtype, m);
            })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  return true;
}();

// A weight format on [1536, 576], a projection of SmolLM2 and alike, read from the caches.
void MeasureFormat(benchmark::State& state, const SourceKind& kind, ActivationMode mode, int64_t m,
                   std::string_view implementation) {
  constexpr int64_t kN = 1536;
  constexpr int64_t kK = 576;
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  const SourceWeight weight(rng, kind, kN, kK);
  const auto packed = PackWeight(cpu.Context(), std::span(&weight.source(), 1), mode);
  QUIRE_CHECK(packed.ok()) << packed.status().message();
  TypedArray x(DType::kBF16, {m, kK});
  TypedArray out(DType::kBF16, {m, kN});
  x.Assign(RandomFloats(rng, m * kK));
  const Args args = {.x = x.View(), .weight = packed->get(), .bias = {}, .out = out.View()};
  for (auto _ : state) {
    const Status status = Run(cpu.Context(implementation), args);
    if (!status.ok()) {
      state.SkipWithError(status.message().c_str());
      break;
    }
  }
  SetBytesAgainstLimit(state, cpu, static_cast<int64_t>((*packed)->bytes()));
  state.counters["Gop/s"] = benchmark::Counter(
      2e-9 * static_cast<double>(m * kN * kK * state.iterations()), benchmark::Counter::kIsRate);
}

const bool kFormatsRegistered = [] {
  const std::pair<std::string_view, ActivationMode> formats[] = {
      {"bf16", ActivationMode::kFp32},
      {"bf16", ActivationMode::kBf16},
      {"f8_square", ActivationMode::kFp32},
      {"f8_square", ActivationMode::kBf16},
      {"i8_feature", ActivationMode::kBlock8},
      {"awq", ActivationMode::kBlock8},
      {"gptq2_act_order", ActivationMode::kBlock8}};
  for (const auto& [name, mode] : formats) {
    for (const int64_t m : {1, 32, 512}) {
      for (const Implementation<Args>& implementation : ImplementationsOf(PlatformKind::kCpu)) {
        if (implementation.name == "reference" ||
            (implementation.name == "avx512_bf16" && mode != ActivationMode::kBf16)) {
          continue;
        }
        const std::string_view form = mode == ActivationMode::kFp32   ? "fp32"
                                      : mode == ActivationMode::kBf16 ? "bf16"
                                                                      : "block8";
        benchmark::RegisterBenchmark(
            StrCat("linear/", name, "_", form, "_m", m, "/", implementation.name).c_str(),
            [kind = KindNamed(name), mode = mode, m, &implementation](benchmark::State& state) {
              MeasureFormat(state, kind, mode, m, implementation.name);
            });
      }
    }
  }
  return true;
}();

void BM_Pack(benchmark::State& state) {
  CpuFixture cpu(2);
  std::mt19937_64 rng(1);
  HostWeight weight(rng, {kWeightTypes[state.range(0)], 16384}, 768);
  const TensorView view = weight.View();
  for (auto _ : state) {
    benchmark::DoNotOptimize(PackWeight(cpu.Context(), {&view, 1}, ActivationMode::kBlock8));
  }
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * static_cast<double>(weight.bytes.size() * state.iterations()),
                         benchmark::Counter::kIsRate);
  state.SetLabel(std::string(InfoOf(weight.dtype).name));
}
BENCHMARK(BM_Pack)->DenseRange(0, std::size(kWeightTypes) - 1)->UseRealTime();

void BM_MemoryRead(benchmark::State& state) {
  CpuFixture cpu(static_cast<int>(state.range(0)));
  double best = 0;
  for (auto _ : state) {
    best = std::max(best, ReadBandwidth(cpu.stream()));
  }
  state.counters["GB/s"] = 1e-9 * best;
}
BENCHMARK(BM_MemoryRead)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

void BM_Int8(benchmark::State& state) {
  CpuFixture cpu(static_cast<int>(state.range(0)));
  double best = 0;
  for (auto _ : state) {
    best = std::max(best, Int8Rate(cpu.stream()));
  }
  state.counters["Gop/s"] = 1e-9 * best;
}
BENCHMARK(BM_Int8)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace quire::ops::linear
