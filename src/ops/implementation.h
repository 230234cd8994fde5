// How an operator keeps several implementations side by side: an ordered list of named functions
// for each platform, best first. The first that accepts the problem runs; any can be asked for by
// name. The reference works in host memory, so it is the last of the CPU's list alone.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "platform/device.h"
#include "platform/workspace.h"

namespace quire::ops {

// What every operator call gets beside its arguments. Cheap to copy.
struct OpContext {
  Stream& stream;
  Workspace& workspace;
  // The implementation to run, by name; empty for the best that accepts the problem. A name that an
  // operator does not have is an error of that operator; on the CPU every operator has "reference".
  std::string_view implementation = {};
  // Whether what is computed for a row must not depend, bit for bit, on the rows beside it or on
  // their number. On the CPU it never does.
  bool batch_invariant = false;
};

template <typename Args>
struct Implementation {
  std::string_view name;  // by algorithm and set: "avx512_vnni", "reference"
  bool (*accepts)(const OpContext& context,
                  const Args& args);  // whether it can run this valid problem here
  Status (*run)(const OpContext& context, const Args& args);
  std::string_view types = "f32, f16, bf16";  // that it takes, for docs/operators.md
};

template <typename Args>
using ImplementationList = std::vector<Implementation<Args>>;

template <typename Args>
ImplementationList<Args> Join(ImplementationList<Args> first,
                              const ImplementationList<Args>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// Runs the implementation that `context` asks for, or the first that accepts. `op` is for messages.
// Errors: not_found (no implementation of that name), unsupported (it does not take this problem),
// resource_exhausted (no memory for the workspace).
template <typename Args>
Status RunBest(std::string_view op, const ImplementationList<Args>& list, const OpContext& context,
               const Args& args) {
  for (const Implementation<Args>& implementation : list) {
    const bool named = implementation.name == context.implementation;
    if (!named && !context.implementation.empty()) {
      continue;
    }
    if (implementation.accepts(context, args)) {
      return StatusOfWork([&] { return implementation.run(context, args); });
    }
    if (named) {
      return Unsupported(op, ": implementation '", context.implementation,
                         "' does not take this problem here");
    }
  }
  return context.implementation.empty()
             ? Unsupported(op, ": no implementation takes this problem on this device")
             : NotFound(op, ": no implementation is named '", context.implementation, "'");
}

}  // namespace quire::ops
