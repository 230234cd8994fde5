// Every operator of this build with its implementations, for documentation and tests.
#pragma once

#include <string_view>
#include <vector>

#include "ops/implementation.h"

namespace quire::ops {

struct ImplementationRow {
  std::string_view name;
  std::string_view types;
};

struct OperatorRow {
  std::string_view name;                           // the folder in src/ops
  std::vector<ImplementationRow> implementations;  // best first, the reference last
};

template <typename Args>
OperatorRow RowOf(std::string_view name, const ImplementationList<Args>& list) {
  OperatorRow row{name, {}};
  for (const Implementation<Args>& implementation : list) {
    row.implementations.push_back({implementation.name, implementation.types});
  }
  return row;
}

// By name.
std::vector<OperatorRow> AllOperators(PlatformKind platform);

}  // namespace quire::ops
