#include "ops/soft_cap/soft_cap.h"

namespace quire::ops::soft_cap {

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  if (args.x.dtype() != DType::kF32 || args.x.rank() != 2 || args.x.place() != place ||
      !args.x.IsContiguous()) {
    return InvalidArgument("soft_cap: x is ", Describe(args.x),
                           "; it must be contiguous f32 [R, V] on ", PlaceName(place));
  }
  if (!(args.cap > 0)) {
    return InvalidArgument("soft_cap: the cap is ", args.cap, "; it must be positive");
  }
  return RunBest("soft_cap", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::soft_cap
