// Threads for work that nobody waits for.
#pragma once

#include <functional>
#include <stop_token>
#include <thread>

namespace quire {

// Runs `work` on a thread of its own, when a core has nothing else to do (SCHED_IDLE; where the
// system refuses that, like any thread). The token says when the thread is to end.
std::jthread StartBackgroundThread(std::function<void(const std::stop_token&)> work);

}  // namespace quire
