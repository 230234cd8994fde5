// How the copy of the indices is cut: the tests put lengths around these ends.
#pragma once

#include <cstdint>

namespace quire::ops::repack_kv_index {

// Entries of `indices` that a thread fills at a time, of however many sequences they are.
inline constexpr int64_t kBlockPages = 4096;

}  // namespace quire::ops::repack_kv_index
