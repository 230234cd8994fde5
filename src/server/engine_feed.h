// EngineFeed: requests to the engine and its events back to whoever made the request. On the I/O
// thread.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/engine_client.h"

namespace quire {

// Hears of its requests. `slot` is the number it gave at Submit.
class EngineListener {
 public:
  virtual ~EngineListener() = default;
  virtual void OnEngineEvent(int slot, const EngineEvent& event) = 0;
};

class EngineFeed {
 public:
  explicit EngineFeed(EngineClient& engine) : engine_(engine) {}

  // Gives `spec` a new id and queues it. The listener is kept until the last event or Cancel().
  Result<uint64_t> Submit(RequestSpec spec, std::shared_ptr<EngineListener> listener, int slot);

  // The engine drops the request; no event of it is handed on any more.
  void Cancel(uint64_t id);

  // Hands on what the engine has sent. If the engine has failed or stopped, all requests end with
  // an error.
  void Pump();

  size_t live_requests() const { return routes_.size(); }

 private:
  struct Route {
    std::shared_ptr<EngineListener> listener;
    int slot;
  };

  void FailAll(const Status& error);

  EngineClient& engine_;
  std::unordered_map<uint64_t, Route> routes_;
  std::vector<EngineEvent> events_;  // kept for its memory
  uint64_t last_id_ = 0;
};

}  // namespace quire
