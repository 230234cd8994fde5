// Shape and TensorView: memory that somebody else owns, seen as an array with named element type
// and place.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "base/check.h"
#include "platform/device.h"
#include "tensor/dtype.h"

namespace quire {

// Up to four extents, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> extents)
      : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}
  // REQUIRES: at most kMaxRank extents.
  explicit Shape(std::span<const int64_t> extents) {
    QUIRE_CHECK_LE(static_cast<int>(extents.size()), kMaxRank);
    for (const int64_t extent : extents) {
      extents_[rank_++] = extent;
    }
  }

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return extents_[axis]; }
  int64_t elements() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) {
      product *= extents_[axis];
    }
    return product;
  }
  bool operator==(const Shape&) const = default;

 private:
  std::array<int64_t, kMaxRank> extents_ = {};
  int rank_ = 0;
};

// "[3, 64]"
std::string ShapeName(const Shape& shape);

// A non-owning view. Strides are in elements; the last axis of a quantized view is contiguous and
// its strides count elements too (a multiple of the block). Copying a view copies no data.
// Const-ness is by convention of the argument structs: inputs are not written.
class TensorView {
 public:
  TensorView() = default;
  // Contiguous.
  TensorView(void* data, DType dtype, const Shape& shape, Place place = Place::Host());
  TensorView(void* data, DType dtype, const Shape& shape,
             const std::array<int64_t, Shape::kMaxRank>& strides, Place place = Place::Host());

  bool defined() const { return data_ != nullptr; }
  void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis]; }
  Place place() const { return place_; }
  bool IsContiguous() const;

  // The elements as T. REQUIRES: sizeof(T) fits the dtype; plain types only.
  template <typename T>
  T* as() const {
    QUIRE_CHECK_EQ(static_cast<int64_t>(sizeof(T)), InfoOf(dtype_).block_bytes);
    return static_cast<T*>(data_);
  }

  // Rows [begin, end) of the outermost axis.
  TensorView Rows(int64_t begin, int64_t end) const;
  // Elements [begin, end) of the last axis, keeping the strides.
  TensorView Columns(int64_t begin, int64_t end) const;
  // The last axis split in two: [.., n] -> [.., n / inner, inner]. REQUIRES: inner divides n.
  TensorView SplitLast(int64_t inner) const;

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_;
  std::array<int64_t, Shape::kMaxRank> strides_ = {};
  Place place_;
};

// "f32 [3, 64] on cpu:0", for messages.
std::string Describe(const TensorView& view);

}  // namespace quire
