#include "kv_cache/disk_page_store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <boost/crc.hpp>
#include <cerrno>
#include <cstring>
#include <limits>

namespace quire {

namespace {

using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

constexpr int64_t kSealBytes = sizeof(uint64_t);

// All of `bytes` at `offset` by pwrite or pread. 0, or the errno; a file that ends early is EIO.
template <typename Call, typename Byte>
int MoveAll(Call call, int file, Byte* bytes, size_t count, int64_t offset) {
  while (count > 0) {
    const ssize_t moved = call(file, bytes, count, offset);
    if (moved < 0 && errno == EINTR) {
      continue;
    }
    if (moved <= 0) {
      return moved < 0 ? errno : EIO;
    }
    bytes += moved;
    count -= static_cast<size_t>(moved);
    offset += moved;
  }
  return 0;
}

// A file without a name, or -1 and errno.
int OpenUnnamed(const std::string& directory) {
  std::string name = directory + "/quire-pages-XXXXXX";
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file >= 0) {
    unlink(name.c_str());
  }
  return file;
}

}  // namespace

Result<std::unique_ptr<DiskPageStore>> DiskPageStore::Create(Device& host, const KvStorage& pages,
                                                             const std::string& directory,
                                                             int64_t bytes) {
  const KvLayout& layout = pages.layout();
  const int64_t slots = std::min<int64_t>(bytes / (layout.BytesPerPage() + kSealBytes),
                                          std::numeric_limits<int32_t>::max());
  if (slots < 1) {
    return InvalidArgument("a disk tier of ", bytes, " bytes holds no page of ",
                           layout.BytesPerPage(), " bytes; give it more");
  }
  QUIRE_ASSIGN_OR_RETURN(
      std::unique_ptr<HostPageStore> staging,
      HostPageStore::Create(host, pages, layout.BytesPerPage() + layout.SharedBytes()));
  const int file = OpenUnnamed(directory);
  if (file < 0) {
    return IoError("cannot make a file for kv pages in ", directory, ": ", std::strerror(errno));
  }
  return std::unique_ptr<DiskPageStore>(
      new DiskPageStore(directory, file, static_cast<int32_t>(slots), std::move(staging)));
}

DiskPageStore::DiskPageStore(std::string directory, int file, int32_t num_slots,
                             std::unique_ptr<HostPageStore> staging)
    : directory_(std::move(directory)),
      file_(file),
      num_slots_(num_slots),
      staging_(std::move(staging)),
      slot_(static_cast<size_t>(staging_->slots().layout().BytesPerPage() + kSealBytes)) {}

DiskPageStore::~DiskPageStore() {
  close(file_);
}

template <typename Move>
void DiskPageStore::ForEachArray(Move move) {
  const KvStorage& staged = staging_->slots();
  std::byte* at = slot_.data();
  for (int32_t layer = 0; layer < staged.layout().num_layers; ++layer) {
    for (const KvArray array : staged.layout().Arrays()) {
      const auto bytes = static_cast<size_t>(staged.layout().ArrayBytesPerPage(array));
      if (bytes > 0) {
        move(staged.Pages(layer, array).data(), at, bytes);
        at += bytes;
      }
    }
  }
}

uint64_t DiskPageStore::Seal(int32_t slot) const {
  Crc32c crc;
  crc.process_bytes(slot_.data(), slot_.size() - kSealBytes);
  return uint64_t{crc.checksum()} << 32 | static_cast<uint32_t>(slot);
}

Status DiskPageStore::Put(int32_t page, int32_t slot) {
  QUIRE_RETURN_IF_ERROR(staging_->Put(page, 0));
  ForEachArray(
      [](const void* array, std::byte* at, size_t bytes) { std::memcpy(at, array, bytes); });
  const uint64_t seal = Seal(slot);
  std::memcpy(slot_.data() + slot_.size() - kSealBytes, &seal, kSealBytes);
  const int error = MoveAll(pwrite, file_, slot_.data(), slot_.size(), OffsetOf(slot));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return ResourceExhausted("no room in ", directory_, " for slot ", slot, " of ", slot_.size(),
                             " bytes: ", std::strerror(error));
  }
  return error == 0
             ? OkStatus()
             : IoError("cannot write slot ", slot, " in ", directory_, ": ", std::strerror(error));
}

Status DiskPageStore::Get(int32_t slot, int32_t page) {
  const int error = MoveAll(pread, file_, slot_.data(), slot_.size(), OffsetOf(slot));
  if (error != 0) {
    return IoError("cannot read slot ", slot, " in ", directory_, ": ", std::strerror(error));
  }
  uint64_t seal = 0;
  std::memcpy(&seal, slot_.data() + slot_.size() - kSealBytes, kSealBytes);
  if (seal != Seal(slot)) {
    return CorruptData("slot ", slot, " in ", directory_, " does not hold what was written; ",
                       "the page is computed again");
  }
  ForEachArray(
      [](void* array, const std::byte* at, size_t bytes) { std::memcpy(array, at, bytes); });
  return staging_->Get(0, page);
}

}  // namespace quire
