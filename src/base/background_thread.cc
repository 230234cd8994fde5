#include "base/background_thread.h"

#include <sched.h>

#include <utility>

namespace quire {

std::jthread StartBackgroundThread(std::function<void(const std::stop_token&)> work) {
  return std::jthread([work = std::move(work)](const std::stop_token& stop) {
    const sched_param no_priority = {};
    ::sched_setscheduler(0, SCHED_IDLE, &no_priority);  // on Linux: of this thread
    work(stop);
  });
}

}  // namespace quire
