#include "kv_cache/host_page_store.h"

#include <algorithm>
#include <limits>

namespace quire {

Result<std::unique_ptr<HostPageStore>> HostPageStore::Create(Device& host, const KvStorage& pages,
                                                             int64_t bytes) {
  const int64_t slots =
      std::min<int64_t>(PagesThatFit(pages.layout(), bytes), std::numeric_limits<int32_t>::max());
  if (slots < 1) {
    return InvalidArgument("a host tier of ", bytes, " bytes holds no page of ",
                           pages.layout().BytesPerPage(), " bytes; give it more");
  }
  QUIRE_ASSIGN_OR_RETURN(KvStorage storage,
                         KvStorage::Create(host, pages.layout(), static_cast<int32_t>(slots)));
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<Stream> stream, host.CreateStream());
  return std::unique_ptr<HostPageStore>(
      new HostPageStore(host, pages, std::move(storage), std::move(stream)));
}

Status HostPageStore::Put(int32_t page, int32_t slot) {
  const PageCopy copy{.from = page, .to = slot};
  QUIRE_RETURN_IF_ERROR(CopyPages({*stream_, workspace_}, pages_, slots_, std::span(&copy, 1)));
  return stream_->Synchronize();
}

Status HostPageStore::Get(int32_t slot, int32_t page) {
  const PageCopy copy{.from = slot, .to = page};
  QUIRE_RETURN_IF_ERROR(CopyPages({*stream_, workspace_}, slots_, pages_, std::span(&copy, 1)));
  return stream_->Synchronize();
}

}  // namespace quire
