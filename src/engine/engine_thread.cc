#include "engine/engine_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"

namespace quire {

namespace {

constexpr size_t kMessageCapacity = 4096;
constexpr size_t kEventCapacity = 65536;

}  // namespace

Result<std::unique_ptr<EngineThread>> EngineThread::Start(EngineOptions options) {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) {
    return IoError("cannot create an eventfd: ", std::strerror(errno));
  }
  std::unique_ptr<EngineThread> engine(new EngineThread(std::move(options), fd));
  engine->thread_ = std::jthread([raw = engine.get()] { raw->ThreadMain(); });
  return engine;
}

EngineThread::EngineThread(EngineOptions options, int event_fd)
    : options_(std::move(options)),
      event_fd_(event_fd),
      messages_(kMessageCapacity),
      events_(kEventCapacity) {}

EngineThread::~EngineThread() {
  stopping_.store(true, std::memory_order_release);
  Wake();
  thread_.join();
  ::close(event_fd_);
}

Status EngineThread::load_error() const {
  QUIRE_CHECK(state() == EngineState::kFailed);
  return load_error_;
}

const ModelInfo& EngineThread::model() const {
  QUIRE_CHECK(engine_ != nullptr && state() != EngineState::kLoading);
  return engine_->model();
}

EngineStats EngineThread::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

Status EngineThread::Submit(RequestSpec request) {
  if (state() != EngineState::kReady || draining_.load(std::memory_order_acquire)) {
    return Unavailable("the engine takes no requests now: it is loading or shutting down");
  }
  return Push(std::move(request));
}

Status EngineThread::Push(Message message) {
  if (!messages_.TryPush(message)) {
    return Unavailable("more than ", kMessageCapacity,
                       " messages to the engine are in flight; try again");
  }
  Wake();
  return OkStatus();
}

Status EngineThread::ReleaseSession(const std::string& session) {
  return Push(ReleaseMessage{session});
}

std::vector<SessionInfo> EngineThread::sessions() const {
  std::vector<SessionInfo> sessions;
  const std::lock_guard lock(stats_mutex_);
  const double age_s = static_cast<double>(clock_.NowNs() - sessions_ns_) * 1e-9;
  for (SessionInfo session : sessions_) {
    session.expires_in_s -= age_s;
    if (session.expires_in_s > 0) {
      sessions.push_back(std::move(session));
    }
  }
  return sessions;
}

void EngineThread::Cancel(uint64_t request_id) {
  late_cancels_.push_back(request_id);
  SendLateCancels();
  Wake();
}

void EngineThread::SendLateCancels() {
  while (!late_cancels_.empty()) {
    Message message = CancelMessage{late_cancels_.back()};
    if (!messages_.TryPush(message)) {
      break;  // sent by the next TakeEvents
    }
    late_cancels_.pop_back();
  }
}

void EngineThread::TakeEvents(std::vector<EngineEvent>& events) {
  uint64_t count = 0;
  const ssize_t ignored = ::read(event_fd_, &count, sizeof(count));
  static_cast<void>(ignored);  // nothing to read is fine: events are taken all the same
  EngineEvent event;
  while (events_.TryPop(event)) {
    events.push_back(std::move(event));
  }
  SendLateCancels();
  Wake();  // the engine may wait for room in the ring
}

void EngineThread::BeginDrain() {
  draining_.store(true, std::memory_order_release);
  Wake();
}

void EngineThread::Wake() {
  wake_count_.fetch_add(1, std::memory_order_release);
  wake_count_.notify_one();
}

void EngineThread::NotifyFrontend() {
  const uint64_t one = 1;
  const ssize_t ignored = ::write(event_fd_, &one, sizeof(one));
  static_cast<void>(ignored);  // a counter that is full is readable, which is all that is wanted
}

void EngineThread::ThreadMain() {
  Load();
  if (state() == EngineState::kReady) {
    Serve();
    state_.store(EngineState::kStopped, std::memory_order_release);
  }
  NotifyFrontend();
}

void EngineThread::Load() {
  options_.on_load_progress = [this](double share) {
    load_progress_.store(share, std::memory_order_relaxed);
  };
  auto engine = Engine::Create(options_);
  if (!engine.ok()) {
    load_error_ = engine.status();
    state_.store(EngineState::kFailed, std::memory_order_release);
    return;
  }
  engine_ = *std::move(engine);
  stats_ = engine_->stats();
  load_progress_.store(1.0, std::memory_order_relaxed);
  state_.store(EngineState::kReady, std::memory_order_release);
  NotifyFrontend();
}

void EngineThread::Serve() {
  std::vector<EngineEvent> events;
  while (!stopping_.load(std::memory_order_acquire)) {
    const uint32_t seen = wake_count_.load(std::memory_order_acquire);
    const bool draining = draining_.load(std::memory_order_acquire);
    if (draining) {
      state_.store(EngineState::kDraining, std::memory_order_release);
    }
    TakeMessages(events);
    const bool has_work = engine_->HasWork();
    if (has_work) {
      engine_->Step(events);
    }
    Publish(events);
    if (has_work) {
      continue;
    }
    if (draining && events.empty()) {
      return;
    }
    if (!engine_->UseIdleTime()) {
      wake_count_.wait(seen, std::memory_order_acquire);
    }
  }
}

void EngineThread::TakeMessages(std::vector<EngineEvent>& events) {
  Message message;
  while (messages_.TryPop(message)) {
    if (const auto* cancel = std::get_if<CancelMessage>(&message)) {
      engine_->Cancel(cancel->request_id, events);
      continue;
    }
    if (const auto* release = std::get_if<ReleaseMessage>(&message)) {
      engine_->ReleaseSession(release->session);
      sessions_changed_ = true;
      continue;
    }
    auto& request = std::get<RequestSpec>(message);
    EngineEvent refused;
    refused.request_id = request.id;
    refused.error = engine_->Add(std::move(request));
    if (!refused.error.ok()) {
      refused.finished = true;
      refused.reason = FinishReason::kError;
      events.push_back(std::move(refused));
    }
  }
}

// Moves `events` to the ring as far as they fit; the rest waits for the next call, so the engine
// never does. The statistics go first: who has an event finds it counted.
void EngineThread::Publish(std::vector<EngineEvent>& events) {
  if (const std::unique_lock lock(stats_mutex_, std::try_to_lock); lock.owns_lock()) {
    const uint64_t finished = std::exchange(stats_, engine_->stats()).requests_finished;
    // A request pins its pages as it ends.
    if (std::exchange(sessions_changed_, false) || finished != stats_.requests_finished) {
      sessions_ = engine_->sessions();
      sessions_ns_ = clock_.NowNs();
    }
  }
  size_t sent = 0;
  while (sent < events.size() && events_.TryPush(events[sent])) {
    ++sent;
  }
  events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(sent));
  if (sent > 0) {
    NotifyFrontend();
  }
}

}  // namespace quire
