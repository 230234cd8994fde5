#include <algorithm>
#include <cmath>

#include "ops/soft_cap/soft_cap.h"

namespace quire::ops::soft_cap {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  auto* x = args.x.as<float>();
  std::transform(x, x + args.x.shape().elements(), x,
                 [cap = args.cap](float value) { return cap * std::tanh(value / cap); });
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{.name = "reference",
           .accepts = [](const OpContext&, const Args&) { return true; },
           .run = RunReference,
           .types = "f32"}};
}

}  // namespace quire::ops::soft_cap
