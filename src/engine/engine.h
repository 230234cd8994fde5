// Engine: scheduler, KV cache, model and sampler as one object that moves a step at a time.
#pragma once

#include <memory>
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

  const ModelInfo& model() const { return model_; }
  const ModelRunner& runner() const { return *runner_; }
  const KvCache& cache() const { return *cache_; }

  // Queues a request. Errors: those of Scheduler::Add.
  Status Add(RequestSpec request);

  // Ends a request; appends its last event. Unknown ids are ignored.
  void Cancel(uint64_t request_id, std::vector<EngineEvent>& events);

  // Whether a step would do anything.
  bool HasWork() const;

  // Runs one step and appends what came of it. A step that fails ends its requests with the error
  // and leaves all others, and the engine, alive.
  void Step(std::vector<EngineEvent>& events);

  EngineStats stats() const;

 private:
  Engine() = default;
  Status CreateScheduler();
  Result<std::vector<std::unique_ptr<PageTier>>> CreateTiers();
  struct Sampled {
    std::vector<SampledToken> tokens;  // [R]
    const float* logits;               // [R, vocabulary], until the next step
    size_t vocabulary;
  };
  Result<Sampled> RunAndSample(const quire::Step& step, std::vector<EngineEvent>& events);
  Status Sample(const quire::Step& step, const TensorView& logits, size_t row,
                std::span<SampledToken> out);
  void CountRows(const quire::Step& step);
  void Abandon(const quire::Step& step, const Status& error, std::vector<EngineEvent>& events);
  void CommitStep(const quire::Step& step, const Sampled& sampled,
                  std::vector<EngineEvent>& events);
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
  double last_step_seconds_ = 0;
};

}  // namespace quire
