#include "model/layers/weight_reader.h"

#include "tensor/block_formats.h"

namespace quire {

namespace {

double BytesOfView(const TensorView& view) {
  return static_cast<double>(BytesOf(view.dtype(), view.shape().elements()));
}

}  // namespace

WeightReader::WeightReader(const ops::OpContext& context, const GgufFile& file,
                           const ModelLoadOptions& options)
    : context_(context), file_(file), options_(options) {
  for (const GgufTensor& tensor : file.tensors()) {
    total_bytes_ += BytesOfView(tensor.view);
  }
}

void WeightReader::Count(const TensorView& view) {
  read_bytes_ += BytesOfView(view);
  options_.on_progress(std::min(1.0, read_bytes_ / total_bytes_));
}

Result<TensorView> WeightReader::Mapped(const std::string& name, const Shape& shape) {
  const GgufTensor* tensor = file_.FindTensor(name);
  if (tensor == nullptr) {
    return NotFound("model: tensor '", name, "' is missing from '", file_.path(), "'");
  }
  if (tensor->view.shape() != shape) {
    return CorruptData("model: tensor '", name, "' has shape ", ShapeName(tensor->view.shape()),
                       ", expected ", ShapeName(shape));
  }
  if (tensor->view.dtype() == DType::kI8 || tensor->view.dtype() == DType::kI32 ||
      tensor->view.dtype() == DType::kI64) {
    return Unsupported("model: tensor '", name, "' holds integers of type ",
                       InfoOf(tensor->view.dtype()).name, ", not weights");
  }
  return tensor->view;
}

Result<WeightReader::TableRows> WeightReader::Table(const std::string& name, const Shape& shape) {
  TableRows table;
  QUIRE_ASSIGN_OR_RETURN(table.view, Mapped(name, shape));
  if (!context_.stream.device().place().IsHost()) {
    QUIRE_ASSIGN_OR_RETURN(table.copy, Tensor::CopyOf(context_.stream, table.view));
    table.view = table.copy.view();
  }
  return table;
}

Result<Tensor> WeightReader::Vector(const std::string& name, int64_t size) {
  QUIRE_ASSIGN_OR_RETURN(const TensorView source, Mapped(name, {size}));
  std::vector<float> values(static_cast<size_t>(size));
  DequantizeRow(source.dtype(), source.data(), size, values.data());
  QUIRE_ASSIGN_OR_RETURN(Tensor out,
                         Tensor::CopyOf(context_.stream, {values.data(), DType::kF32, {size}}));
  Count(source);
  device_bytes_ += static_cast<size_t>(size) * sizeof(float);
  return out;
}

Result<std::shared_ptr<const ops::linear::PackedWeight>> WeightReader::Linear(
    std::initializer_list<Matrix> matrices, int64_t k) {
  std::vector<TensorView> views;
  for (const Matrix& matrix : matrices) {
    QUIRE_ASSIGN_OR_RETURN(const TensorView view, Mapped(matrix.name, {matrix.n, k}));
    views.push_back(view);
  }
  auto packed = ops::linear::PackWeight(context_, views, options_.activations);
  if (!packed.ok()) {
    return packed.status().WithContext(StrCat("model: tensor '", matrices.begin()->name, "'"));
  }
  for (const TensorView& view : views) {
    Count(view);
  }
  device_bytes_ += (*packed)->bytes();
  row_products_ += (*packed)->n() * (*packed)->k();
  return packed;
}

}  // namespace quire
