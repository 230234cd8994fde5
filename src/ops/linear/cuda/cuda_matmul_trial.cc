#include "ops/linear/cuda/cuda_matmul_trial.h"

#include <algorithm>
#include <limits>

#include "platform/cuda/cuda_error.h"

namespace quire::ops::linear {

namespace {

constexpr int64_t kAlignment = 256;
// Copies of the weights that are read in turn: of one alone a cache would keep a part.
constexpr int64_t kWeightBytes = int64_t{512} << 20;
// Written before the products so that the host is ahead of the device when they are timed.
constexpr int64_t kFlushBytes = int64_t{64} << 20;

int64_t Aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// So many products take long enough for a clock, and no longer.
int RunsOf(const Matmul& matmul, int64_t weight_bytes) {
  constexpr double kEnough = 200e-6;           // seconds
  constexpr double kBytesPerSecond = 4e12;     // about a GPU's
  constexpr double kProductsPerSecond = 4e14;  // about a GPU's
  const double seconds =
      std::max(static_cast<double>(weight_bytes) / kBytesPerSecond,
               static_cast<double>(matmul.m * matmul.n * matmul.k) / kProductsPerSecond);
  return static_cast<int>(std::clamp(kEnough / seconds, 1.0, 8.0));
}

}  // namespace

MatmulTrial::MatmulTrial(cudaStream_t stream) : stream_(stream) {
  cudaEventCreate(&begin_);
  cudaEventCreate(&end_);
}

MatmulTrial::~MatmulTrial() {
  cudaEventDestroy(begin_);
  cudaEventDestroy(end_);
}

Result<std::unique_ptr<MatmulTrial>> MatmulTrial::Create(CudaDevice& device, const Matmul& matmul,
                                                         int64_t rows, cudaStream_t stream) {
  std::unique_ptr<MatmulTrial> trial(new MatmulTrial(stream));
  QUIRE_RETURN_IF_ERROR(trial->Copy(device, matmul, rows));
  return trial;
}

Status MatmulTrial::Copy(CudaDevice& device, const Matmul& matmul, int64_t rows) {
  const int64_t weight_bytes = BytesOf(matmul.in, matmul.n * matmul.w_stride);
  const int64_t x_row_bytes = BytesOf(matmul.in, matmul.x_stride);
  const int64_t copies = std::clamp<int64_t>(kWeightBytes / weight_bytes, 0, 16);
  const int64_t x_at = kFlushBytes;
  const int64_t result_at = x_at + Aligned(rows * x_row_bytes);
  const int64_t spans = matmul.in == DType::kF8E4M3 ? matmul.k / 128 : 0;
  const int64_t scales_at = result_at + Aligned(BytesOf(matmul.out, rows * matmul.result_stride));
  const int64_t weights_at = scales_at + Aligned(4 * spans * rows);
  QUIRE_ASSIGN_OR_RETURN(
      memory_, device.Allocate(static_cast<size_t>(weights_at + copies * Aligned(weight_bytes))));
  auto* const memory = static_cast<uint8_t*>(memory_.data());
  flush_ = memory;
  Matmul trial = matmul;
  trial.m = rows;
  trial.x = memory + x_at;
  trial.result = memory + result_at;
  trial.accumulate = false;
  trial.x_scales = spans > 0 ? reinterpret_cast<const float*>(memory + scales_at) : nullptr;
  for (int64_t row = 0; row < rows; row += matmul.m) {  // those that there are, again and again
    const int64_t count = std::min(matmul.m, rows - row);
    QUIRE_RETURN_IF_ERROR(CopyMatrix(memory + x_at + row * x_row_bytes, x_row_bytes, matmul.x,
                                     x_row_bytes, BytesOf(matmul.in, matmul.k), count));
    QUIRE_RETURN_IF_ERROR(CopyMatrix(memory + scales_at + 4 * row, 4 * rows, matmul.x_scales,
                                     4 * matmul.m, 4 * count, spans));
  }
  matmuls_.assign(1, trial);  // of the weights themselves
  for (int64_t i = 0; i < copies; ++i) {
    trial.w = memory + weights_at + i * Aligned(weight_bytes);
    QUIRE_RETURN_IF_ERROR(CudaStatus(
        cudaMemcpyAsync(const_cast<void*>(trial.w), matmul.w, static_cast<size_t>(weight_bytes),
                        cudaMemcpyDeviceToDevice, stream_),
        "cudaMemcpyAsync"));
    matmuls_.push_back(trial);
  }
  runs_ = RunsOf(trial, weight_bytes);
  return OkStatus();
}

Status MatmulTrial::CopyMatrix(void* to, int64_t to_stride, const void* from, int64_t from_stride,
                               int64_t row_bytes, int64_t rows) {
  return rows == 0
             ? OkStatus()
             : CudaStatus(cudaMemcpy2DAsync(
                              to, static_cast<size_t>(to_stride), from,
                              static_cast<size_t>(from_stride), static_cast<size_t>(row_bytes),
                              static_cast<size_t>(rows), cudaMemcpyDeviceToDevice, stream_),
                          "cudaMemcpy2DAsync");
}

bool MatmulTrial::Begin() {
  return cudaMemsetAsync(flush_, 0, kFlushBytes, stream_) == cudaSuccess &&
         cudaEventRecord(begin_, stream_) == cudaSuccess;
}

float MatmulTrial::End(bool ran) {
  float milliseconds = 0;
  ran = cudaEventRecord(end_, stream_) == cudaSuccess &&
        cudaEventSynchronize(end_) == cudaSuccess && ran &&
        cudaEventElapsedTime(&milliseconds, begin_, end_) == cudaSuccess;
  return ran ? milliseconds * 1000 : std::numeric_limits<float>::infinity();
}

}  // namespace quire::ops::linear
