// Engine: a step from its forming to its events.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "engine/engine.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire {

namespace {

constexpr int64_t kNsPerMs = 1'000'000;

double Seconds(int64_t ns) {
  return static_cast<double>(ns) * 1e-9;
}

EngineEvent ErrorEvent(uint64_t request_id, Status error) {
  EngineEvent event;
  event.request_id = request_id;
  event.finished = true;
  event.reason = FinishReason::kError;
  event.error = std::move(error);
  return event;
}

EngineEvent ToEngineEvent(TokenEvent&& from) {
  EngineEvent event;
  event.request_id = from.id;
  event.has_token = from.token.has_value();
  if (from.token.has_value()) {
    event.sampled = *std::move(from.token);
  }
  event.finished = from.finish_reason.has_value();
  event.reason = from.finish_reason.value_or(FinishReason::kStop);
  event.cached_tokens = from.cached_prompt_tokens;
  return event;
}

}  // namespace

void Engine::Step(std::vector<EngineEvent>& events) {
  const int64_t start_ns = clock_.NowNs();
  device_ns_ = 0;
  if (const Status status = cache_->PollTiers(); !status.ok()) {
    LogWarning(status.message());
  }
  if (!in_flight_) {
    std::optional<quire::Step> step = scheduler_->Schedule(start_ns / kNsPerMs);
    if (!step.has_value()) {
      ResetIfBroken(events);
      return;
    }
    in_flight_ = Launch(*std::move(step));
  }
  EndStep(start_ns / kNsPerMs, events);
  ResetIfBroken(events);
  if (!HasWork()) {
    device_end_ns_.reset();  // a pause is no gap
  }
  const int64_t step_ns = clock_.NowNs() - start_ns;
  times_.step.Add(Seconds(step_ns));
  times_.host.Add(Seconds(step_ns - device_ns_));
}

void Engine::EndStep(int64_t now_ms, std::vector<EngineEvent>& events) {
  std::optional<quire::Step> ahead;
  if (*options_.overlap && in_flight_->run.ok()) {
    ahead = scheduler_->ScheduleAhead(in_flight_->step, now_ms);
  }
  std::optional<StepInFlight> next;
  if (ahead.has_value() && CanFollowAtOnce()) {
    scheduler_->StartAhead(*ahead);
    next = Launch(*std::exchange(ahead, std::nullopt));
  }
  StepInFlight ended = *std::exchange(in_flight_, std::nullopt);
  if (const Status status = Wait(ended, events); !status.ok()) {
    static_cast<void>(runner_->Wait());  // for `next`, which is dropped
    return Abandon(ended.step, status, events);
  }
  if (next.has_value()) {
    scheduler_->FillTokens(next->step, ended.tokens);
  } else if (ahead.has_value()) {
    scheduler_->StartAhead(*ahead);
    scheduler_->FillTokens(*ahead, ended.tokens);
    next = Launch(*std::move(ahead));
  }
  in_flight_ = std::move(next);
  CommitStep(ended, events);
}

bool Engine::CanFollowAtOnce() const {
  return in_flight_->sample.ok() && !options_.on_logits;
}

Engine::StepInFlight Engine::Launch(quire::Step step) {
  const int64_t start_ns = clock_.NowNs();
  if (in_flight_.has_value()) {
    times_.gap.Add(0);  // the device is still at the step before
  } else if (device_end_ns_.has_value()) {
    times_.gap.Add(Seconds(start_ns - *device_end_ns_));
  }
  StepInFlight running{.step = std::move(step)};
  running.run = RunAndSample(running);
  if (!runner_->device().is_asynchronous()) {
    device_ns_ += clock_.NowNs() - start_ns;
  }
  return running;
}

Status Engine::RunAndSample(StepInFlight& running) {
  const quire::Step& step = running.step;
  QUIRE_RETURN_IF_ERROR(runner_->CopyPages(step.copies));
  QUIRE_ASSIGN_OR_RETURN(running.logits, runner_->Run(step.batch));
  running.tokens.resize(step.sampling.size());
  const TensorView drawn = runner_->drawn();
  running.sample = ops::topk_topp_sampling::Run(runner_->context(),
                                                {.logits = running.logits,
                                                 .params = step.sampling,
                                                 .positions = step.sample_positions,
                                                 .history = step.history,
                                                 .out = running.tokens,
                                                 .drawn = drawn.Rows(0, running.logits.dim(0)),
                                                 .drawn_before = drawn,
                                                 .finish = &running.finish});
  QUIRE_ASSIGN_OR_RETURN(running.end, runner_->context().stream.Record());
  return OkStatus();
}

