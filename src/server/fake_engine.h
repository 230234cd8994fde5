// FakeEngine: an EngineClient that a test drives: it records what the server asks for and sends
// what the test says. Its tokenizer has one token per byte, so tests can read prompts and write
// answers as text. For tests only: no product code includes this.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/engine_client.h"
#include "engine/test_tokenizer.h"

namespace quire {

inline constexpr char kTestTemplate[] =
    "{% for m in messages %}{% if m.content == 'refuse me' %}{{ raise_exception('refused') }}{% "
    "endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

inline constexpr int32_t kTestContext = 512;

class FakeEngine final : public EngineClient {
 public:
  // What the engine does with a request, on the server's thread.
  using Behaviour = std::function<void(FakeEngine&, const RequestSpec&)>;

  FakeEngine() : event_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    QUIRE_CHECK(event_fd_ >= 0);
    model_.id = "test-model";
    model_.created_unix_s = 1700000000;
    model_.max_context = kTestContext;
    model_.tokenizer = MakeTestTokenizer();
    auto chat = ChatTemplate::Create(kTestTemplate, "", "<|im_end|>");
    QUIRE_CHECK(chat.ok()) << chat.status().message();
    model_.chat_template = std::make_unique<ChatTemplate>(*std::move(chat));
    model_.stop_token_ids = {kTestEndToken};
  }
  ~FakeEngine() override { close(event_fd_); }

  // ---- The test's side, any thread

  void set_behaviour(Behaviour behaviour) {
    const std::lock_guard lock(mutex_);
    behaviour_ = std::move(behaviour);
  }
  void set_submit_status(Status status) {
    const std::lock_guard lock(mutex_);
    submit_status_ = std::move(status);
  }
  void set_state(EngineState state, Status error = {}) {
    {
      const std::lock_guard lock(mutex_);
      state_ = state;
      load_error_ = std::move(error);
    }
    Signal();
  }
  void Send(EngineEvent event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    Signal();
  }
  void SendToken(uint64_t id, int32_t token) {
    EngineEvent event;
    event.request_id = id;
    event.has_token = true;
    event.sampled.token = token;
    Send(std::move(event));
  }
  void SendText(uint64_t id, std::string_view text) {
    for (const int32_t token : ByteTokens(text)) SendToken(id, token);
  }
  void Finish(uint64_t id, FinishReason reason, Status error = {}) {
    EngineEvent event;
    event.request_id = id;
    event.finished = true;
    event.reason = reason;
    event.error = std::move(error);
    Send(std::move(event));
  }
  // As an engine ends an answer: the end token is drawn and finishes it.
  void SendEnd(uint64_t id) {
    EngineEvent event;
    event.request_id = id;
    event.has_token = true;
    event.sampled.token = kTestEndToken;
    event.finished = true;
    Send(std::move(event));
  }

  // The request that was submitted as number `index`, from 0; waits for it.
  RequestSpec WaitForRequest(size_t index = 0) {
    std::unique_lock lock(mutex_);
    Wait(lock, [&] { return requests_.size() > index; });
    return requests_[index];
  }
  void WaitForCancel(uint64_t id) {
    std::unique_lock lock(mutex_);
    Wait(lock, [&] { return cancelled_.contains(id); });
  }
  void WaitForDrain() {
    std::unique_lock lock(mutex_);
    Wait(lock, [&] { return draining_; });
  }
  size_t num_requests() const {
    const std::lock_guard lock(mutex_);
    return requests_.size();
  }
  size_t num_cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_.size();
  }
  ModelInfo& mutable_model() { return model_; }
  EngineStats& mutable_stats() { return stats_; }
  std::vector<SessionInfo>& mutable_sessions() { return sessions_; }
  std::vector<std::string> released() const {
    const std::lock_guard lock(mutex_);
    return released_;
  }

  // ---- EngineClient

  EngineState state() const override {
    const std::lock_guard lock(mutex_);
    return state_;
  }
  double load_progress() const override { return 0.42; }
  Status load_error() const override {
    const std::lock_guard lock(mutex_);
    QUIRE_CHECK(state_ == EngineState::kFailed);
    return load_error_;
  }
  const ModelInfo& model() const override { return model_; }
  EngineStats stats() const override { return stats_; }

  Status Submit(RequestSpec request) override {
    Behaviour behaviour;
    {
      const std::lock_guard lock(mutex_);
      QUIRE_RETURN_IF_ERROR(submit_status_);
      requests_.push_back(request);
      behaviour = behaviour_;
    }
    changed_.notify_all();
    if (behaviour) behaviour(*this, request);
    return OkStatus();
  }
  void Cancel(uint64_t request_id) override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_.insert(request_id);
    }
    changed_.notify_all();
  }
  std::vector<SessionInfo> sessions() const override { return sessions_; }
  Status ReleaseSession(const std::string& session) override {
    const std::lock_guard lock(mutex_);
    released_.push_back(session);
    return submit_status_;
  }
  int event_fd() const override { return event_fd_; }
  void TakeEvents(std::vector<EngineEvent>& events) override {
    const std::lock_guard lock(mutex_);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(event_fd_, &count, sizeof(count));
    for (EngineEvent& event : events_) events.push_back(std::move(event));
    events_.clear();
  }
  void BeginDrain() override {
    {
      const std::lock_guard lock(mutex_);
      draining_ = true;
      if (state_ == EngineState::kReady) state_ = EngineState::kDraining;
    }
    changed_.notify_all();
    Signal();
  }

 private:
  void Signal() {
    const uint64_t one = 1;
    QUIRE_CHECK(write(event_fd_, &one, sizeof(one)) == sizeof(one));
  }
  template <typename Condition>
  void Wait(std::unique_lock<std::mutex>& lock, Condition condition) {
    QUIRE_CHECK(changed_.wait_for(lock, std::chrono::seconds(60), condition)) << "waited in vain";
  }

  const int event_fd_;
  ModelInfo model_;
  EngineStats stats_;
  std::vector<SessionInfo> sessions_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Behaviour behaviour_;
  Status submit_status_;
  EngineState state_ = EngineState::kReady;
  Status load_error_;
  std::vector<RequestSpec> requests_;
  std::set<uint64_t> cancelled_;
  std::vector<std::string> released_;
  std::vector<EngineEvent> events_;
  bool draining_ = false;
};

// Answers every request with `text` and the end token.
inline FakeEngine::Behaviour AnswerWith(std::string text) {
  return [text](FakeEngine& engine, const RequestSpec& spec) {
    engine.SendText(spec.id, text);
    engine.SendEnd(spec.id);
  };
}

// The prompt of a request as text.
inline std::string PromptText(const RequestSpec& spec) {
  const std::map<int32_t, std::string> names = {{kTestStartToken, "<|im_start|>"},
                                                {kTestEndToken, "<|im_end|>"}};
  std::string text;
  for (const int32_t token : spec.prompt) {
    const auto name = names.find(token);
    text += name != names.end() ? name->second : std::string(1, static_cast<char>(token));
  }
  return text;
}

}  // namespace quire
