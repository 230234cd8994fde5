// The CUDA implementations of an attention operator. An engine that knows a step's lengths on the
// host plans with cuda_split_kv.h or cuda_flashinfer.h instead and reaches further; these take the
// operator's own arguments, with all arrays on the device, and may be captured in a graph.
#pragma once

#include "ops/attention/attention_problem.h"
#include "ops/implementation.h"

namespace quire::ops::attention::cuda {

// Enqueues `problem` with tensor cores, by the uniform schedule. REQUIRES: TakesUniform().
Status RunUniform(const OpContext& context, const Problem& problem);
bool TakesUniform(const Problem& problem);

// Enqueues any problem.
Status RunAnything(const OpContext& context, const Problem& problem);

// Whether the kernels can read the index arrays of `args`. Errors: unsupported, naming one on the
// host.
template <typename Args>
Status CheckIndicesAreOnDevice(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  const auto check = [&](std::string_view name, const TensorView& view) {
    return !view.defined() || view.place() == place
               ? OkStatus()
               : Unsupported("attention on ", PlaceName(place), ": ", name, " is on ",
                             PlaceName(view.place()), "; bring it to the device");
  };
  if constexpr (requires { args.key_start; }) {
    QUIRE_RETURN_IF_ERROR(check("key_start", args.key_start));
  }
  QUIRE_RETURN_IF_ERROR(check("query_start", args.query_start));
  QUIRE_RETURN_IF_ERROR(check("page_table", args.page_table));
  return check("kv_length", args.kv_length);
}

template <typename Args, Problem (*kProblemOf)(const Args&),
          Status (*kRun)(const OpContext&, const Problem&)>
Status RunProblem(const OpContext& context, const Args& args) {
  QUIRE_RETURN_IF_ERROR(CheckIndicesAreOnDevice(context, args));
  return kRun(context, kProblemOf(args));
}

// Best first. kProblemOf translates checked arguments.
template <typename Args, Problem (*kProblemOf)(const Args&)>
ImplementationList<Args> ImplementationsFor() {
  return {
      {"split_kv",
       [](const OpContext&, const Args& args) { return TakesUniform(kProblemOf(args)); },
       RunProblem<Args, kProblemOf, RunUniform>,
       "f16, bf16; pages of the same; heads of 64, 128, 256"},
      {"general", [](const OpContext&, const Args&) { return true; },
       RunProblem<Args, kProblemOf, RunAnything>, kTypes},
  };
}

}  // namespace quire::ops::attention::cuda
