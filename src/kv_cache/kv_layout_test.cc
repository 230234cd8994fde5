#include "kv_cache/kv_layout.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

KvLayout SmallLayout() {
  return {
      .num_layers = 3, .num_kv_heads = 2, .head_dim = 64, .dtype = DType::kF16, .page_size = 16};
}

TEST(KvLayout, CountsBytesOfKeysAndValuesOfAllLayers) {
  const KvLayout layout = SmallLayout();
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kKeys), 2 * 16 * 64 * 2);
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kValues), 2 * 16 * 64 * 2);
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kKeyScales), 0);
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kLatents), 0);
  EXPECT_EQ(layout.BytesPerToken(), 3 * 2 * 2 * 64 * 2);
  EXPECT_EQ(layout.BytesPerPage(), layout.BytesPerToken() * 16);
}

TEST(KvLayout, FloatTakesTwiceTheBytesOfHalf) {
  KvLayout layout = SmallLayout();
  const int64_t half = layout.BytesPerPage();
  layout.dtype = DType::kBF16;
  EXPECT_EQ(layout.BytesPerPage(), half);
  layout.dtype = DType::kF32;
  EXPECT_EQ(layout.BytesPerPage(), 2 * half);
}

TEST(KvLayout, TakesPowersOfTwoAsPageSize) {
  KvLayout layout = SmallLayout();
  for (layout.page_size = 1; layout.page_size <= 256; layout.page_size *= 2) {
    EXPECT_TRUE(layout.Validate().ok()) << layout.page_size;
  }
  for (const int32_t bad : {-16, 0, 3, 48, 255, 257, 512}) {
    layout.page_size = bad;
    const Status status = layout.Validate();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(std::to_string(bad)), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("256"), std::string::npos) << status.message();
  }
}

TEST(KvLayout, RefusesImpossibleExtentsAndTypes) {
  KvLayout layout = SmallLayout();
  layout.num_layers = 0;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = SmallLayout();
  layout.head_dim = 1 << 30;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = SmallLayout();
  layout.dtype = DType::kQ8_0;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kUnsupported);
}

TEST(KvLayout, ValuesMayBeShorterThanKeys) {
  KvLayout layout = SmallLayout();
  layout.value_head_dim = 48;
  EXPECT_EQ(layout.BytesPerToken(), 3 * 2 * (64 + 48) * 2);
  EXPECT_EQ(layout.ArrayShape(KvArray::kValues, 7), (Shape{7, 2, 16, 48}));
  layout.order = PageOrder::kNhd;
  EXPECT_EQ(layout.BytesPerToken(), 3 * 2 * (64 + 48) * 2);
  EXPECT_EQ(layout.ArrayShape(KvArray::kValues, 7), (Shape{7, 16, 2, 48}));
  EXPECT_EQ(layout.ArrayShape(KvArray::kKeys, 7), (Shape{7, 16, 2, 64}));
}

TEST(KvLayout, PagesHoldTheScalesOfTheirTokens) {
  KvLayout layout = SmallLayout();
  layout.dtype = DType::kF8E4M3;
  layout.scaling = KvScaling::kPerTokenHead;
  EXPECT_TRUE(layout.Validate().ok());
  EXPECT_EQ(layout.ScaleShape(7), (Shape{7, 2, 16}));
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kKeys), 2 * 16 * 64);
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kKeyScales), 2 * 16 * 4);
  EXPECT_EQ(layout.BytesPerToken(), 3 * 2 * 2 * (64 + 4));
  EXPECT_EQ(layout.SharedBytes(), 0);
}

TEST(KvLayout, PagesShareAScalePerTensor) {
  KvLayout layout = SmallLayout();
  layout.dtype = DType::kF8E4M3;
  layout.scaling = KvScaling::kPerTensor;
  EXPECT_TRUE(layout.Validate().ok());
  EXPECT_EQ(layout.ScaleShape(7), Shape{1});
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kValueScales), 0);
  EXPECT_EQ(layout.ArrayBytes(KvArray::kValueScales, 7), 4);
  EXPECT_EQ(layout.BytesPerToken(), 3 * 2 * 2 * 64);
  EXPECT_EQ(layout.SharedBytes(), 3 * 2 * 4);
  EXPECT_EQ(PagesThatFit(layout, 2 * layout.BytesPerPage()), 1);
  EXPECT_EQ(PagesThatFit(layout, 2 * layout.BytesPerPage() + 24), 2);
  EXPECT_EQ(PagesThatFit(layout, 20), 0);
}

KvLayout LatentLayout() {
  return {
      .num_layers = 3, .dtype = DType::kBF16, .page_size = 64, .latent_dim = 512, .rope_dim = 64};
}

TEST(KvLayout, LatentsAreOneArray) {
  KvLayout layout = LatentLayout();
  EXPECT_TRUE(layout.Validate().ok());
  EXPECT_EQ(layout.BytesPerToken(), 3 * (512 + 64) * 2);
  EXPECT_EQ(layout.ArrayShape(KvArray::kLatents, 7), (Shape{7, 64, 576}));
  EXPECT_EQ(layout.ArrayBytesPerPage(KvArray::kKeys), 0);
  layout.dtype = DType::kF8E4M3;
  layout.scaling = KvScaling::kPerTensor;
  EXPECT_TRUE(layout.Validate().ok());
  EXPECT_EQ(layout.BytesPerToken(), 3 * (512 + 64));
  EXPECT_EQ(layout.SharedBytes(), 3 * 4);
}

TEST(KvLayout, RefusesFormsThatContradictThemselves) {
  KvLayout layout = SmallLayout();
  layout.scaling = KvScaling::kPerTensor;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = SmallLayout();
  layout.dtype = DType::kF8E4M3;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = SmallLayout();
  layout.rope_dim = 64;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = SmallLayout();
  layout.value_head_dim = -1;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = LatentLayout();
  layout.num_kv_heads = 1;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kInvalidArgument);
  layout = LatentLayout();
  layout.dtype = DType::kF8E4M3;
  layout.scaling = KvScaling::kPerTokenHead;
  EXPECT_EQ(layout.Validate().code(), StatusCode::kUnsupported);
}

TEST(KvLayout, OnlyWholePagesFit) {
  const KvLayout layout = SmallLayout();
  const int64_t page = layout.BytesPerPage();
  EXPECT_EQ(PagesThatFit(layout, -1), 0);
  EXPECT_EQ(PagesThatFit(layout, page - 1), 0);
  EXPECT_EQ(PagesThatFit(layout, page), 1);
  EXPECT_EQ(PagesThatFit(layout, 10 * page + page / 2), 10);
}

}  // namespace
}  // namespace quire
