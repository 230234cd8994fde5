// HostPageStore: slots in host memory.
#pragma once

#include <memory>

#include "kv_cache/kv_storage.h"
#include "kv_cache/page_store.h"
#include "platform/workspace.h"

namespace quire {

// Slots are the pages of a second KvStorage, in the memory of a host device; copies run on a stream
// of its own.
class HostPageStore final : public PageStore {
 public:
  // As many slots as fit in `bytes`. `pages` and `host` must outlive the store. Errors: those of
  // KvStorage::Create; invalid_argument if not one page fits in `bytes`.
  static Result<std::unique_ptr<HostPageStore>> Create(Device& host, const KvStorage& pages,
                                                       int64_t bytes);

  int32_t num_slots() const override { return slots_.num_pages(); }
  Status Put(int32_t page, int32_t slot) override;
  Status Get(int32_t slot, int32_t page) override;

  // The memory of the slots.
  const KvStorage& slots() const { return slots_; }

 private:
  HostPageStore(Device& host, const KvStorage& pages, KvStorage slots,
                std::unique_ptr<Stream> stream)
      : pages_(pages), slots_(std::move(slots)), stream_(std::move(stream)), workspace_(host) {}

  const KvStorage& pages_;
  KvStorage slots_;
  std::unique_ptr<Stream> stream_;
  Workspace workspace_;
};

}  // namespace quire
