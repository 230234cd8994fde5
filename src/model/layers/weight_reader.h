// Reads a model file's tensors into layers, checking names and shapes and reporting progress.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "model/loader/gguf.h"
#include "model/model.h"
#include "ops/linear/linear.h"
#include "tensor/tensor.h"

namespace quire {

// One thread at a time.
class WeightReader {
 public:
  WeightReader(const ops::OpContext& context, const GgufFile& file,
               const ModelLoadOptions& options);

  bool Has(std::string_view name) const { return file_.FindTensor(name) != nullptr; }

  const ops::OpContext& context() const { return context_; }

  // Of everything between the layers.
  DType activation_type() const { return options_.activation_type; }

  // Whether linear products quantize their activations.
  bool quantizes_activations() const {
    return options_.activations == ops::linear::ActivationMode::kBlock8;
  }

  // The tensor as it lies in the file. Errors: not_found; corrupt_data (another shape).
  Result<TensorView> Mapped(const std::string& name, const Shape& shape);

  // The table `name` in its file's type, where the device reads it: host memory stays mapped.
  struct TableRows {
    Tensor copy;  // empty if mapped
    TensorView view;
  };
  Result<TableRows> Table(const std::string& name, const Shape& shape);

  // The vector `name` [size] in fp32 on the device.
  Result<Tensor> Vector(const std::string& name, int64_t size);

  // The matrices `names`, each [n_i, k], stacked along N and packed for the linear operator.
  struct Matrix {
    std::string name;
    int64_t n;
  };
  Result<std::shared_ptr<const ops::linear::PackedWeight>> Linear(
      std::initializer_list<Matrix> matrices, int64_t k);

  // What all vectors and matrices read so far take on the device.
  size_t device_bytes() const { return device_bytes_; }

  // Multiply-adds of one row through all matrices read so far.
  int64_t row_products() const { return row_products_; }

 private:
  void Count(const TensorView& view);

  const ops::OpContext& context_;
  const GgufFile& file_;
  const ModelLoadOptions& options_;
  double total_bytes_ = 0;
  double read_bytes_ = 0;
  size_t device_bytes_ = 0;
  int64_t row_products_ = 0;
};

}  // namespace quire
