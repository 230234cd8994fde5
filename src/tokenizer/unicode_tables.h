// The generated table behind unicode.h.
#pragma once

#include <cstdint>

namespace quire::unicode_tables {

// Runs of code points of equal class, ascending: first code point << 8 | CharClass bits. A run ends
// where the next one starts, the last at U+10FFFF. The first starts at 0.
extern const uint32_t kClassRanges[];
extern const int kClassRangeCount;

}  // namespace quire::unicode_tables
