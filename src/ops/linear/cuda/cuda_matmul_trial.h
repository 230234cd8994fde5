// Products to be timed as a model runs them: with weights that no cache holds.
#pragma once

#include <cuda_runtime_api.h>

#include <limits>
#include <memory>
#include <vector>

#include "ops/linear/cuda/cuda_matmul.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::linear {

class MatmulTrial {
 public:
  // Products like `matmul` but of `rows` rows, without accumulate, on copies of its arrays. Errors:
  // resource_exhausted.
  static Result<std::unique_ptr<MatmulTrial>> Create(CudaDevice& device, const Matmul& matmul,
                                                     int64_t rows, cudaStream_t stream);
  ~MatmulTrial();
  MatmulTrial(const MatmulTrial&) = delete;
  MatmulTrial& operator=(const MatmulTrial&) = delete;

  // All differ in their weights alone.
  const Matmul& matmul() const { return matmuls_[0]; }
  int* number() const { return static_cast<int*>(flush_); }  // on the device, for any use

  // The time that run(matmul) takes, which enqueues it and returns whether it could, in
  // microseconds; infinity if it could not. Waits for the stream.
  template <typename Run>
  float Time(const Run& run) {
    bool ran = Begin();
    for (int i = 0; i < runs_ && ran; ++i) {
      ran = run(matmuls_[next_++ % matmuls_.size()]);
    }
    return End(ran) / static_cast<float>(runs_);
  }

 private:
  explicit MatmulTrial(cudaStream_t stream);

  Status Copy(CudaDevice& device, const Matmul& matmul, int64_t rows);
  // Rows of bytes, strides in bytes too.
  Status CopyMatrix(void* to, int64_t to_stride, const void* from, int64_t from_stride,
                    int64_t row_bytes, int64_t rows);
  bool Begin();
  float End(bool ran);

  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
  Buffer memory_;
  void* flush_ = nullptr;
  std::vector<Matmul> matmuls_;
  size_t next_ = 0;
  int runs_ = 1;
};

}  // namespace quire::ops::linear
