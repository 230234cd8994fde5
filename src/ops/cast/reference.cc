#include <cstring>

#include "ops/cast/cast.h"
#include "tensor/element.h"

namespace quire::ops::cast {

namespace {

constexpr std::string_view kTypes = "f32, f16, bf16, f8e4m3";

Status RunReference(const OpContext&, const Args& args) {
  const TensorView& x = args.x;
  const TensorView& out = args.out;
  const bool copied = x.dtype() == out.dtype() && !args.scale.defined();
  const auto element_bytes = static_cast<size_t>(BytesOf(out.dtype(), 1));
  for (int64_t row = 0; row < x.dim(0); ++row) {
    for (int64_t i = 0; i < x.dim(1); ++i) {
      const int64_t from = row * x.stride(0) + i;
      const int64_t to = row * out.stride(0) + i;
      if (copied) {  // a NaN keeps its payload
        std::memmove(static_cast<std::byte*>(out.data()) + BytesOf(out.dtype(), to),
                     static_cast<const std::byte*>(x.data()) + BytesOf(x.dtype(), from),
                     element_bytes);
        continue;
      }
      const float value = LoadElement(x.data(), x.dtype(), from);
      StoreElement(args.scale.defined() ? value * *args.scale.as<float>() : value, out.data(),
                   out.dtype(), to);
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
           RunReference, kTypes}};
}

}  // namespace quire::ops::cast
