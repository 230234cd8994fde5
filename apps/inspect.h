// quire inspect: what a GGUF file holds.
#pragma once

#include <string>

namespace quire {

// Prints the file's metadata, its tensors, totals by type and the bytes of key/value cache per
// token to standard output, as a table or as one JSON object. Long texts and arrays are shortened
// (in JSON only arrays are). Returns the process's exit code: 0, or 1 after an error on standard
// error.
int RunInspect(const std::string& path, bool json);

}  // namespace quire
