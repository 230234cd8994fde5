// Who loses its pages when a running request can have none.
#pragma once

#include <span>

#include "scheduler/request.h"

namespace quire {

// The last by rank: the youngest of the requests that are due last. nullptr if that is `needy`
// itself, which then waits for the others to end. A victim ranks after whom it makes room for, so
// the first by rank never loses its pages: that is what keeps all from taking them from each other
// for ever. REQUIRES: `running` is in order of rank and holds `needy`.
inline Request* ChooseVictim(std::span<Request* const> running, const Request& needy) {
  return running.back() == &needy ? nullptr : running.back();
}

}  // namespace quire
