// The bf16 products of ops/linear against oneDNN's bf16 matmul: both in turn. On one thread, the
// thread's own processor time; on more, the clock's. compare_onednn.py builds and runs it:
// compare_onednn THREADS.
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <thread>
#include <vector>

#include "ops/conformance.h"
#include "ops/linear/linear.h"

namespace {

using quire::DType;
using quire::ops::TypedArray;

constexpr int kRounds = 15;
constexpr double kRoundOperations = 4e8;

double SecondsNow(int threads) {
  timespec time;
  ::clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <typename Body>
double SecondsOf(int threads, int count, const Body& body) {
  // The other's workers go on looking for work for a while; then one's own must be woken.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  body();
  const double start = SecondsNow(threads);
  for (int i = 0; i < count; ++i) {
    body();
  }
  return (SecondsNow(threads) - start) / count;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// x [m, k] * w [n, k]^T by both; prints microseconds and the ratio.
void Compare(int threads, int64_t m, int64_t n, int64_t k) {
  std::mt19937_64 rng(1);
  TypedArray x(DType::kBF16, {m, k});
  TypedArray w(DType::kBF16, {n, k});
  TypedArray out(DType::kF32, {m, n});
  x.Assign(quire::ops::RandomFloats(rng, m * k));
  w.Assign(quire::ops::RandomFloats(rng, n * k, 0.0f, 0.1f));

  quire::ops::CpuFixture cpu(threads);
  const quire::TensorView view = w.View();
  const auto packed = quire::ops::linear::PackWeight(cpu.Context(), std::span(&view, 1),
                                                     quire::ops::linear::ActivationMode::kBf16);
  const quire::ops::linear::Args args = {.x = x.View(), .weight = packed->get(), .out = out.View()};
  const auto ours = [&] { QUIRE_CHECK(quire::ops::linear::Run(cpu.Context(), args).ok()); };

  using Type = dnnl::memory::data_type;
  using Tag = dnnl::memory::format_tag;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::matmul::primitive_desc plan(engine, {{m, k}, Type::bf16, Tag::ab},
                                          {{k, n}, Type::bf16, Tag::any},
                                          {{m, n}, Type::f32, Tag::ab});
  dnnl::memory source(plan.src_desc(), engine, x.View().data());
  dnnl::memory plain({{k, n}, Type::bf16, Tag::ba}, engine, w.View().data());
  dnnl::memory weights(plan.weights_desc(), engine);
  dnnl::memory result(plan.dst_desc(), engine);
  dnnl::reorder(plain, weights).execute(stream, plain, weights);
  const dnnl::matmul matmul(plan);
  const auto theirs = [&] {
    matmul.execute(stream,
                   {{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, result}});
    stream.wait();
  };

  const int count =
      std::max(1, static_cast<int>(kRoundOperations / static_cast<double>(m * n * k)));
  std::vector<double> seconds[2];
  std::vector<double> ratios;
  for (int round = 0; round <= kRounds; ++round) {
    const double own = SecondsOf(threads, count, ours);
    const double peer = SecondsOf(threads, count, theirs);
    if (round > 0) {  // the first warms up
      seconds[0].push_back(own);
      seconds[1].push_back(peer);
      ratios.push_back(own / peer);
    }
  }
  std::printf("| %ld | %ld x %ld | %.1f | %.1f | %.2f |\n", m, n, k, 1e6 * Median(seconds[0]),
              1e6 * Median(seconds[1]), Median(ratios));
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  omp_set_num_threads(threads);
  std::printf("| M | N x K | Quire, us | oneDNN, us | ratio |\n| --- | --- | --- | --- | --- |\n");
  for (const auto& [n, k] : {std::pair(1536, 576), std::pair(576, 1536), std::pair(4096, 4096)}) {
    for (const int m : {1, 32, 512}) {
      Compare(threads, m, n, k);
    }
  }
  return 0;
}
