// Reads the inputs and outputs of PyTorch that tools/fixtures/*_ops.py wrote: what the references
// of the operators are checked against. For tests only.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/check.h"
#include "ops/conformance.h"

namespace quire::ops {

// An array of a case: row-major values, exact in its type.
struct FixtureArray {
  DType dtype = DType::kF32;
  std::vector<int64_t> extents;
  std::vector<double> values;

  Shape shape() const { return Shape(std::span<const int64_t>(extents)); }
  std::vector<float> floats() const { return {values.begin(), values.end()}; }
  template <typename Int>
  std::vector<Int> integers() const {
    return {values.begin(), values.end()};
  }
  // A guarded contiguous copy. REQUIRES: a floating dtype.
  TypedArray array() const {
    TypedArray array(dtype, shape());
    array.Assign(floats());
    return array;
  }
};

class FixtureCase {
 public:
  explicit FixtureCase(nlohmann::json json) : json_(std::move(json)) {}

  std::string name() const { return json_.at("name"); }
  bool has(const std::string& key) const {
    return json_.at("numbers").contains(key) || json_.at("arrays").contains(key);
  }
  double number(const std::string& key) const { return json_.at("numbers").at(key); }
  int32_t integer(const std::string& key) const { return json_.at("numbers").at(key); }

  FixtureArray array(const std::string& key) const {
    const nlohmann::json& json = json_.at("arrays").at(key);
    FixtureArray array;
    array.dtype = TypeNamed(json.at("dtype"));
    array.extents = json.at("shape").get<std::vector<int64_t>>();
    for (const nlohmann::json& value : json.at("values")) {  // JSON has no infinities: strings
      array.values.push_back(value.is_string() ? std::stod(value.get<std::string>())
                                               : value.get<double>());
    }
    return array;
  }

 private:
  static DType TypeNamed(const std::string& name) {
    for (int i = 0; i <= static_cast<int>(DType::kI64); ++i) {
      if (InfoOf(static_cast<DType>(i)).name == name) {
        return static_cast<DType>(i);
      }
    }
    QUIRE_CHECK(false) << "no type is called " << name;
    return DType::kF32;
  }

  nlohmann::json json_;
};

// The cases of src/ops/<op>/testdata/torch.json.
inline std::vector<FixtureCase> LoadFixture(const std::string& op) {
  const std::string path = StrCat(QUIRE_OPS_DIR, "/", op, "/testdata/torch.json");
  std::ifstream file(path);
  QUIRE_CHECK(file.good()) << path;
  std::vector<FixtureCase> cases;
  const nlohmann::json root = nlohmann::json::parse(file);
  for (const nlohmann::json& json : root.at("cases")) {
    cases.emplace_back(json);
  }
  QUIRE_CHECK(!cases.empty()) << path;
  return cases;
}

}  // namespace quire::ops
