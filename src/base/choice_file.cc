#include "base/choice_file.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/log.h"
#include "base/siphash.h"

namespace quire {

namespace {

// The file: this line, the conditions, a line for each choice (key, separator, the value in
// hexadecimal), and the seal of all before it.
constexpr std::string_view kFirstLine = "quire choices 1";
constexpr char kSeparator = '\t';
constexpr size_t kSealBytes = 22;

// A line. The key is no secret: it is against damage, not against people.
std::string SealOf(std::string_view text) {
  constexpr SipHashKey kKey = {0x7175697265, 0x63686f69636573};
  char line[kSealBytes + 1];
  std::snprintf(line, sizeof(line), "seal %016llx\n",
                static_cast<unsigned long long>(SipHash(kKey, text)));
  return line;
}

std::string HexOf(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<uint8_t>(byte) / 16];
    text += kDigits[static_cast<uint8_t>(byte) % 16];
  }
  return text;
}

// The bytes of which HexOf() made `text`.
std::string FromHex(std::string_view text) {
  std::string bytes(text.size() / 2, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint8_t value = 0;
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, value, 16);
    bytes[i] = static_cast<char>(value);
  }
  return bytes;
}

// Takes the first line off `text`, without its end.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// All of `text` to `file`; 0 or the errno.
int WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      return errno;
    }
    text.remove_prefix(written > 0 ? static_cast<size_t>(written) : 0);
  }
  return 0;
}

}  // namespace

ChoiceFile::ChoiceFile(std::string folder, std::string name, std::string conditions)
    : folder_(std::move(folder)), name_(std::move(name)), conditions_(std::move(conditions)) {
  Result<Choices> found = Read();
  if (!found.ok()) {
    LogWarning(StrCat(found.status().message(), "; they are measured again"));
    return;
  }
  choices_ = *std::move(found);
}

std::optional<std::string> ChoiceFile::Find(const std::string& key) const {
  const auto found = choices_.find(key);
  return found != choices_.end() ? std::optional(found->second) : std::nullopt;
}

void ChoiceFile::Put(const std::string& key, const std::string& value) {
  QUIRE_CHECK(key.find_first_of("\t\n") == std::string::npos) << key;
  choices_[key] = value;
  if (name_.empty()) {
    return;
  }
  if (Result<Choices> others = Read(); others.ok()) {
    choices_.merge(*others);  // ours stay where both have one
  }
  if (const Status written = Write(); !written.ok()) {
    LogWarning(StrCat(written.message(), "; they will be measured again"));
    name_.clear();
  }
}

Result<ChoiceFile::Choices> ChoiceFile::Read() const {
  std::error_code error;
  if (!std::filesystem::exists(path(), error) && !error) {
    return Choices();
  }
  std::ifstream file(path(), std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (error || !file.good()) {
    return IoError("the choices in ", path(), " cannot be read");
  }
  return Parse(text);
}

Result<ChoiceFile::Choices> ChoiceFile::Parse(std::string_view text) const {
  const size_t sealed = text.size() - std::min(text.size(), kSealBytes);
  if (text.substr(sealed) != SealOf(text.substr(0, sealed))) {
    return CorruptData("the choices in ", path(), " are damaged");
  }
  text = text.substr(0, sealed);
  if (TakeLine(text) != kFirstLine) {
    return Unsupported("the choices in ", path(), " are of another version of quire");
  }
  if (const std::string_view conditions = TakeLine(text); conditions != conditions_) {
    return Unsupported("the choices in ", path(), " are for '", conditions, "', not '", conditions_,
                       "'");
  }
  Choices choices;
  while (!text.empty()) {
    const std::string_view line = TakeLine(text);
    const size_t key_bytes = line.find(kSeparator);
    if (key_bytes == std::string_view::npos) {
      return CorruptData("the choices in ", path(), " have the line '", line, "'");
    }
    choices.emplace(line.substr(0, key_bytes), FromHex(line.substr(key_bytes + 1)));
  }
  return choices;
}

Status ChoiceFile::Write() const {
  std::string text = StrCat(kFirstLine, "\n", conditions_, "\n");
  for (const auto& [key, value] : choices_) {
    text += StrCat(key, kSeparator, HexOf(value), "\n");
  }
  text += SealOf(text);
  std::error_code ignored;  // what is missing shows when the file is made
  std::filesystem::create_directories(folder_, ignored);
  std::string temporary = path() + ".XXXXXX";
  const int file = ::mkstemp(temporary.data());
  if (file < 0) {
    return IoError("cannot write choices to ", path(), ": ", std::strerror(errno));
  }
  int error = WriteAll(file, text);
  error = ::close(file) != 0 && error == 0 ? errno : error;
  if (error == 0 && ::rename(temporary.c_str(), path().c_str()) != 0) {
    error = errno;
  }
  if (error != 0) {
    ::unlink(temporary.c_str());
    return IoError("cannot write choices to ", path(), ": ", std::strerror(error));
  }
  return OkStatus();
}

}  // namespace quire
