// The functions of quire_llm.ops, one for each operator, by kind.
#pragma once

#include <nanobind/nanobind.h>

namespace quire::python {

void BindAttentionOperators(nanobind::module_& module);
void BindKvOperators(nanobind::module_& module);
void BindLinearOperators(nanobind::module_& module);
void BindRowOperators(nanobind::module_& module);
void BindSamplingOperators(nanobind::module_& module);

}  // namespace quire::python
