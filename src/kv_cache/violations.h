// Violations: broken rules of the page cache that were noticed and contained.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace quire {

// Remembers the first violation, where the cause is, and counts all. A violation is a bug of the
// caller or of the cache itself, but the server lives on: the call that would break a rule changes
// nothing, and whoever runs the cache sees it here and resets the cache.
class Violations {
 public:
  template <typename... Pieces>
  void Report(const Pieces&... pieces) {
    if (count_++ == 0) {
      first_ = InternalError(pieces...);
    }
  }

  // OK, or internal: the first violation.
  const Status& status() const { return first_; }
  int64_t count() const { return count_; }

 private:
  Status first_;
  int64_t count_ = 0;
};

}  // namespace quire
