// Engine: scheduler, KV cache, model and sampler as one object that moves a step at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "engine/engine_client.h"
#include "engine/engine_options.h"
#include "engine/model_runner.h"
#include "kv_cache/kv_cache.h"
#include "scheduler/scheduler.h"

namespace quire {

// One thread at a time. Several engines may live in a process.
class Engine {
 public:
  // Loads the model, its tokenizer and chat template, and takes the KV memory. Errors: those of
  // GgufFile, Tokenizer and ModelRunner.
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const ModelInfo& model() const { return model_; }
  const ModelRunner& runner() const { return *runner_; }
  const KvCache& cache() const { return *cache_; }

  // Queues a request. Errors: those of Scheduler::Add.
  Status Add(RequestSpec request);

  // Ends a request; appends its last event. Unknown ids are ignored.
  void Cancel(uint64_t request_id, std::vector<EngineEvent>& events);

  // Gives back what the session has pinned; false if it has nothing.
  bool ReleaseSession(const std::string& session);
  // Those that have pages pinned, by name.
  std::vector<SessionInfo> sessions() const;

  // Whether a step would do anything.
  bool HasWork() const;

  // Ends a step, one that it starts itself if none is in flight, and appends what came of it. With
  // overlap the next one is started before this one's tokens are counted, events and all. A step
  // that fails ends its requests with the error and leaves all others, and the engine, alive.
  void Step(std::vector<EngineEvent>& events);

  // Does some milliseconds of what is better done now than in a step; false if there is nothing.
  bool UseIdleTime() { return runner_->PopulateSome(); }

  EngineStats stats() const;

 private:
  Engine() = default;
  Status CreateScheduler();
  int32_t MaxPinnedPages() const;
  Result<std::vector<std::unique_ptr<PageTier>>> CreateTiers();
  // A step that was started, and what comes of it.
  struct StepInFlight {
    quire::Step step;
    Status run = {};                        // of its copies and its forward pass
    Status sample = {};                     // of the draws of all rows
    std::vector<SampledToken> tokens = {};  // [R]
    // Of a row's draw, once the device is past it; empty where tokens are there after Launch.
    std::function<Status(size_t row)> finish = {};
    std::unique_ptr<Event> end = {};      // of all that was enqueued
    TensorView logits = {};               // [R, V], until the next Launch
    std::vector<float> kept_logits = {};  // for options_.on_logits
  };
  struct Times {
    StepTime step;
    StepTime host;
    StepTime gap;
  };

  // Forms the next step if that can be done ahead and starts it; ends the step in flight.
  void EndStep(int64_t now_ms, std::vector<EngineEvent>& events);
  // Whether the next step can be enqueued behind the step in flight before that has ended: its
  // operators get the tokens drawn from the device.
  bool CanFollowAtOnce() const;
  // Starts the copies, the forward pass and the draws of a step. Its errors are Wait's.
  StepInFlight Launch(quire::Step step);
  // Returns when the step has run: its tokens are there. Errors: those of the forward pass; a row
  // that cannot be drawn ends its own request only.
  Status Wait(StepInFlight& running, std::vector<EngineEvent>& events);
  Status RunAndSample(StepInFlight& running);
  Status Finish(StepInFlight& running, std::vector<EngineEvent>& events);
  void SampleEachRow(StepInFlight& running, std::vector<EngineEvent>& events);
  Status SampleRow(StepInFlight& running, size_t row);
  void CountRows(const quire::Step& step);
  void Abandon(const quire::Step& step, const Status& error, std::vector<EngineEvent>& events);
  void CommitStep(const StepInFlight& ended, std::vector<EngineEvent>& events);
  // Starts over with an empty cache if a rule of the cache was broken: better than to serve one
  // request another's keys, or none.
  void ResetIfBroken(std::vector<EngineEvent>& events);

  EngineOptions options_;
  SteadyClock clock_;
  ModelInfo model_;
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<Device> tier_device_;  // one thread: copies of tiers run beside the steps
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  uint64_t prompt_tokens_ = 0;
  uint64_t generated_tokens_ = 0;
  std::optional<StepInFlight> in_flight_;
  std::optional<int64_t> device_end_ns_;  // of the last step; none after a pause
  int64_t device_ns_ = 0;                 // of the Step under way, in Launch and Wait
  Times times_;
};

}  // namespace quire
