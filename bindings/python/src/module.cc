#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/python/src/context.h"
#include "bindings/python/src/operators.h"
#include "ops/operator_index.h"

namespace quire::python {

namespace {

std::vector<std::string> OperatorNames() {
  std::vector<std::string> names;
  for (const ops::OperatorRow& row : ops::AllOperators(PlatformKind::kCpu)) {
    names.emplace_back(row.name);
  }
  return names;
}

std::vector<std::string> ImplementationNames(const std::string& name) {
  std::vector<std::string> names;
  for (const ops::OperatorRow& row : ops::AllOperators(PlatformKind::kCpu)) {
    for (const ops::ImplementationRow& implementation : row.implementations) {
      if (row.name == name) {
        names.emplace_back(implementation.name);
      }
    }
  }
  if (names.empty()) {
    ThrowIfError(NotFound("no operator is called ", name));
  }
  return names;
}

}  // namespace

NB_MODULE(_ops, module) {
  module.doc() = "The operators of Quire.";
  nb::class_<Context>(module, "Context",
                      "What operators run on: a device, its threads and its scratch memory. One "
                      "Python thread at a time uses it.")
      .def(nb::init<int, const std::string&>(), nb::arg("threads") = 0,
           nb::arg("instruction_set") = "",
           "threads: 0 for one per core. instruction_set: the best one to use, of baseline, avx2, "
           "avx512; empty for the machine's best. Raises NotImplementedError if the machine lacks "
           "it.")
      .def_prop_ro("threads", &Context::threads)
      .def_prop_ro("instruction_set", &Context::instruction_set);
  module.def("operators", OperatorNames, "The names of all operators.");
  module.def(
      "implementations", ImplementationNames, nb::arg("operator"),
      "The implementations of an operator, best first, 'reference' last. Raises LookupError.");
  BindAttentionOperators(module);
  BindKvOperators(module);
  BindLinearOperators(module);
  BindRowOperators(module);
  BindSamplingOperators(module);
}

}  // namespace quire::python
