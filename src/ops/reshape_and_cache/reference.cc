#include "ops/reshape_and_cache/slots.h"
#include "tensor/half.h"

namespace quire::ops::reshape_and_cache {

namespace {

void Put(void* data, DType dtype, int64_t index, float value) {
  switch (dtype) {
    case DType::kF16: static_cast<uint16_t*>(data)[index] = FloatToHalf(value); break;
    case DType::kBF16: static_cast<uint16_t*>(data)[index] = FloatToBFloat16(value); break;
    default: static_cast<float*>(data)[index] = value; break;
  }
}

float At(const TensorView& view, int64_t token, int64_t head, int64_t d) {
  return view.as<const float>()[token * view.stride(0) + head * view.stride(1) + d];
}

Status RunReference(const OpContext&, const Args& args) {
  for (int64_t token = 0; token < args.slot_mapping.dim(0); ++token) {
    const int64_t slot = SlotOf(args.slot_mapping, token);
    if (slot < 0) {
      continue;
    }
    for (int32_t head = 0; head < args.cache.num_kv_heads; ++head) {
      const int64_t to = OffsetOf(args.cache, slot, head);
      for (int32_t d = 0; d < args.cache.head_dim; ++d) {
        Put(args.cache.k, args.cache.dtype, to + d, At(args.key, token, head, d));
        Put(args.cache.v, args.cache.dtype, to + d, At(args.value, token, head, d));
      }
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
           RunReference}};
}

}  // namespace quire::ops::reshape_and_cache
