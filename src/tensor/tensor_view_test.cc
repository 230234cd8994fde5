#include "tensor/tensor_view.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "platform/cpu/cpu_device.h"
#include "tensor/tensor.h"

namespace quire {
namespace {

std::vector<float> Iota(int count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

TEST(ShapeTest, ExtentsAndElements) {
  const Shape shape = {2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape[2], 5);
  EXPECT_EQ(shape.elements(), 30);
  EXPECT_EQ(ShapeName(shape), "[2, 3, 5]");
  EXPECT_EQ(Shape().elements(), 1);
  EXPECT_EQ(ShapeName(Shape()), "[]");
  EXPECT_EQ(shape, (Shape{2, 3, 5}));
  EXPECT_NE(shape, (Shape{2, 3}));
  EXPECT_NE(shape, (Shape{2, 3, 5, 1}));
}

TEST(ShapeTest, FiveExtentsDie) {
  EXPECT_DEATH((Shape{1, 2, 3, 4, 5}), "check failed");
}

TEST(TensorViewTest, ContiguousStridesAreRowMajor) {
  std::vector<float> data = Iota(24);
  const TensorView view(data.data(), DType::kF32, {2, 3, 4});
  EXPECT_EQ(view.stride(0), 12);
  EXPECT_EQ(view.stride(1), 4);
  EXPECT_EQ(view.stride(2), 1);
  EXPECT_TRUE(view.IsContiguous());
  EXPECT_EQ(view.as<float>(), data.data());
  EXPECT_EQ(Describe(view), "f32 [2, 3, 4] on cpu:0");
  EXPECT_FALSE(TensorView().defined());
}

TEST(TensorViewTest, RowsMoveTheStart) {
  std::vector<float> data = Iota(24);
  const TensorView rows = TensorView(data.data(), DType::kF32, {4, 6}).Rows(1, 3);
  EXPECT_EQ(rows.shape(), (Shape{2, 6}));
  EXPECT_EQ(rows.as<float>()[0], 6);
  EXPECT_TRUE(rows.IsContiguous());
  EXPECT_EQ(TensorView(data.data(), DType::kF32, {4, 6}).Rows(4, 4).dim(0), 0);
}

TEST(TensorViewTest, ColumnsKeepTheStrides) {
  std::vector<float> data = Iota(24);
  const TensorView columns = TensorView(data.data(), DType::kF32, {4, 6}).Columns(2, 5);
  EXPECT_EQ(columns.shape(), (Shape{4, 3}));
  EXPECT_EQ(columns.stride(0), 6);
  EXPECT_EQ(columns.as<float>()[columns.stride(0)], 8);
  EXPECT_FALSE(columns.IsContiguous());
  EXPECT_TRUE(columns.Rows(0, 1).IsContiguous());  // the stride of a single row does not matter
}

TEST(TensorViewTest, SplitLastKeepsTheData) {
  std::vector<float> data = Iota(24);
  const TensorView matrix(data.data(), DType::kF32, {2, 12});
  const TensorView heads = matrix.SplitLast(4);
  EXPECT_EQ(heads.shape(), (Shape{2, 3, 4}));
  EXPECT_TRUE(heads.IsContiguous());
  EXPECT_EQ(heads.SplitLast(2).shape(), (Shape{2, 3, 2, 2}));
  EXPECT_EQ(TensorView(data.data(), DType::kF32, {24}).SplitLast(6).shape(), (Shape{4, 6}));
  const TensorView part = matrix.Columns(4, 12).SplitLast(4);
  EXPECT_EQ(part.shape(), (Shape{2, 2, 4}));
  EXPECT_EQ(part.stride(0), 12);
  EXPECT_EQ(part.as<float>()[part.stride(0) + part.stride(1)], 20);
}

TEST(TensorViewTest, QuantizedViewsCountElements) {
  std::vector<std::byte> data(BytesOf(DType::kQ4_1, 3 * 64));
  const TensorView view(data.data(), DType::kQ4_1, {3, 64});
  EXPECT_EQ(view.Rows(1, 2).data(), data.data() + 40);
  EXPECT_EQ(view.Columns(32, 64).data(), data.data() + 20);
  EXPECT_DEATH(view.Columns(16, 64), "check failed");  // inside a block
}

TEST(TensorViewTest, OutOfRangeDies) {
  std::vector<float> data = Iota(24);
  const TensorView view(data.data(), DType::kF32, {4, 6});
  EXPECT_DEATH(view.Rows(0, 5), "check failed");
  EXPECT_DEATH(view.Rows(3, 2), "check failed");
  EXPECT_DEATH(view.Columns(-1, 2), "check failed");
  EXPECT_DEATH(view.SplitLast(4), "check failed");
  EXPECT_DEATH(view.as<uint16_t>(), "check failed");
}

TEST(DTypeTest, Bytes) {
  EXPECT_EQ(BytesOf(DType::kF32, 3), 12);
  EXPECT_EQ(BytesOf(DType::kBF16, 3), 6);
  EXPECT_EQ(BytesOf(DType::kI64, 3), 24);
  EXPECT_EQ(BytesOf(DType::kQ8_0, 64), 68);
  EXPECT_EQ(BytesOf(DType::kQ6_K, 512), 420);
  EXPECT_TRUE(IsQuantized(DType::kQ4_0));
  EXPECT_FALSE(IsQuantized(DType::kI8));
  EXPECT_EQ(InfoOf(DType::kQ5_K).name, "q5_k");
  EXPECT_DEATH(BytesOf(DType::kQ4_0, 33), "check failed");
}

TEST(TensorTest, OwnsItsMemory) {
  auto device = CpuDevice::Create(1);
  ASSERT_TRUE(device.ok());
  Result<Tensor> made = Tensor::Create(**device, DType::kF32, {3, 5});
  ASSERT_TRUE(made.ok());
  const Tensor tensor = *std::move(made);
  EXPECT_EQ(tensor.bytes(), 60U);
  EXPECT_EQ(tensor.view().shape(), (Shape{3, 5}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data()) % Buffer::kAlignment, 0U);
  tensor.view().as<float>()[14] = 1;
}

}  // namespace
}  // namespace quire
