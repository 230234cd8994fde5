// Pages of real storages to host memory, to a file and back, bit by bit.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "base/test_seed.h"
#include "kv_cache/disk_page_store.h"
#include "kv_cache/host_page_store.h"
#include "platform/cpu/cpu_device.h"

namespace quire {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kPages = 5;

std::vector<KvLayout> Layouts() {
  const KvLayout heads = {
      .num_layers = 3, .num_kv_heads = 2, .head_dim = 8, .dtype = DType::kF16, .page_size = 4};
  KvLayout scaled = heads;
  scaled.dtype = DType::kF8E4M3;
  scaled.scaling = KvScaling::kPerTokenHead;
  scaled.value_head_dim = 4;
  const KvLayout latents = {
      .num_layers = 2, .dtype = DType::kBF16, .page_size = 4, .latent_dim = 12, .rope_dim = 3};
  return {heads, scaled, latents};
}

class PageStoreTest : public testing::Test {
 protected:
  void Make(const KvLayout& layout) {
    device_ = *CpuDevice::Create(1);
    storage_.emplace(*KvStorage::Create(*device_, layout, kPages));
    std::mt19937_64 random(TestSeed());
    for (int32_t page = 0; page < kPages; ++page) {
      Fill(page, random());
    }
  }

  // Calls visit(bytes of the page in one array, how many).
  template <typename Visit>
  void ForEachPart(int32_t page, Visit visit) {
    for (int32_t layer = 0; layer < storage_->layout().num_layers; ++layer) {
      for (const KvArray array : storage_->layout().Arrays()) {
        const auto bytes = static_cast<size_t>(storage_->layout().ArrayBytesPerPage(array));
        if (bytes > 0) {
          visit(static_cast<std::byte*>(storage_->Pages(layer, array).data()) + page * bytes,
                bytes);
        }
      }
    }
  }

  void Fill(int32_t page, uint64_t seed) {
    std::mt19937_64 random(seed);
    ForEachPart(page, [&](std::byte* at, size_t bytes) {
      for (size_t i = 0; i < bytes; ++i) {
        at[i] = static_cast<std::byte>(random());
      }
    });
  }

  std::vector<std::byte> BytesOf(int32_t page) {
    std::vector<std::byte> all;
    ForEachPart(page, [&](std::byte* at, size_t bytes) { all.insert(all.end(), at, at + bytes); });
    return all;
  }

  void ExpectRoundTrips(PageStore& store) {
    const std::vector<std::byte> first = BytesOf(0);
    const std::vector<std::byte> second = BytesOf(1);
    const std::vector<std::byte> other = BytesOf(4);
    ASSERT_TRUE(store.Put(0, 1).ok());
    ASSERT_TRUE(store.Put(1, 0).ok());
    Fill(0, 7);
    Fill(1, 8);
    const Status got = store.Get(1, 2);
    ASSERT_TRUE(got.ok()) << got.message();
    ASSERT_TRUE(store.Get(0, 3).ok());
    EXPECT_EQ(BytesOf(2), first);
    EXPECT_EQ(BytesOf(3), second);
    EXPECT_EQ(BytesOf(4), other);
    EXPECT_EQ(static_cast<int64_t>(first.size()), storage_->layout().BytesPerPage());
  }

