// Which elements of a head rotate together, by name.
#pragma once

#include <string>

#include "bindings/python/src/arrays.h"
#include "ops/rope/rope.h"

namespace quire::python {

// Throws ValueError for anything but 'neox' and 'interleaved'.
inline ops::rope::Style RopeStyleNamed(const std::string& name) {
  if (name != "neox" && name != "interleaved") {
    ThrowIfError(InvalidArgument("style is '", name, "'; use 'neox' or 'interleaved'"));
  }
  return name == "neox" ? ops::rope::Style::kNeox : ops::rope::Style::kInterleaved;
}

}  // namespace quire::python
