#include "kv_cache/kv_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <vector>

namespace quire {
namespace {

using ::testing::HasSubstr;

// Host memory with a limit.
class LimitedDevice final : public Device {
 public:
  explicit LimitedDevice(size_t available) : available_(available) {}

  Place place() const override { return Place::Host(); }
  const DeviceProperties& properties() const override { return properties_; }
  Result<Buffer> Allocate(size_t bytes) override {
    if (bytes > available_) {
      return ResourceExhausted("no ", bytes, " bytes left");
    }
    available_ -= bytes;
    allocated_ += bytes;
    const size_t rounded =
        (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
    return Buffer(std::aligned_alloc(Buffer::kAlignment, rounded), bytes, place(),
                  [](void* data, size_t) { std::free(data); });
  }
  bool is_asynchronous() const override { return false; }
  Result<Buffer> AllocatePinned(size_t bytes) override { return Allocate(bytes); }
  Result<size_t> AvailableMemory() const override { return promised_.value_or(available_); }
  Result<std::unique_ptr<Stream>> CreateStream() override { return Unsupported("no streams"); }

  bool Populate(void* data, size_t bytes) override {
    populated_.push_back({data, bytes});
    return populates_;
  }

  struct Range {
    void* data;
    size_t bytes;
  };
  const std::vector<Range>& populated() const { return populated_; }
  void RefuseToPopulate() { populates_ = false; }
  void Promise(size_t bytes) { promised_ = bytes; }
  int64_t allocated() const { return static_cast<int64_t>(allocated_); }

 private:
  DeviceProperties properties_;
  size_t available_;
  size_t allocated_ = 0;
  std::optional<size_t> promised_;
  std::vector<Range> populated_;
  bool populates_ = true;
};

constexpr KvLayout kLayout = {
    .num_layers = 3, .num_kv_heads = 2, .head_dim = 8, .dtype = DType::kF32, .page_size = 4};

TEST(KvStorage, GivesEachLayerItsOwnArrays) {
  LimitedDevice device(1 << 20);
  const Result<KvStorage> storage = KvStorage::Create(device, kLayout, 5);
  ASSERT_TRUE(storage.ok()) << storage.status().message();
  EXPECT_EQ(storage->bytes(), 5 * kLayout.BytesPerPage());
  std::set<void*> arrays;
  for (int32_t layer = 0; layer < 3; ++layer) {
    const PagedKvView view = storage->Layer(layer);
    EXPECT_EQ(view.num_pages, 5);
    EXPECT_EQ(view.num_kv_heads, 2);
    EXPECT_EQ(view.page_size, 4);
    EXPECT_EQ(view.head_dim, 8);
    EXPECT_EQ(view.dtype, DType::kF32);
    arrays.insert({view.k, view.v});
    // The last element of each array is inside its memory (the sanitizer watches).
    const int64_t last = view.KeyStrides().Offset(4, 1, 3) + 8 - 1;
    static_cast<float*>(view.k)[last] = 1;
    static_cast<float*>(view.v)[last] = 1;
    EXPECT_EQ((last + 1) * 4, 5 * kLayout.ArrayBytesPerPage(KvArray::kKeys));
  }
  EXPECT_EQ(arrays.size(), 6);
}

TEST(KvStorage, PopulatesAllArraysTheFirstPagesFirst) {
  LimitedDevice device(64 << 20);
  const int32_t pages = 20000;  // 5 MB for each array
  Result<KvStorage> storage = KvStorage::Create(device, kLayout, pages);
  ASSERT_TRUE(storage.ok()) << storage.status().message();
  while (storage->PopulateSome(device)) {
  }
  size_t total = 0;
  std::set<void*> parts;
  for (const LimitedDevice::Range& range : device.populated()) {
    total += range.bytes;
    parts.insert(range.data);
  }
  EXPECT_EQ(total, static_cast<size_t>(device.allocated()));
  EXPECT_EQ(parts.size(), device.populated().size());
  for (size_t i = 0; i < 6; ++i) {
    const auto layer = static_cast<int32_t>(i / 2);
    const PagedKvView view = storage->Layer(layer);
    EXPECT_EQ(device.populated()[i].data, i % 2 == 0 ? view.k : view.v);
  }
}

TEST(KvStorage, PopulatesNothingMoreWhereTheDeviceRefuses) {
  LimitedDevice device(1 << 20);
  Result<KvStorage> storage = KvStorage::Create(device, kLayout, 5);
  ASSERT_TRUE(storage.ok()) << storage.status().message();
  device.RefuseToPopulate();
  EXPECT_FALSE(storage->PopulateSome(device));
  EXPECT_EQ(device.populated().size(), 1u);
}

// Bytes from the start of an array to the end of its last row, which is written: what a view
// reaches. The sanitizer watches that it is inside the memory.
int64_t Reach(void* data, DType dtype, int64_t last_row, int64_t row_elements) {
  const int64_t bytes = BytesOf(dtype, last_row + row_elements);
  std::memset(static_cast<std::byte*>(data) + BytesOf(dtype, last_row), 0,
              static_cast<size_t>(BytesOf(dtype, row_elements)));
  return bytes;
}

int64_t BytesOfView(const PagedKvView& view) {
  const int64_t page = view.num_pages - 1;
  const int32_t head = view.num_kv_heads - 1;
  const int32_t token = view.page_size - 1;
  int64_t bytes =
      Reach(view.k, view.dtype, view.KeyStrides().Offset(page, head, token), view.head_dim) +
      Reach(view.v, view.dtype, view.ValueStrides().Offset(page, head, token), view.value_dim());
  EXPECT_EQ(view.k_scale != nullptr, view.scaling != KvScaling::kNone);
  EXPECT_EQ(view.v_scale != nullptr, view.scaling != KvScaling::kNone);
  if (view.k_scale != nullptr && view.v_scale != nullptr) {
    const int64_t last = view.ScaleStrides().Offset(page, head, token);
    bytes += Reach(view.k_scale, DType::kF32, last, 1) + Reach(view.v_scale, DType::kF32, last, 1);
  }
  return bytes;
}

int64_t BytesOfView(const PagedLatentView& view) {
  const int64_t rows = view.num_pages * view.page_size;
  int64_t bytes =
      Reach(view.data, view.dtype, (rows - 1) * view.row_elements(), view.row_elements());
  EXPECT_EQ(view.scale != nullptr, view.dtype == DType::kF8E4M3);
  if (view.scale != nullptr) {
    bytes += Reach(view.scale, DType::kF32, 0, 1);
  }
  return bytes;
}

// Every form of memory: keys and values in both orders and of different lengths, latents, and all
// scales.
std::vector<KvLayout> Forms() {
  std::vector<KvLayout> forms;
  for (const PageOrder order : {PageOrder::kHnd, PageOrder::kNhd}) {
    for (const int32_t value_dim : {0, 5}) {
      for (const KvScaling scaling :
           {KvScaling::kNone, KvScaling::kPerTensor, KvScaling::kPerTokenHead}) {
        KvLayout layout = kLayout;
        layout.dtype = scaling == KvScaling::kNone ? DType::kF16 : DType::kF8E4M3;
        layout.value_head_dim = value_dim;
        layout.order = order;
        layout.scaling = scaling;
        forms.push_back(layout);
      }
    }
  }
  const KvLayout latent = {
      .num_layers = 3, .dtype = DType::kBF16, .page_size = 4, .latent_dim = 12, .rope_dim = 3};
  forms.push_back(latent);
  forms.push_back(latent);
  forms.back().dtype = DType::kF8E4M3;
  forms.back().scaling = KvScaling::kPerTensor;
  return forms;
}

TEST(KvStorage, AllocatesWhatItsViewsReachInEveryForm) {
  for (const KvLayout& layout : Forms()) {
    LimitedDevice device(1 << 20);
    const Result<KvStorage> storage = KvStorage::Create(device, layout, 5);
    ASSERT_TRUE(storage.ok()) << storage.status().message();
    int64_t bytes = 0;
    for (int32_t layer = 0; layer < layout.num_layers; ++layer) {
      bytes += layout.is_latent() ? BytesOfView(storage->LatentLayer(layer))
                                  : BytesOfView(storage->Layer(layer));
    }
    EXPECT_EQ(bytes, storage->bytes());
    EXPECT_EQ(device.allocated(), bytes);
    EXPECT_EQ(layout.BytesPerPage() * 5 + layout.SharedBytes(), bytes);
  }
}

// No array is handed out twice.
TEST(KvStorage, GivesEachSideAndLayerItsOwnScale) {
  LimitedDevice device(1 << 20);
  KvLayout layout = kLayout;
  layout.dtype = DType::kF8E4M3;
  layout.scaling = KvScaling::kPerTensor;
  const Result<KvStorage> storage = KvStorage::Create(device, layout, 5);
  ASSERT_TRUE(storage.ok());
  std::set<void*> arrays;
  for (int32_t layer = 0; layer < 3; ++layer) {
    const PagedKvView view = storage->Layer(layer);
    arrays.insert({view.k, view.v, view.k_scale, view.v_scale});
  }
  EXPECT_EQ(arrays.size(), 12u);
}

TEST(KvStorage, AFormHasOnlyItsOwnViews) {
  LimitedDevice device(1 << 20);
  const Result<KvStorage> storage = KvStorage::Create(device, kLayout, 5);
  ASSERT_TRUE(storage.ok());
  EXPECT_DEATH(storage->LatentLayer(0), "no latents");
  EXPECT_DEATH(storage->Layer(3), "");
}

TEST(KvStorage, SaysHowMuchWouldFit) {
  LimitedDevice device(kLayout.BytesPerPage() * 7 + 5);
  const Result<KvStorage> storage = KvStorage::Create(device, kLayout, 8);
  ASSERT_EQ(storage.status().code(), StatusCode::kResourceExhausted);
  const std::string& message = storage.status().message();
  EXPECT_THAT(message, HasSubstr(StrCat(kLayout.BytesPerPage() * 8, " bytes")));
  EXPECT_THAT(message, HasSubstr(StrCat(kLayout.BytesPerPage() * 7 + 5, " available")));
  EXPECT_THAT(message, HasSubstr("28 tokens would fit"));
}

TEST(KvStorage, AnAbsurdPoolIsAnErrorToo) {
  LimitedDevice device(1000);
  KvLayout layout = {.num_layers = 65536,
                     .num_kv_heads = 65536,
                     .head_dim = 65536,
                     .dtype = DType::kF32,
                     .page_size = 256};
  EXPECT_EQ(KvStorage::Create(device, layout, INT32_MAX).status().code(),
            StatusCode::kResourceExhausted);
}

TEST(KvStorage, AnAllocationThatFailsAfterAllKeepsItsReason) {
  LimitedDevice device(100);
  device.Promise(1 << 30);
  const Result<KvStorage> storage = KvStorage::Create(device, kLayout, 8);
  EXPECT_EQ(storage.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(storage.status().message(), HasSubstr("bytes left"));
}

TEST(KvStorage, RefusesBadLayoutsAndEmptyPools) {
  LimitedDevice device(1 << 20);
  KvLayout layout = kLayout;
  layout.page_size = 48;
  EXPECT_EQ(KvStorage::Create(device, layout, 8).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(KvStorage::Create(device, kLayout, 0).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace quire
