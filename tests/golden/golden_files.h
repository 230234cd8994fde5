// Reads the reference outputs of tests/golden/data.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace quire {

inline std::string ReadGoldenText(const std::string& name) {
  std::ifstream file(std::string(QUIRE_GOLDEN_DIR) + "/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline nlohmann::json ReadGoldenJson(const std::string& name) {
  return nlohmann::json::parse(ReadGoldenText(name));
}

}  // namespace quire
