// The oracle of the attention operators: plain loops in double.
#pragma once

#include "ops/attention/attention_problem.h"
#include "ops/implementation.h"

namespace quire::ops::attention {

// Runs `problem`, which lies on the host and is checked.
void RunReference(const Problem& problem);

// The implementation "reference" of an operator. kProblemOf translates checked arguments.
template <typename Args, Problem (*kProblemOf)(const Args&)>
ImplementationList<Args> ReferenceFor() {
  return {{"reference",
           [](const OpContext& context, const Args&) {
             return context.stream.device().place().IsHost();
           },
           [](const OpContext&, const Args& args) {
             RunReference(kProblemOf(args));
             return OkStatus();
           },
           kTypes}};
}

}  // namespace quire::ops::attention
