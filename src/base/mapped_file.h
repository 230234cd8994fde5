// A whole file as read-only memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"

namespace quire {

// Read-only memory map of a regular file, unmapped on destruction. Movable, not copyable. Reading
// from several threads is safe. The mapping stays valid when the file is renamed or deleted; a file
// truncated by another process while mapped faults, as with every mmap.
class MappedFile {
 public:
  // Errors: not_found, io_error (permission, not a regular file), each naming `path`.
  static Result<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace quire
