#include "ops/rope/rope.h"

namespace quire::ops::rope {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  const int64_t pairs = args.cos_sin.dim(1);
  const bool neox = args.style == Style::kNeox;
  for (int64_t t = 0; t < args.x.dim(0); ++t) {
    const float* cos_sin = args.cos_sin.as<float>() + t * pairs * 2;
    for (int64_t h = 0; h < args.x.dim(1); ++h) {
      float* head = args.x.as<float>() + t * args.x.stride(0) + h * args.x.stride(1);
      for (int64_t i = 0; i < pairs; ++i) {
        float& first = head[neox ? i : 2 * i];
        float& second = head[neox ? i + pairs : 2 * i + 1];
        const float a = first;
        const float b = second;
        first = a * cos_sin[2 * i] - b * cos_sin[2 * i + 1];
        second = b * cos_sin[2 * i] + a * cos_sin[2 * i + 1];
      }
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference}};
}

}  // namespace quire::ops::rope
