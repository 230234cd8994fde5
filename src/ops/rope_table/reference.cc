#include "ops/rope/rope.h"
#include "ops/rope_table/rope_table.h"

namespace quire::ops::rope_table {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  rope::ComputeCosSin(
      {args.positions.as<int32_t>(), static_cast<size_t>(args.positions.dim(0))},
      {args.inverse_frequency.as<float>(), static_cast<size_t>(args.inverse_frequency.dim(0))},
      args.scale, args.out.as<float>());
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{.name = "reference",
           .accepts = [](const OpContext&, const Args&) { return true; },
           .run = RunReference,
           .types = "f32"}};
}

}  // namespace quire::ops::rope_table
