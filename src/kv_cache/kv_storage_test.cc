#include "kv_cache/kv_storage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>

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
    const size_t rounded =
        (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
    return Buffer(std::aligned_alloc(Buffer::kAlignment, rounded), bytes, place(),
                  [](void* data, size_t) { std::free(data); });
  }
  Result<size_t> AvailableMemory() const override { return promised_.value_or(available_); }
  Result<std::unique_ptr<Stream>> CreateStream() override { return Unsupported("no streams"); }

  void Promise(size_t bytes) { promised_ = bytes; }

 private:
  DeviceProperties properties_;
  size_t available_;
  std::optional<size_t> promised_;
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
    const int64_t last = view.ElementOffset(4, 1) + 4 * 8 - 1;
    static_cast<float*>(view.k)[last] = 1;
    static_cast<float*>(view.v)[last] = 1;
    EXPECT_EQ((last + 1) * 4, 5 * kLayout.ArrayBytesPerPage());
  }
  EXPECT_EQ(arrays.size(), 6);
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
