#include "server/engine_feed.h"

#include <utility>

namespace quire {

Result<uint64_t> EngineFeed::Submit(RequestSpec spec, std::shared_ptr<EngineListener> listener,
                                    int slot) {
  const uint64_t id = ++last_id_;
  spec.id = id;
  QUIRE_RETURN_IF_ERROR(engine_.Submit(std::move(spec)));
  routes_.emplace(id, Route{std::move(listener), slot});
  return id;
}

void EngineFeed::Cancel(uint64_t id) {
  if (routes_.erase(id) > 0) engine_.Cancel(id);
}

void EngineFeed::Pump() {
  events_.clear();
  // Before taking: the engine sends its last events and then stops.
  const EngineState state = engine_.state();
  engine_.TakeEvents(events_);
  for (const EngineEvent& event : events_) {
    const auto found = routes_.find(event.request_id);
    if (found == routes_.end()) continue;  // cancelled, its last events were under way
    const Route route = found->second;     // the listener may cancel, which changes the table
    if (event.finished) routes_.erase(found);
    route.listener->OnEngineEvent(route.slot, event);
  }
  switch (state) {
    case EngineState::kFailed:
      return FailAll(engine_.load_error().WithContext("the engine has failed"));
    case EngineState::kStopped: return FailAll(Unavailable("the engine has stopped"));
    default: return;
  }
}

void EngineFeed::FailAll(const Status& error) {
  EngineEvent event;
  event.finished = true;
  event.reason = FinishReason::kError;
  event.error = error;
  while (!routes_.empty()) {
    const auto first = routes_.begin();
    const Route route = first->second;
    event.request_id = first->first;
    routes_.erase(first);
    route.listener->OnEngineEvent(route.slot, event);
  }
}

}  // namespace quire