  std::unique_ptr<CpuDevice> device_;
  std::optional<KvStorage> storage_;
  const std::string directory_ = testing::TempDir();
};

TEST_F(PageStoreTest, CopiesWithinAStorage) {
  Make(Layouts()[0]);
  const std::unique_ptr<Stream> stream = *device_->CreateStream();
  Workspace workspace(*device_);
  const std::vector<std::byte> first = BytesOf(0);
  const std::vector<std::byte> second = BytesOf(1);
  const PageCopy copies[] = {{0, 3}, {1, 2}, {0, 4}};
  const Status status = CopyPages({*stream, workspace}, *storage_, *storage_, copies);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(BytesOf(3), first);
  EXPECT_EQ(BytesOf(4), first);
  EXPECT_EQ(BytesOf(2), second);
  EXPECT_EQ(BytesOf(0), first);
  const KvStorage other = *KvStorage::Create(*device_, Layouts()[1], kPages);
  EXPECT_EQ(CopyPages({*stream, workspace}, *storage_, other, copies).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(PageStoreTest, HostMemoryKeepsEveryByte) {
  for (const KvLayout& layout : Layouts()) {
    Make(layout);
    const auto store = HostPageStore::Create(*device_, *storage_, 2 * layout.BytesPerPage() + 1);
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_EQ((*store)->num_slots(), 2);
    ExpectRoundTrips(**store);
  }
}

TEST_F(PageStoreTest, AFileKeepsEveryByte) {
  for (const KvLayout& layout : Layouts()) {
    Make(layout);
    const auto store =
        DiskPageStore::Create(*device_, *storage_, directory_, 3 * layout.BytesPerPage());
    ASSERT_TRUE(store.ok()) << store.status().message();
    EXPECT_EQ((*store)->num_slots(), 2);
    ExpectRoundTrips(**store);
  }
}

TEST_F(PageStoreTest, TooLittleRoomAndNoFolderAreSaid) {
  Make(Layouts()[0]);
  EXPECT_EQ(HostPageStore::Create(*device_, *storage_, 1).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(DiskPageStore::Create(*device_, *storage_, directory_, 1).status().code(),
            StatusCode::kInvalidArgument);
  const auto store = DiskPageStore::Create(*device_, *storage_, "/nowhere/at/all", 1 << 20);
  EXPECT_EQ(store.status().code(), StatusCode::kIoError);
  EXPECT_THAT(store.status().message(), HasSubstr("/nowhere/at/all"));
}

// The store's file: the last one opened that has no name any more.
std::string FileOfStore() {
  std::string found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (target.find("quire-pages-") != std::string::npos) {
      found = entry.path().string();
    }
  }
  return found;
}

TEST_F(PageStoreTest, ACorruptPageIsSaidAndNotWrittenToTheDevice) {
  Make(Layouts()[0]);
  const auto store = DiskPageStore::Create(*device_, *storage_, directory_, 1 << 20);
  ASSERT_TRUE((*store)->Put(0, 0).ok());
  ASSERT_TRUE((*store)->Put(1, 1).ok());
  const int file = open(FileOfStore().c_str(), O_RDWR);
  ASSERT_GE(file, 0);
  char byte = 0;
  ASSERT_EQ(pread(file, &byte, 1, 100), 1);
  byte ^= 1;
  ASSERT_EQ(pwrite(file, &byte, 1, 100), 1);
  // The second slot holds a copy of the first, checksum and all.
  const auto slot_bytes = static_cast<size_t>(storage_->layout().BytesPerPage() + 8);
  std::vector<char> slot(slot_bytes);
  byte ^= 1;
  ASSERT_EQ(pread(file, slot.data(), slot_bytes, 0), static_cast<ssize_t>(slot_bytes));
  slot[100] = byte;
  ASSERT_EQ(pwrite(file, slot.data(), slot_bytes, static_cast<off_t>(slot_bytes)),
            static_cast<ssize_t>(slot_bytes));
  close(file);
  const std::vector<std::byte> before = BytesOf(2);
  EXPECT_EQ((*store)->Get(0, 2).code(), StatusCode::kCorruptData);
  EXPECT_EQ((*store)->Get(1, 2).code(), StatusCode::kCorruptData);
  EXPECT_EQ((*store)->Get(7, 2).code(), StatusCode::kIoError);  // never written
  EXPECT_EQ(BytesOf(2), before);
}

TEST_F(PageStoreTest, AFullDiskIsSaidAndWhatItHasIsKept) {
  Make(Layouts()[0]);
  const auto store = DiskPageStore::Create(*device_, *storage_, directory_, 1 << 20);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const auto slot_bytes = static_cast<rlim_t>(storage_->layout().BytesPerPage() + 8);
  const rlimit small = {.rlim_cur = slot_bytes, .rlim_max = old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status fits = (*store)->Put(0, 0);
  const Status full = (*store)->Put(1, 1);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(fits.ok()) << fits.message();
  EXPECT_EQ(full.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(full.message(), HasSubstr(directory_));
  EXPECT_TRUE((*store)->Get(0, 3).ok());
  EXPECT_EQ(BytesOf(3), BytesOf(0));
}

}  // namespace
}  // namespace quire
