#include "ops/rope_and_cache/rope_and_cache.h"

#include "ops/reshape_and_cache/reshape_and_cache.h"

namespace quire::ops::rope_and_cache {

namespace {

rope::Args TurnOf(const Args& args, const TensorView& x) {
  return {.x = x, .cos_sin = args.cos_sin, .style = args.style};
}

reshape_and_cache::Args WriteOf(const Args& args) {
  return {
      .key = args.key, .value = args.value, .slot_mapping = args.slot_mapping, .cache = args.cache};
}

// Queries and keys as the heads of one array, if they lie side by side; else undefined.
TensorView SideBySide(const TensorView& query, const TensorView& key) {
  const int64_t heads = query.dim(1);
  const auto* end =
      static_cast<const std::byte*>(query.data()) + BytesOf(query.dtype(), heads * query.stride(1));
  if (!query.defined() || end != key.data() || query.stride(0) != key.stride(0) ||
      query.stride(1) != key.stride(1)) {
    return {};
  }
  return {query.data(),
          query.dtype(),
          {query.dim(0), heads + key.dim(1), query.dim(2)},
          {query.stride(0), query.stride(1), query.stride(2)},
          query.place()};
}

Status Validate(const Args& args, Place place) {
  QUIRE_RETURN_IF_ERROR(rope::Validate(TurnOf(args, args.query), place));
  QUIRE_RETURN_IF_ERROR(rope::Validate(TurnOf(args, args.key), place));
  QUIRE_RETURN_IF_ERROR(reshape_and_cache::Validate(WriteOf(args), place));
  if (args.query.dtype() != args.key.dtype() || args.query.dim(2) != args.key.dim(2)) {
    return InvalidArgument("rope_and_cache: query is ", Describe(args.query), " and key ",
                           Describe(args.key), "; they must have one type and head size");
  }
  return OkStatus();
}

}  // namespace

Status RunComposed(const OpContext& context, const Args& args) {
  if (const TensorView both = SideBySide(args.query, args.key); both.defined()) {
    QUIRE_RETURN_IF_ERROR(rope::Run(context, TurnOf(args, both)));
  } else {
    QUIRE_RETURN_IF_ERROR(rope::Run(context, TurnOf(args, args.query)));
    QUIRE_RETURN_IF_ERROR(rope::Run(context, TurnOf(args, args.key)));
  }
  return reshape_and_cache::Run(context, WriteOf(args));
}

Implementation<Args> Composed() {
  return {"composed", [](const OpContext&, const Args&) { return true; },
          [](const OpContext& context, const Args& args) {
            OpContext by_the_best = context;
            by_the_best.implementation = {};
            return RunComposed(by_the_best, args);
          },
          "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3"};
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate(args, place));
  return RunBest("rope_and_cache", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::rope_and_cache
