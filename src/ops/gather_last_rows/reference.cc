#include "ops/gather_last_rows/gather_last_rows.h"
#include "tensor/element.h"

namespace quire::ops::gather_last_rows {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  WithElementType(args.x.dtype(), [&](auto type) {
    using X = decltype(type);
    for (int64_t r = 0; r < args.out.dim(0); ++r) {
      for (int64_t i = 0; i < args.out.dim(1); ++i) {
        args.out.as<X>()[r * args.out.stride(0) + i] =
            args.x.as<X>()[SourceRow(args, r) * args.x.stride(0) + i];
      }
    }
  });
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::gather_last_rows
