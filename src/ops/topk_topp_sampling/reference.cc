// Sorts the whole vocabulary and follows the definition step by step.
#include "ops/topk_topp_sampling/definition.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

namespace {

Status RunReference(const OpContext&, const Args& args) {
  Status first_error;
  for (int64_t row = 0; row < args.logits.dim(0); ++row) {
    const std::span<const float> logits(args.logits.as<float>() + row * args.logits.stride(0),
                                        static_cast<size_t>(args.logits.dim(1)));
    const RowFault fault = SampleByDefinition(logits, args.params[row], HistoryOf(args, row),
                                              args.positions[row], args.out[row]);
    if (fault != RowFault::kNone && first_error.ok()) {
      first_error = FaultStatus("topk_topp_sampling", fault, row);
    }
  }
  return first_error;
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference", [](const OpContext&, const Args&) { return true; }, RunReference, "f32"}};
}

}  // namespace quire::ops::topk_topp_sampling
