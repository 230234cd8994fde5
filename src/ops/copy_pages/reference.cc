#include "ops/copy_pages/copy_pages.h"
#include "ops/copy_pages/page_bytes.h"

namespace quire::ops::copy_pages {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  const PageCopies copies(args);
  for (int64_t pair = 0; pair < copies.count; ++pair) {
    for (int64_t byte = 0; byte < copies.page_bytes; ++byte) {
      copies.To(pair)[byte] = copies.From(pair)[byte];
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference",
           [](const OpContext& context, const Args&) {
             return context.stream.device().place().IsHost();
           },
           RunReference, "all types"}};
}

}  // namespace quire::ops::copy_pages
