// ChoiceFile: what was chosen by measurement, kept for the next process.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace quire {

// Bytes by text keys, in memory and in a file that several processes may share. A file holds
// under the conditions of its measurements only, which it names. One that cannot be used (damaged,
// of other conditions or of another version of the format) is ignored with a warning, and replaced
// by the next Put(). One thread at a time.
class ChoiceFile {
 public:
  // Keeps nothing for the next process.
  ChoiceFile() = default;
  // Reads `folder`/`name` if there is such a file. `conditions` is a line that names all on which a
  // choice depends, e.g. the device and the versions of its software.
  ChoiceFile(std::string folder, std::string name, std::string conditions);

  // What was put for `key`, here or by another process before this one began.
  std::optional<std::string> Find(const std::string& key) const;
  // Keeps `value` and writes the file again, with what other processes have added to it meanwhile;
  // readers see the old file or the new one. What one adds while another writes may be lost. If it
  // cannot be written, warns and from then on keeps values in memory. REQUIRES: no tab or newline
  // in `key`.
  void Put(const std::string& key, const std::string& value);

 private:
  using Choices = std::map<std::string, std::string>;

  std::string path() const { return folder_ + "/" + name_; }
  // The file's choices, none if there is no file. Errors: corrupt_data, unsupported (other
  // conditions), io_error.
  Result<Choices> Read() const;
  Result<Choices> Parse(std::string_view text) const;
  Status Write() const;

  std::string folder_;
  std::string name_;
  std::string conditions_;
  Choices choices_;
};

}  // namespace quire
