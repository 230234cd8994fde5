// Attention on the GPU, measured in one run: the memory's read bandwidth, our kernels and
// FlashInfer's on the same caches at several page sizes, each checked on sampled rows against plain
// loops in double. Prints one table; a ratio is to the bandwidth or to FlashInfer of this run.
//
//   cuda_attention_bench [check|decode|prefill|mla|profile|all]
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "ops/attention/cuda_general.h"
#include "ops/attention/flashinfer/cuda_flashinfer.h"
#include "ops/attention/flashinfer/cuda_flashinfer_mla.h"
#include "ops/attention/hopper_mla/cuda_hopper_mla.h"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill.h"
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv.h"
#include "ops/attention/split_kv/cuda_split_kv.h"

namespace quire::ops::attention::cuda {

namespace {

using Element = __nv_bfloat16;

void Require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::printf("FAIL %s: %s\n", what, cudaGetErrorString(error));
    std::exit(1);
  }
}
#define REQUIRE_CUDA(call) Require(call, #call)

void RequireOk(const Status& status) {
  if (!status.ok()) {
    std::printf("FAIL %s\n", std::string(status.message()).c_str());
    std::exit(1);
  }
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    REQUIRE_CUDA(cudaMalloc(&data_, std::max<size_t>(count, 1) * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    REQUIRE_CUDA(
        cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  T* data() const { return data_; }
  size_t count() const { return count_; }

 private:
  T* data_ = nullptr;
  size_t count_;
};

__device__ uint32_t Hash(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ull;
  x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dull;
  return static_cast<uint32_t>(x >> 32);
}

__global__ void FillKernel(Element* data, size_t count, uint64_t seed) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count;
       i += size_t{gridDim.x} * blockDim.x) {
    data[i] = __float2bfloat16((Hash(i + (seed << 40)) * 0x1p-32f - 0.5f) * 3.4f);
  }
}

void Fill(const DeviceArray<Element>& array, uint64_t seed) {
  FillKernel<<<2048, 256>>>(array.data(), array.count(), seed);
  REQUIRE_CUDA(cudaGetLastError());
}

__global__ void ReadKernel(const uint4* data, size_t count, uint32_t* out) {
  uint32_t sum = 0;
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x;
  for (; i + 7 * stride < count; i += 8 * stride) {
    uint4 x[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      x[k] = __ldcs(data + i + k * stride);
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      sum ^= x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
    }
  }
  if (sum == 0x12345678) {
    *out = sum;
  }
}

// Row `row`, head `head` of a problem in double, plain loops; the result and the log-sum-exp.
__global__ void ReferenceKernel(Problem problem, int sequence, int row_of_sequence, int head,
                                double* out) {
  const int64_t row = problem.FirstRow(sequence) + row_of_sequence;
  const int kv_head = head / problem.group();
  const auto* query = static_cast<const Element*>(problem.query.data) +
                      row * problem.query.row_stride + head * problem.query.head_stride;
  const KeySpan seen = problem.VisibleKeys(problem.FirstPosition(sequence) + row_of_sequence,
                                           problem.Keys(sequence));
  const auto at = [&](const KvRows& rows, int64_t key) {
    const int64_t page =
        problem.page_table[int64_t{sequence} * problem.max_pages + key / problem.page_size];
    return static_cast<const Element*>(rows.data) +
           rows.strides.Offset(page, kv_head, key % problem.page_size);
  };
  __shared__ double max_of[256];
  __shared__ double sum_of[256];
  const auto score = [&](int64_t key) {
    const Element* k = at(problem.key, key);
    double dot = 0;
    for (int d = 0; d < problem.key_dim; ++d) {
      dot += double{__bfloat162float(query[d])} * double{__bfloat162float(k[d])};
    }
    return dot * problem.scale;
  };
  extern __shared__ double acc[];  // [blockDim, value_dim / 4] in turns
  double max = -1e300;
  for (int64_t key = seen.begin + threadIdx.x; key < seen.end; key += blockDim.x) {
    max = fmax(max, score(key));
  }
  max_of[threadIdx.x] = max;
  __syncthreads();
  for (unsigned i = 0; i < blockDim.x; ++i) {
    max = fmax(max, max_of[i]);
  }
  double sum = 0;
  constexpr int kPart = 16;
  for (int part = 0; part < problem.value_dim; part += kPart) {
    double mine[kPart] = {};
    sum = 0;
    for (int64_t key = seen.begin + threadIdx.x; key < seen.end; key += blockDim.x) {
      const double weight = exp(score(key) - max);
      const Element* v = at(problem.value, key) + part;
      sum += weight;
      for (int d = 0; d < kPart; ++d) {
        mine[d] += weight * double{__bfloat162float(v[d])};
      }
    }
    for (int d = 0; d < kPart; ++d) {
      acc[threadIdx.x * kPart + d] = mine[d];
    }
    sum_of[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < kPart) {
      double total = 0;
      double weights = 0;
      for (unsigned i = 0; i < blockDim.x; ++i) {
        total += acc[i * kPart + threadIdx.x];
        weights += sum_of[i];
      }
      out[part + threadIdx.x] = total / weights;
      out[problem.value_dim] = max + log(weights);
    }
    __syncthreads();
  }
}

class Timer {
 public:
  Timer() {
    REQUIRE_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    REQUIRE_CUDA(cudaEventCreate(&begin_));
    REQUIRE_CUDA(cudaEventCreate(&end_));
  }
  cudaStream_t stream() const { return stream_; }

  // Median seconds of one of the `calls` calls body(i) in a graph.
  double Seconds(int calls, const std::function<void(int)>& body, int repeats = 15) {
    body(0);
    REQUIRE_CUDA(cudaStreamSynchronize(stream_));
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    REQUIRE_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < calls; ++i) {
      body(i);
    }
    REQUIRE_CUDA(cudaStreamEndCapture(stream_, &graph));
    REQUIRE_CUDA(cudaGraphInstantiate(&exec, graph, 0));
    std::vector<float> times;
    for (int i = 0; i < repeats + 3; ++i) {
      REQUIRE_CUDA(cudaEventRecord(begin_, stream_));
      REQUIRE_CUDA(cudaGraphLaunch(exec, stream_));
      REQUIRE_CUDA(cudaEventRecord(end_, stream_));
      REQUIRE_CUDA(cudaEventSynchronize(end_));
      float ms = 0;
      REQUIRE_CUDA(cudaEventElapsedTime(&ms, begin_, end_));
      if (i >= 3) {
        times.push_back(ms);
      }
    }
    REQUIRE_CUDA(cudaGraphExecDestroy(exec));
    REQUIRE_CUDA(cudaGraphDestroy(graph));
    std::ranges::nth_element(times, times.begin() + times.size() / 2);
    return times[times.size() / 2] * 1e-3 / calls;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_;
  cudaEvent_t end_;
};

struct Shape {
  int sequences;
  int rows;
  int keys;
  int q_heads = 32;
  int kv_heads = 8;
  int key_dim = 128;
  int value_dim = 128;
  bool latent = false;
};

// A shape with its memory: `sets` caches, so that repeated calls do not find one in the L2.
class Memory {
 public:
  Memory(const Shape& shape, int page_size, PageOrder order)
      : shape_(shape),
        pages_per_sequence_((shape.keys + page_size - 1) / page_size),
        num_pages_(int64_t{shape.sequences} * pages_per_sequence_),
        set_elements_(static_cast<size_t>(num_pages_) * page_size * shape.kv_heads * shape.key_dim),
        sets_(static_cast<int>(
            std::clamp<size_t>((size_t{400} << 20) / (set_elements_ * 4) + 1, 1, 12))),
        keys_(set_elements_ * sets_),
        values_(shape.latent ? 1 : set_elements_ * sets_),
        query_(static_cast<size_t>(shape.sequences) * shape.rows * shape.q_heads * shape.key_dim),
        out_(static_cast<size_t>(shape.sequences) * shape.rows * shape.q_heads * shape.value_dim),
        lse_(static_cast<size_t>(shape.sequences) * shape.rows * shape.q_heads),
        pages_(Shuffled()),
        page_start_(Starts(pages_per_sequence_)),
        query_start_(Starts(shape.rows)),
        kv_length_(std::vector<int32_t>(shape.sequences, shape.keys)),
        last_page_(std::vector<int32_t>(shape.sequences, (shape.keys - 1) % page_size + 1)),
        page_size_(page_size) {
    Fill(keys_, 1);
    Fill(values_, 2);
    Fill(query_, 3);
    REQUIRE_CUDA(cudaDeviceSynchronize());
    cache_ = {keys_.data(),   values_.data(), DType::kBF16,  num_pages_,
              shape.kv_heads, page_size,      shape.key_dim, {PlatformKind::kCuda, 0}};
    cache_.order = order;
  }

  int sets() const { return sets_; }
  double Bytes() const { return 2.0 * set_elements_ * (shape_.latent ? 1 : 2); }
  double Flops() const {
    const double n = shape_.rows;
    const double pairs = shape_.sequences * (n * (shape_.keys - n) + n * (n + 1) / 2);
    return 2 * pairs * shape_.q_heads * (shape_.key_dim + shape_.value_dim);
  }

  Problem At(int set) {
    Problem problem;
    problem.query = {query_.data(), DType::kBF16, int64_t{shape_.q_heads} * shape_.key_dim,
                     shape_.key_dim};
    problem.out = {out_.data(), DType::kBF16, int64_t{shape_.q_heads} * shape_.value_dim,
                   shape_.value_dim};
    problem.lse = lse_.data();
    problem.q_heads = shape_.q_heads;
    problem.kv_heads = shape_.kv_heads;
    problem.key_dim = shape_.key_dim;
    problem.value_dim = shape_.value_dim;
    problem.kv_dtype = DType::kBF16;
    problem.key = {keys_.data() + set * set_elements_, cache_.KeyStrides(), nullptr};
    problem.value = {shape_.latent ? problem.key.data : values_.data() + set * set_elements_,
                     cache_.KeyStrides(), nullptr};
    problem.num_sequences = shape_.sequences;
    problem.num_rows = int64_t{shape_.sequences} * shape_.rows;
    problem.query_start = query_start_.data();
    problem.kv_length = kv_length_.data();
    problem.page_table = pages_.data();
    problem.max_pages = pages_per_sequence_;
    problem.page_size = page_size_;
    problem.num_pages = num_pages_;
    problem.scale = 1.0f / std::sqrt(static_cast<float>(shape_.latent ? 192 : shape_.key_dim));
    problem.window_right = 0;
    return problem;
  }
  FlashInferPages pages() const { return {pages_.data(), page_start_.data(), last_page_.data()}; }
  std::vector<int32_t> Starts(int32_t each) const {
    std::vector<int32_t> starts;
    for (int b = 0; b <= shape_.sequences; ++b) {
      starts.push_back(b * each);
    }
    return starts;
  }
  int pages_per_sequence() const { return pages_per_sequence_; }

  void Spoil() {
    REQUIRE_CUDA(cudaMemset(out_.data(), 0xff, out_.count() * sizeof(Element)));
    REQUIRE_CUDA(cudaMemset(lse_.data(), 0xff, lse_.count() * sizeof(float)));
    REQUIRE_CUDA(cudaDeviceSynchronize());  // the stream does not wait for these
  }

  // Outputs, then log-sum-exps.
  std::vector<float> Result() const {
    std::vector<Element> out(out_.count());
    std::vector<float> result(out_.count() + lse_.count());
    REQUIRE_CUDA(cudaMemcpy(out.data(), out_.data(), out.size() * 2, cudaMemcpyDeviceToHost));
    REQUIRE_CUDA(cudaMemcpy(result.data() + out.size(), lse_.data(), lse_.count() * 4,
                            cudaMemcpyDeviceToHost));
    std::ranges::transform(out, result.begin(), [](Element x) { return __bfloat162float(x); });
    return result;
  }

  // The worst relative error of some rows, of the output and the log-sum-exp.
  double Error() {
    REQUIRE_CUDA(cudaDeviceSynchronize());
    const Problem problem = At(0);
    const DeviceArray<double> expected(static_cast<size_t>(shape_.value_dim) + 1);
    std::mt19937 rng(7);
    double worst = 0;
    for (int sample = 0; sample < 6; ++sample) {
      const int b = sample == 0 ? shape_.sequences - 1 : static_cast<int>(rng() % shape_.sequences);
      const int row = sample == 0 ? shape_.rows - 1 : static_cast<int>(rng() % shape_.rows);
      const int head = sample == 0 ? shape_.q_heads - 1 : static_cast<int>(rng() % shape_.q_heads);
      ReferenceKernel<<<1, 256, 256 * 16 * 8>>>(problem, b, row, head, expected.data());
      REQUIRE_CUDA(cudaGetLastError());
      std::vector<double> want(expected.count());
      std::vector<Element> got(static_cast<size_t>(shape_.value_dim));
      float lse = 0;
      const int64_t at = (int64_t{b} * shape_.rows + row) * shape_.q_heads + head;
      REQUIRE_CUDA(
          cudaMemcpy(want.data(), expected.data(), want.size() * 8, cudaMemcpyDeviceToHost));
      REQUIRE_CUDA(cudaMemcpy(got.data(), out_.data() + at * shape_.value_dim, got.size() * 2,
                              cudaMemcpyDeviceToHost));
      REQUIRE_CUDA(cudaMemcpy(&lse, lse_.data() + at, 4, cudaMemcpyDeviceToHost));
      double difference = 0;
      double norm = 0;
      for (size_t d = 0; d < got.size(); ++d) {
        const double error = double{__bfloat162float(got[d])} - want[d];
        difference += error * error;
        norm += want[d] * want[d];
      }
      const double error = std::sqrt(difference / norm);
      lse_error_ = std::fabs(lse - want.back()) / std::fabs(want.back());
      worst = error <= worst ? worst : error;  // a NaN stays
    }
    return worst;
  }
  double lse_error() const { return lse_error_; }

 private:
  std::vector<int32_t> Shuffled() const {
    std::vector<int32_t> pages(static_cast<size_t>(num_pages_));
    std::iota(pages.begin(), pages.end(), 0);
    std::ranges::shuffle(pages, std::mt19937(5));
    return pages;
  }

  Shape shape_;
  int pages_per_sequence_;
  int64_t num_pages_;
  size_t set_elements_;
  int sets_;
  DeviceArray<Element> keys_;
  DeviceArray<Element> values_;
  DeviceArray<Element> query_;
  DeviceArray<Element> out_;
  DeviceArray<float> lse_;
  DeviceArray<int32_t> pages_;
  DeviceArray<int32_t> page_start_;
  DeviceArray<int32_t> query_start_;
  DeviceArray<int32_t> kv_length_;
  DeviceArray<int32_t> last_page_;
  int page_size_;
  double lse_error_ = 0;
  PagedKvView cache_;
};

struct Bench {
  Timer timer;
  int multiprocessors = 0;
  double read = 0;  // bytes a second
  DeviceArray<char> partials{size_t{512} << 20};
  DeviceArray<char> indices{size_t{64} << 20};
  void* host_indices = nullptr;

  FlashInferMemory memory() {
    return {partials.data(), partials.count(), indices.data(), host_indices, indices.count()};
  }
};

void Report(Bench& bench, const std::string& name, const Memory& memory, double seconds,
            double error, double lse_error) {
  const bool good = error < 1e-2;
  std::printf("%-58s %9.1f us %6.0f GB/s %5.1f%% of read %7.1f TFLOP/s  err %.1e lse %.0e %s\n",
              name.c_str(), seconds * 1e6, memory.Bytes() / seconds / 1e9,
              100 * memory.Bytes() / seconds / bench.read, memory.Flops() / seconds / 1e12, error,
              lse_error, good ? "ok" : "WRONG");
  std::fflush(stdout);
}

// After a pause: the heat of the kernel before lowers the clocks by up to a tenth.
void Measure(Bench& bench, const std::string& name, Memory& memory,
             const std::function<void(int)>& body) {
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  memory.Spoil();
  body(0);
  const double error = memory.Error();
  const int calls = memory.sets() * (memory.sets() < 6 ? 2 : 1);
  const double seconds = bench.timer.Seconds(calls, [&](int i) { body(i % memory.sets()); });
  Report(bench, name, memory, seconds, error, memory.lse_error());
}

// A plan of a shape with its memory.
class Planned {
 public:
  Planned(const Bench& bench, const Shape& shape, const Memory& memory, int piece)
      : plan_(PlanOf(bench, shape, memory, piece)),
        work_(plan_.work),
        merges_(plan_.merges),
        partials_(static_cast<size_t>(
            PartialFloats(shape.kv_heads, shape.key_dim, plan_.partials, plan_.tile_rows))) {
    schedule_.work = work_.data();
    schedule_.merges = merges_.data();
    schedule_.work_count = static_cast<int32_t>(plan_.work.size());
    schedule_.merge_count = static_cast<int32_t>(plan_.merges.size());
    schedule_.tile_rows = plan_.tile_rows;
    schedule_.partials = plan_.partials;
    schedule_.grain = plan_.grain;
    schedule_.merge_warps = MergeWarps(plan_.tile_partials);
    schedule_.partial_data = partials_.data();
  }
  const SplitKvSchedule& schedule() const { return schedule_; }

 private:
  static SplitKvPlan PlanOf(const Bench& bench, const Shape& shape, const Memory& memory,
                            int piece) {
    const std::vector<int32_t> starts = memory.Starts(shape.rows);
    const std::vector<int32_t> lengths(static_cast<size_t>(shape.sequences), shape.keys);
    return PlanSplitKv({starts, lengths, 0, shape.sequences, shape.q_heads / shape.kv_heads,
                        shape.kv_heads, bench.multiprocessors * kResidentBlocks,
                        bench.multiprocessors * ResidentParts(shape.key_dim), piece});
  }

  SplitKvPlan plan_;
  DeviceArray<SplitKvWork> work_;
  DeviceArray<SplitKvWork> merges_;
  DeviceArray<float> partials_;
  SplitKvSchedule schedule_;
};

void MeasureSplitKv(Bench& bench, const std::string& name, const Shape& shape, Memory& memory,
                    int piece) {
  const Planned planned(bench, shape, memory, piece);
  Measure(bench, name + " split_kv " + (piece == 0 ? "auto" : std::to_string(piece)), memory,
          [&](int set) {
            RequireOk(RunSplitKv(memory.At(set), planned.schedule(), bench.timer.stream()));
          });
}

// A plan of a shape's prompts with its memory.
class PlannedPrompts {
 public:
  PlannedPrompts(const Bench& bench, const Shape& shape, const Memory& memory)
      : plan_(PlanOf(bench, shape, memory)),
        tiles_(plan_.tiles),
        block_start_(plan_.block_start),
        blocks_(bench.multiprocessors) {}
  HopperPrefillSchedule schedule() const { return {tiles_.data(), block_start_.data(), blocks_}; }

 private:
  static HopperPrefillPlan PlanOf(const Bench& bench, const Shape& shape, const Memory& memory) {
    const std::vector<int32_t> starts = memory.Starts(shape.rows);
    const std::vector<int32_t> lengths(static_cast<size_t>(shape.sequences), shape.keys);
    return PlanHopperPrefill({.query_start = starts,
                              .kv_length = lengths,
                              .end = shape.sequences,
                              .group = shape.q_heads / shape.kv_heads,
                              .kv_heads = shape.kv_heads,
                              .blocks = bench.multiprocessors});
  }

  HopperPrefillPlan plan_;
  DeviceArray<HopperTile> tiles_;
  DeviceArray<int32_t> block_start_;
  int32_t blocks_;
};

// Runs every schedule of split_kv and the general kernel on one problem: the schedules must have
// the same bits, the general kernel nearly the same numbers.
void Check(Bench& bench, const std::string& name, const Shape& shape, int page_size,
           PageOrder order, int window, float cap, bool sinks) {
  Memory memory(shape, page_size, order);
  Problem problem = memory.At(0);
  std::vector<float> sink_values;
  for (int head = 0; head < shape.q_heads; ++head) {
    sink_values.push_back(0.4f * static_cast<float>(head % 7) - 1.0f);
  }
  const DeviceArray<float> sink_array(sink_values);
  problem.window_left = window;
  problem.logit_soft_cap = cap;
  problem.sinks = sinks ? sink_array.data() : nullptr;
  const auto run = [&](const std::function<Status()>& body) {
    memory.Spoil();
    RequireOk(body());
    REQUIRE_CUDA(cudaDeviceSynchronize());
    return memory.Result();
  };
  const std::vector<float> general = run([&] { return RunGeneral(problem, bench.timer.stream()); });
  std::vector<float> first;
  double error = 0;
  constexpr int kUniform = -2;
  for (const int piece : {0, 1, 3, 4, 1000, kPartPieces, kUniform}) {
    const Planned planned(bench, shape, memory, piece == kUniform ? 0 : piece);
    SplitKvSchedule schedule = planned.schedule();
    if (piece == kUniform) {
      schedule = UniformSchedule(problem, shape.rows, shape.keys);
    }
    const DeviceArray<float> partials(static_cast<size_t>(
        PartialFloats(shape.kv_heads, shape.key_dim, schedule.partials, schedule.tile_rows)));
    schedule.partial_data = partials.data();
    const std::vector<float> result =
        run([&] { return RunSplitKv(problem, schedule, bench.timer.stream()); });
    if (first.empty()) {
      first = result;
    }
    size_t different = 0;
    for (size_t i = 0; i < result.size(); ++i) {
      different += std::memcmp(&result[i], &first[i], 4) != 0;
      const double e =
          result[i] == general[i] ? 0 : std::fabs(double{result[i]} - double{general[i]});
      error = e <= error ? error : e;
    }
    if (different > 0) {
      std::printf("WRONG %s: schedule %d differs in %zu of %zu\n", name.c_str(), piece, different,
                  result.size());
    }
  }
  std::printf("check %-40s max difference to the general kernel %.1e %s\n", name.c_str(), error,
              error < 2e-2 ? "ok" : "WRONG");
}

void Checks(Bench& bench) {
  for (const int dim : {64, 128, 256}) {
    const std::string d = " d" + std::to_string(dim);
    Check(bench, "decode 5x3000" + d, {5, 1, 3000, 8, 2, dim, dim}, 16, PageOrder::kNhd, -1, 0,
          false);
    Check(bench, "decode long" + d, {1, 1, 40000, 8, 2, dim, dim}, 1, PageOrder::kNhd, -1, 0, true);
    Check(bench, "verify 3x7of1500" + d, {3, 7, 1500, 8, 2, dim, dim}, 64, PageOrder::kHnd, -1, 0,
          false);
    Check(bench, "prefill 2x700 window cap" + d, {2, 700, 700, 6, 2, dim, dim}, 16, PageOrder::kHnd,
          100, 2.0f, true);
    Check(bench, "group 16 window" + d, {4, 2, 2100, 32, 2, dim, dim}, 256, PageOrder::kHnd, 600, 0,
          true);
    Check(bench, "group 1" + d, {4, 1, 1025, 3, 3, dim, dim}, 2, PageOrder::kNhd, -1, 5.0f, false);
    Check(bench, "more rows than keys" + d, {2, 9, 5, 8, 2, dim, dim}, 2, PageOrder::kNhd, -1, 0,
          true);
  }
}

// The rows of prompts, by split_kv and by hopper_split_kv: the same bits.
void CheckPrompts(Bench& bench, const Shape& shape, int page_size, PageOrder order, float sharpness,
                  bool sinks) {
  Memory memory(shape, page_size, order);
  Problem problem = memory.At(0);
  const DeviceArray<float> sink_array(std::vector<float>(static_cast<size_t>(shape.q_heads), 0.7f));
  problem.sinks = sinks ? sink_array.data() : nullptr;
  problem.scale *= sharpness;
  const Planned planned(bench, shape, memory, 0);
  const PlannedPrompts prompts(bench, shape, memory);
  memory.Spoil();
  RequireOk(RunSplitKv(problem, planned.schedule(), bench.timer.stream()));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<float> expected = memory.Result();
  memory.Spoil();
  RequireOk(RunHopperSplitKv(problem, prompts.schedule(), bench.timer.stream()));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  const std::vector<float> result = memory.Result();
  size_t different = 0;
  double worst = 0;
  for (size_t i = 0; i < result.size(); ++i) {
    different += std::memcmp(&result[i], &expected[i], 4) != 0;
    const double error = std::fabs(double{result[i]} - double{expected[i]});
    worst = error <= worst ? worst : error;
  }
  std::printf(
      "bits %dx%dof%d heads %d/%d dim %d page %d%s sharpness %.1f: %zu of %zu differ, by up "
      "to %.1e %s\n",
      shape.sequences, shape.rows, shape.keys, shape.q_heads, shape.kv_heads, shape.key_dim,
      page_size, sinks ? " sinks" : "", sharpness, different, result.size(), worst,
      different == 0 ? "ok" : "WRONG");
}

void CheckAllPrompts(Bench& bench) {
  for (const int dim : {64, 128}) {
    for (const int keys :
         {17, 63, 64, 65, 128, 129, 200, 256, 257, 500, 1023, 1024, 1025, 1100, 2048, 2300, 4097}) {
      CheckPrompts(bench, {2, keys, keys, 4, 2, dim, dim}, 16, PageOrder::kNhd, 1.0f, false);
    }
    for (const int rows : {17, 64, 100, 129, 512}) {
      for (const int keys : {512, 700, 1040, 3333, 9000}) {
        CheckPrompts(bench, {2, rows, keys, 4, 1, dim, dim}, rows % 2 == 0 ? 64 : 1,
                     PageOrder::kHnd, 4.0f, rows == 100);
      }
    }
    for (const int group : {1, 2, 3, 5, 8}) {
      CheckPrompts(bench, {3, 333, 1500, 2 * group, 2, dim, dim}, 128, PageOrder::kNhd, 20.0f,
                   true);
    }
  }
}

using PlanFunction = Status (*)(const FlashInferStep&, const FlashInferMemory&, cudaStream_t,
                                FlashInferPlan&);
using RunFunction = Status (*)(const Problem&, const FlashInferPages&, const FlashInferPlan&,
                               const FlashInferMemory&, cudaStream_t);

void MeasureFlashInfer(Bench& bench, const std::string& name, const Shape& shape, Memory& memory,
                       PlanFunction plan_function, RunFunction run_function) {
  const std::vector<int32_t> starts = memory.Starts(shape.rows);
  const std::vector<int32_t> page_starts = memory.Starts(memory.pages_per_sequence());
  const std::vector<int32_t> lengths(static_cast<size_t>(shape.sequences), shape.keys);
  const FlashInferStep step = {starts.data(),
                               page_starts.data(),
                               lengths.data(),
                               shape.sequences,
                               shape.sequences * shape.rows,
                               shape.q_heads,
                               shape.kv_heads,
                               shape.key_dim,
                               memory.At(0).page_size};
  FlashInferPlan plan;
  RequireOk(plan_function(step, bench.memory(), bench.timer.stream(), plan));
  REQUIRE_CUDA(cudaStreamSynchronize(bench.timer.stream()));
  Measure(bench, name, memory, [&](int set) {
    RequireOk(
        run_function(memory.At(set), memory.pages(), plan, bench.memory(), bench.timer.stream()));
  });
}

using PromptFunction = Status (*)(const Problem&, const HopperPrefillSchedule&, cudaStream_t);

void MeasurePrompts(Bench& bench, const std::string& name, const Shape& shape, Memory& memory,
                    PromptFunction function) {
  const PlannedPrompts planned(bench, shape, memory);
  Measure(bench, name, memory, [&](int set) {
    RequireOk(function(memory.At(set), planned.schedule(), bench.timer.stream()));
  });
}

std::string NameOf(const Shape& shape, int page_size, PageOrder order) {
  return std::to_string(shape.sequences) + "x" +
         (shape.rows > 1 ? std::to_string(shape.rows) + "of" : std::string()) +
         std::to_string(shape.keys) + " dim " + std::to_string(shape.key_dim) + " page " +
         std::to_string(page_size) + (order == PageOrder::kHnd ? " hnd" : " nhd");
}

void Decode(Bench& bench) {
  for (const Shape& shape :
       {Shape{1, 1, 1088}, Shape{8, 1, 1088}, Shape{128, 1, 4096}, Shape{64, 1, 2048},
        Shape{16, 1, 4096}, Shape{1, 1, 65536}, Shape{1, 1, 8192}}) {
    for (const int page_size : {1, 16, 64}) {
      Memory memory(shape, page_size, PageOrder::kNhd);
      const std::string name = "decode " + NameOf(shape, page_size, PageOrder::kNhd);
      MeasureFlashInfer(bench, name + " flashinfer_fa2", shape, memory, PlanFa2, RunFa2);
      for (const int piece : {0, 1}) {
        MeasureSplitKv(bench, name, shape, memory, piece);
      }
    }
    Memory memory(shape, 16, PageOrder::kHnd);
    MeasureSplitKv(bench, "decode " + NameOf(shape, 16, PageOrder::kHnd), shape, memory, 0);
  }
}

// Each launch once, for a profiler.
void Profile(Bench& bench) {
  for (const Shape& shape : {Shape{16, 1, 4096}, Shape{1, 1, 65536}, Shape{128, 1, 4096}}) {
    Memory memory(shape, 16, PageOrder::kNhd);
    for (const int piece : {0, 1}) {
      const Planned planned(bench, shape, memory, piece);
      RequireOk(RunSplitKv(memory.At(0), planned.schedule(), bench.timer.stream()));
      REQUIRE_CUDA(cudaDeviceSynchronize());
    }
  }
}

void Prefill(Bench& bench) {
  for (const Shape& shape : {Shape{1, 8192, 8192}, Shape{16, 1024, 1024}, Shape{8, 512, 8192},
                             Shape{1, 8192, 8192, 32, 8, 64, 64}}) {
    for (const int page_size : {1, 16, 64}) {
      Memory memory(shape, page_size, PageOrder::kNhd);
      const std::string name = "prefill " + NameOf(shape, page_size, PageOrder::kNhd);
      if (shape.key_dim == 128) {
        MeasureFlashInfer(bench, name + " flashinfer_fa2", shape, memory, PlanFa2, RunFa2);
      }
      MeasureFlashInfer(bench, name + " flashinfer_fa3", shape, memory, PlanFa3, RunFa3);
      MeasurePrompts(bench, name + " hopper_prefill", shape, memory, RunHopperPrefill);
      MeasurePrompts(bench, name + " hopper_split_kv", shape, memory, RunHopperSplitKv);
      MeasureSplitKv(bench, name, shape, memory, 0);
    }
  }
}

void Mla(Bench& bench) {
  for (const Shape& shape :
       {Shape{64, 1, 4096, 128, 1, 576, 512, true}, Shape{16, 1, 4096, 128, 1, 576, 512, true},
        Shape{1, 1, 4096, 128, 1, 576, 512, true}, Shape{64, 1, 4096, 16, 1, 576, 512, true}}) {
    for (const int page_size : {1, 16, 64}) {
      Memory memory(shape, page_size, PageOrder::kHnd);
      const std::string name = "mla " + NameOf(shape, page_size, PageOrder::kHnd) + " heads " +
                               std::to_string(shape.q_heads);
      const DeviceArray<char> scratch(
          std::max(FlashInferMlaScratchBytes(memory.At(0), bench.multiprocessors),
                   HopperMlaScratchBytes(bench.multiprocessors)));
      const auto measure = [&](const std::string& kernel, auto* run) {
        Measure(bench, name + " " + kernel, memory, [&](int set) {
          RequireOk(
              run(memory.At(set), bench.multiprocessors, scratch.data(), bench.timer.stream()));
        });
      };
      measure("flashinfer_mla", RunFlashInferMla);
      if (WhyNotHopperMla(memory.At(0)).empty()) {
        measure("hopper_mla", RunHopperMla);
      }
    }
  }
}

void MeasureBandwidth(Bench& bench) {
  constexpr size_t kBytes = size_t{2} << 30;
  const DeviceArray<Element> from(kBytes / 2);
  const DeviceArray<Element> to(kBytes / 2);
  const DeviceArray<uint32_t> out(1);
  Fill(from, 9);
  const double read = bench.timer.Seconds(2, [&](int) {
    ReadKernel<<<bench.multiprocessors * 8, 256, 0, bench.timer.stream()>>>(
        reinterpret_cast<const uint4*>(from.data()), kBytes / 16, out.data());
  });
  const double copy = bench.timer.Seconds(2, [&](int) {
    REQUIRE_CUDA(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice,
                                 bench.timer.stream()));
  });
  bench.read = kBytes / read;
  std::printf("read %.0f GB/s, copy (read + write) %.0f GB/s\n", kBytes / read / 1e9,
              2 * kBytes / copy / 1e9);
}

int Main(int argc, char** argv) {
  const std::string_view part = argc > 1 ? argv[1] : "all";
  Bench bench;
  cudaDeviceProp properties;
  REQUIRE_CUDA(cudaGetDeviceProperties(&properties, 0));
  bench.multiprocessors = properties.multiProcessorCount;
  REQUIRE_CUDA(cudaMallocHost(&bench.host_indices, bench.indices.count()));
  std::printf("%s, %d multiprocessors, L2 %d MiB\n", properties.name, bench.multiprocessors,
              properties.l2CacheSize >> 20);
  MeasureBandwidth(bench);
  if (part == "check" || part == "all") {
    Checks(bench);
    CheckAllPrompts(bench);
  }
  if (part == "decode" || part == "all") {
    Decode(bench);
  }
  if (part == "profile") {
    Profile(bench);
  }
  if (part == "prefill" || part == "all") {
    Prefill(bench);
  }
  if (part == "mla" || part == "all") {
    Mla(bench);
  }
  return 0;
}

}  // namespace

}  // namespace quire::ops::attention::cuda

int main(int argc, char** argv) {
  return quire::ops::attention::cuda::Main(argc, argv);
}
