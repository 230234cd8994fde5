#include "tensor/tensor_view.h"

namespace quire {

namespace {

std::array<int64_t, Shape::kMaxRank> ContiguousStrides(const Shape& shape) {
  std::array<int64_t, Shape::kMaxRank> strides = {};
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

Shape WithExtent(const Shape& shape, int axis, int64_t extent) {
  std::array<int64_t, Shape::kMaxRank> e = {};
  for (int a = 0; a < shape.rank(); ++a) {
    e[a] = a == axis ? extent : shape[a];
  }
  switch (shape.rank()) {
    case 1: return {e[0]};
    case 2: return {e[0], e[1]};
    case 3: return {e[0], e[1], e[2]};
    default: return {e[0], e[1], e[2], e[3]};
  }
}

void* Advance(void* data, DType dtype, int64_t elements) {
  return static_cast<std::byte*>(data) + BytesOf(dtype, elements);
}

}  // namespace

std::string ShapeName(const Shape& shape) {
  std::string out = "[";
  for (int axis = 0; axis < shape.rank(); ++axis) {
    out += StrCat(axis == 0 ? "" : ", ", shape[axis]);
  }
  return out + "]";
}

TensorView::TensorView(void* data, DType dtype, const Shape& shape, Place place)
    : TensorView(data, dtype, shape, ContiguousStrides(shape), place) {}

TensorView::TensorView(void* data, DType dtype, const Shape& shape,
                       const std::array<int64_t, Shape::kMaxRank>& strides, Place place)
    : data_(data), dtype_(dtype), shape_(shape), strides_(strides), place_(place) {}

bool TensorView::IsContiguous() const {
  const auto expected = ContiguousStrides(shape_);
  for (int axis = 0; axis < rank(); ++axis) {
    if (shape_[axis] > 1 && strides_[axis] != expected[axis]) {
      return false;
    }
  }
  return true;
}

TensorView TensorView::Rows(int64_t begin, int64_t end) const {
  QUIRE_CHECK(0 <= begin && begin <= end && end <= dim(0))
      << begin << " " << end << " of " << dim(0);
  return {Advance(data_, dtype_, begin * strides_[0]), dtype_, WithExtent(shape_, 0, end - begin),
          strides_, place_};
}

TensorView TensorView::Columns(int64_t begin, int64_t end) const {
  const int last = rank() - 1;
  QUIRE_CHECK(0 <= begin && begin <= end && end <= dim(last)) << begin << " " << end;
  return {Advance(data_, dtype_, begin), dtype_, WithExtent(shape_, last, end - begin), strides_,
          place_};
}

TensorView TensorView::SplitLast(int64_t inner) const {
  const int last = rank() - 1;
  QUIRE_CHECK_LT(rank(), Shape::kMaxRank);
  QUIRE_CHECK_EQ(dim(last) % inner, 0);
  const int64_t outer = dim(last) / inner;
  auto strides = strides_;
  strides[last] = inner;
  strides[last + 1] = 1;
  if (rank() == 1) {
    return {data_, dtype_, {outer, inner}, strides, place_};
  }
  if (rank() == 2) {
    return {data_, dtype_, {dim(0), outer, inner}, strides, place_};
  }
  return {data_, dtype_, {dim(0), dim(1), outer, inner}, strides, place_};
}

std::string Describe(const TensorView& view) {
  return StrCat(InfoOf(view.dtype()).name, " ", ShapeName(view.shape()), " on ",
                PlaceName(view.place()));
}

}  // namespace quire
