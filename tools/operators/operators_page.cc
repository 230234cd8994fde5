// Prints docs/operators.md, or docs/operators_PLATFORM.md for a platform other than the CPU: every
// operator, what it is (the first line of its header), and its implementations on that platform.
// Arguments: the folder src/ops, the platform.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <string>

#include "base/strcat.h"
#include "ops/operator_index.h"
#include "platform/open_device.h"

namespace quire {
namespace {

constexpr const char* kIntroduction =
    R"(# Operators

Made by `./dev docs` from the implementation lists; a test fails if this page is behind them.

Each operator is a folder of [src/ops](../src/ops/README.md) whose header is its contract.
Implementations are listed best first: the first that accepts a problem runs, any can be asked for
by name, and `reference` is the oracle that the others are tested against.

)";

// The first sentence of the operator's header, without its name.
std::string SummaryOf(const std::string& ops_folder, std::string_view op) {
  std::ifstream header(StrCat(ops_folder, "/", op, "/", op, ".h"));
  std::string text;
  for (std::string line; std::getline(header, line) && line.starts_with("// ");) {
    text += (text.empty() ? "" : " ") + line.substr(3);
  }
  const size_t begin = std::min(text.find(": ") + 2, text.size());
  return text.substr(begin, text.find(". ", begin) - begin);
}

void PrintPlatform(const std::string& ops_folder, PlatformKind platform) {
  std::cout << "## On " << PlatformName(platform) << "\n\n"
            << "| operator | what it computes | implementations: types |\n| --- | --- | --- |\n";
  for (const ops::OperatorRow& row : ops::AllOperators(platform)) {
    std::cout << "| [`" << row.name << "`](../src/ops/" << row.name << "/" << row.name << ".h) | "
              << SummaryOf(ops_folder, row.name) << " | ";
    for (const ops::ImplementationRow& implementation : row.implementations) {
      std::cout << (&implementation == row.implementations.data() ? "" : "<br>") << "`"
                << implementation.name << "`: " << implementation.types;
    }
    std::cout << " |\n";
  }
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  for (const quire::PlatformEntry& platform : quire::EnabledPlatforms()) {
    if (argc == 3 && quire::PlatformName(platform.kind) == argv[2]) {
      std::cout << quire::kIntroduction;
      quire::PrintPlatform(argv[1], platform.kind);
      return 0;
    }
  }
  std::cerr << "usage: operators_page src/ops PLATFORM, one that this build has\n";
  return 2;
}
