// EngineThread: an Engine on a thread of its own, behind EngineClient. Requests come in and events
// go out through single-producer rings; an eventfd wakes the frontend. No lock is taken on the way
// of a token.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <variant>

#include "base/spsc_queue.h"
#include "engine/engine.h"
#include "engine/engine_client.h"

namespace quire {

class EngineThread final : public EngineClient {
 public:
  // Starts the thread, which first loads the model. Errors: io_error (no eventfd).
  static Result<std::unique_ptr<EngineThread>> Start(EngineOptions options);

  // Ends running requests without waiting for them, and joins the thread.
  ~EngineThread() override;

  EngineState state() const override { return state_.load(std::memory_order_acquire); }
  double load_progress() const override { return load_progress_.load(std::memory_order_relaxed); }
  Status load_error() const override;
  const ModelInfo& model() const override;
  EngineStats stats() const override;
  Status Submit(RequestSpec request) override;
  void Cancel(uint64_t request_id) override;
  std::vector<SessionInfo> sessions() const override;
  Status ReleaseSession(const std::string& session) override;
  int event_fd() const override { return event_fd_; }
  void TakeEvents(std::vector<EngineEvent>& events) override;
  void BeginDrain() override;

 private:
  struct CancelMessage {
    uint64_t request_id = 0;
  };
  struct ReleaseMessage {
    std::string session;
  };
  using Message = std::variant<RequestSpec, CancelMessage, ReleaseMessage>;

  EngineThread(EngineOptions options, int event_fd);
  void ThreadMain();
  void Load();
  void Serve();
  void TakeMessages(std::vector<EngineEvent>& events);
  void Publish(std::vector<EngineEvent>& events);
  Status Push(Message message);
  void SendLateCancels();
  void Wake();  // the engine thread
  void NotifyFrontend();

  EngineOptions options_;
  const int event_fd_;
  std::unique_ptr<Engine> engine_;  // written by the thread before state_ says kReady
  Status load_error_;               // written by the thread before state_ says kFailed
  std::atomic<EngineState> state_{EngineState::kLoading};
  std::atomic<double> load_progress_{0};
  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<uint32_t> wake_count_{0};
  SpscQueue<Message> messages_;
  SpscQueue<EngineEvent> events_;
  std::vector<uint64_t> late_cancels_;  // the frontend's: cancellations that found the ring full
  mutable std::mutex stats_mutex_;      // once per step, never per token
  EngineStats stats_;
  SteadyClock clock_;
  std::vector<SessionInfo> sessions_;
  int64_t sessions_ns_ = 0;        // when they were asked for
  bool sessions_changed_ = false;  // the engine thread's
  std::jthread thread_;
};

}  // namespace quire