Status Engine::Wait(StepInFlight& running, std::vector<EngineEvent>& events) {
  const int64_t start_ns = clock_.NowNs();
  if (running.run.ok()) {
    running.run = Finish(running, events);
  }
  device_end_ns_ = clock_.NowNs();
  device_ns_ += *device_end_ns_ - start_ns;
  return running.run;
}

Status Engine::Finish(StepInFlight& running, std::vector<EngineEvent>& events) {
  QUIRE_RETURN_IF_ERROR(running.end->Wait());
  for (size_t row = 0; running.finish && row < running.tokens.size(); ++row) {
    const Status status = running.finish(row);
    running.sample = running.sample.ok() ? status : running.sample;
  }
  if (!running.sample.ok()) {
    SampleEachRow(running, events);
  }
  if (options_.on_logits) {
    QUIRE_ASSIGN_OR_RETURN(const std::span<const float> logits,
                           runner_->HostLogits(running.logits));
    running.kept_logits.assign(logits.begin(), logits.end());
  }
  return OkStatus();
}

// A row that cannot be sampled ends its own request only, and none if it is that of a draft behind
// a wrong one.
void Engine::SampleEachRow(StepInFlight& running, std::vector<EngineEvent>& events) {
  size_t first = 0;
  for (const quire::Step::Sequence& sequence : running.step.sequences) {
    const auto count = static_cast<size_t>(sequence.num_samples);
    for (size_t row = first; row < first + count; ++row) {
      if (row - first >=
          static_cast<size_t>(AcceptedSamples(running.step, sequence, first, running.tokens))) {
        break;
      }
      const Status status = SampleRow(running, row);
      if (!status.ok() && scheduler_->Cancel(sequence.id)) {
        LogError(StrCat("request ", sequence.id, ": ", status.message()));
        events.push_back(ErrorEvent(sequence.id, status));
        break;
      }
    }
    first += count;
  }
}

Status Engine::SampleRow(StepInFlight& running, size_t row) {
  if (running.finish) {
    return running.finish(row);
  }
  const quire::Step& step = running.step;
  const auto index = static_cast<int64_t>(row);
  return ops::topk_topp_sampling::Run(
      runner_->context(), {.logits = running.logits.Rows(index, index + 1),
                           .params = std::span(step.sampling).subspan(row, 1),
                           .positions = std::span(step.sample_positions).subspan(row, 1),
                           .history = std::span(step.history).subspan(row, 1),
                           .out = std::span(running.tokens).subspan(row, 1)});
}

void Engine::CommitStep(const StepInFlight& ended, std::vector<EngineEvent>& events) {
  CountRows(ended.step);
  for (TokenEvent& event : scheduler_->Commit(ended.step, ended.tokens)) {
    ++generated_tokens_;
    if (options_.on_logits) {
      const auto vocabulary = static_cast<size_t>(ended.logits.dim(1));
      const auto logits = std::span(ended.kept_logits)
                              .subspan(static_cast<size_t>(event.sample) * vocabulary, vocabulary);
      options_.on_logits(event.id, event.num_generated - 1, logits);
    }
    events.push_back(ToEngineEvent(std::move(event)));
  }
}

// The rows behind the first token drawn, drafts included, are decode; all others are prefill.
void Engine::CountRows(const quire::Step& step) {
  size_t first = 0;
  for (const quire::Step::Sequence& sequence : step.sequences) {
    const bool decodes =
        sequence.num_rows == sequence.num_samples && step.sample_positions[first] > 0;
    prompt_tokens_ += decodes ? 0 : static_cast<uint64_t>(sequence.num_rows);
    first += static_cast<size_t>(sequence.num_samples);
  }
}

void Engine::Abandon(const quire::Step& step, const Status& error,
                     std::vector<EngineEvent>& events) {
  LogError(StrCat("step ", step.serial, " failed: ", error.message()));
  for (const TokenEvent& event : scheduler_->Abandon(step)) {
    events.push_back(ErrorEvent(event.id, error));
  }
}

void Engine::ResetIfBroken(std::vector<EngineEvent>& events) {
  const Status health = cache_->health();
  if (health.ok()) {
    return;
  }
  LogError(StrCat("the kv cache is reset: ", health.message()));
  if (in_flight_) {
    static_cast<void>(Wait(*in_flight_, events));  // its requests end below, whatever it brought
    in_flight_.reset();
  }
  for (const TokenEvent& event : scheduler_->Reset()) {
    events.push_back(ErrorEvent(event.id, health));
  }
}

}  // namespace quire
