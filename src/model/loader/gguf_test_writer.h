// Writes GGUF files, valid and broken, for tests. Knows nothing of the reader: only the
// specification.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/strcat.h"

namespace quire {

// The little-endian bytes of a value.
template <typename T>
std::string GgufBytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

// A GGUF string: its length and its bytes.
inline std::string GgufBytes(std::string_view text) {
  return GgufBytes<uint64_t>(text.size()) + std::string(text);
}
inline std::string GgufBytes(const char* text) {
  return GgufBytes(std::string_view(text));
}

// Collects metadata and tensors; Build() gives the file. Public fields hold what a broken file
// overrides.
class GgufTestWriter {
 public:
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the layout; add general.alignment yourself if it is not 32
  std::optional<uint64_t> tensor_count;
  std::optional<uint64_t> metadata_count;

  // `payload` is the value as the file has it, behind its type.
  void AddMetadata(std::string_view key, uint32_t type, const std::string& payload) {
    metadata_ += GgufBytes(key) + GgufBytes(type) + payload;
    ++metadata_added_;
  }
  void AddUint32(std::string_view key, uint32_t value) { AddMetadata(key, 4, GgufBytes(value)); }
  void AddFloat32(std::string_view key, float value) { AddMetadata(key, 6, GgufBytes(value)); }
  void AddBool(std::string_view key, bool value) { AddMetadata(key, 7, GgufBytes<uint8_t>(value)); }
  void AddString(std::string_view key, std::string_view value) {
    AddMetadata(key, 8, GgufBytes(value));
  }

  template <typename T>
  void AddArray(std::string_view key, uint32_t element_type, const std::vector<T>& values) {
    std::string payload = GgufBytes(element_type) + GgufBytes<uint64_t>(values.size());
    for (const T& value : values) {
      payload += GgufBytes(value);
    }
    AddMetadata(key, 9, payload);
  }
  void AddStrings(std::string_view key, const std::vector<std::string_view>& values) {
    AddArray(key, 8, values);
  }

  // `extents` innermost first, as in the file.
  void AddTensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& extents,
                 const std::string& data) {
    AddTensorAt(name, type, extents, data_.size());
    data_ += data;
    data_.append((alignment - data_.size() % alignment) % alignment, '\0');
  }

  // Only the header's entry, with whatever offset.
  void AddTensorAt(std::string_view name, uint32_t type, const std::vector<uint64_t>& extents,
                   uint64_t offset) {
    tensors_ += GgufBytes(name) + GgufBytes(static_cast<uint32_t>(extents.size()));
    for (const uint64_t extent : extents) {
      tensors_ += GgufBytes(extent);
    }
    tensors_ += GgufBytes(type) + GgufBytes(offset);
    ++tensors_added_;
  }

  // Everything in front of the data section, padding not included.
  std::string Header() const {
    return magic + GgufBytes(version) + GgufBytes(tensor_count.value_or(tensors_added_)) +
           GgufBytes(metadata_count.value_or(metadata_added_)) + metadata_ + tensors_;
  }

  std::string Build() const {
    std::string file = Header();
    file.append((alignment - file.size() % alignment) % alignment, '\0');
    return file + data_;
  }

 private:
  std::string metadata_;
  std::string tensors_;
  std::string data_;
  uint64_t metadata_added_ = 0;
  uint64_t tensors_added_ = 0;
};

// A file with these bytes, deleted on destruction.
class GgufTestFile {
 public:
  explicit GgufTestFile(const std::string& bytes) : path_(NextPath()) {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~GgufTestFile() { ::unlink(path_.c_str()); }
  GgufTestFile(const GgufTestFile&) = delete;
  GgufTestFile& operator=(const GgufTestFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  static std::string NextPath() {
    static int made = 0;
    return StrCat(testing::TempDir(), "quire_gguf_test_", ::getpid(), "_", made++, ".gguf");
  }

  std::string path_;
};

}  // namespace quire
