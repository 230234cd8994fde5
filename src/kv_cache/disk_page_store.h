// DiskPageStore: slots in a file, with checksums.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kv_cache/host_page_store.h"

namespace quire {

// One file of fixed slots: the bytes of a page, all arrays of all layers, then their CRC-32C and
// the slot's number. The file has no name once it is open: it goes with the process, and what
// another process left cannot be taken for ours. Pages pass through one page of host memory.
class DiskPageStore final : public PageStore {
 public:
  // As many slots as fit in `bytes`, in the existing folder `directory`. `pages` and `host` must
  // outlive the store. Errors: those of HostPageStore; invalid_argument if not one slot fits in
  // `bytes`; io_error naming the folder.
  static Result<std::unique_ptr<DiskPageStore>> Create(Device& host, const KvStorage& pages,
                                                       const std::string& directory, int64_t bytes);
  ~DiskPageStore() override;

  int32_t num_slots() const override { return num_slots_; }
  // Errors: resource_exhausted if the disk is full, io_error.
  Status Put(int32_t page, int32_t slot) override;
  // Errors: corrupt_data if what was read is not what was written, io_error.
  Status Get(int32_t slot, int32_t page) override;

 private:
  DiskPageStore(std::string directory, int file, int32_t num_slots,
                std::unique_ptr<HostPageStore> staging);

  // Moves bytes between the staged page and `slot_`.
  template <typename Move>
  void ForEachArray(Move move);
  uint64_t Seal(int32_t slot) const;
  int64_t OffsetOf(int32_t slot) const { return slot * static_cast<int64_t>(slot_.size()); }

  std::string directory_;
  int file_;
  int32_t num_slots_;
  std::unique_ptr<HostPageStore> staging_;
  std::vector<std::byte> slot_;  // as it is in the file
};

}  // namespace quire
