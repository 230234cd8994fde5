// GGUF version 3 files on a memory map: metadata and tensors, nothing copied, everything checked.
//
// Source: the GGUF specification (ggml project). Every count, offset, string length and shape is
// checked against the file's size before it is used; a file that breaks its format is a
// corrupt_data Status that names the field, the value and the file, never a crash or a large
// allocation.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "base/status.h"
#include "tensor/tensor_view.h"

namespace quire {

// A metadata array, still in the file: its elements are decoded on demand.
struct GgufArray {
  uint32_t element_type = 0;  // a GgufValueType (gguf_types.h), never an array
  uint64_t count = 0;
  std::span<const std::byte> bytes;  // exactly the elements
};

using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

struct GgufTensor {
  std::string name;
  TensorView
      view;  // outermost axis first: [N, K] for a GGUF tensor of ne = {K, N}; points into the map
};

// Views returned stay valid while the GgufFile lives, also when it is moved. Reading is
// thread-safe.
class GgufFile {
 public:
  // Errors, each naming the file: not_found, io_error; corrupt_data (not a GGUF, truncated, absurd
  // counts, offsets or lengths, duplicate names, misaligned tensors, rows that are not whole
  // blocks); unsupported (version other than 3, big-endian, tensor types that Quire lacks, arrays
  // of arrays).
  static Result<GgufFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return file_.bytes(); }  // the whole file
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  // nullptr if there is none.
  const GgufValue* Find(std::string_view key) const;
  const GgufTensor* FindTensor(std::string_view name) const;

  // Typed reads. Errors: not_found naming the key; invalid_argument if the value is of another
  // kind. Integers of any stored width and sign are accepted where the value fits; arrays of bools
  // are arrays of the integers 0 and 1, arrays of integers are arrays of floats too.
  Result<int64_t> GetInt(std::string_view key) const;
  Result<double> GetFloat(std::string_view key) const;  // accepts integers too
  Result<bool> GetBool(std::string_view key) const;
  Result<std::string_view> GetString(std::string_view key) const;
  Result<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  Result<std::vector<int64_t>> GetInts(std::string_view key) const;
  Result<std::vector<float>> GetFloats(std::string_view key) const;

  // The value, or `fallback` if the key is absent. Errors: invalid_argument as above.
  Result<int64_t> GetIntOr(std::string_view key, int64_t fallback) const;
  Result<double> GetFloatOr(std::string_view key, double fallback) const;
  Result<bool> GetBoolOr(std::string_view key, bool fallback) const;

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}

  MappedFile file_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> tensor_index_;
};

}  // namespace quire
