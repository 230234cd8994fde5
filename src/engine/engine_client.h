// EngineClient: what a frontend (the HTTP server, the terminal chat) sees of an engine that runs on
// its own thread: requests and cancellations go in, tokens come out. No call here blocks or takes a
// lock.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "scheduler/request.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace quire {

// Progress of one request. A request's last event has `finished` set; none follows it.
struct EngineEvent {
  uint64_t request_id = 0;
  bool has_token = false;  // `sampled` holds the next token, an end-of-generation token included
  SampledToken sampled;
  bool finished = false;
  FinishReason reason = FinishReason::kStop;  // if finished
  Status error;               // why the request was refused or failed; then finished is set
  int32_t cached_tokens = 0;  // prompt tokens taken from the prefix cache; on the first event
};

// A session whose history stays in the KV memory.
struct SessionInfo {
  std::string name;
  int32_t tokens = 0;       // of its history, in whole pages
  double expires_in_s = 0;  // from when it was asked for
};

// Facts of the loaded model, immutable once the engine is ready.
struct ModelInfo {
  std::string id;              // the model's own name, e.g. "SmolLM2-135M-Instruct.Q4_1"
  int64_t created_unix_s = 0;  // when it was loaded
  int32_t max_context = 0;     // tokens of prompt and output together
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
  std::vector<int32_t> stop_token_ids;  // end of generation
};

enum class EngineState { kLoading, kReady, kFailed, kDraining, kStopped };

// Seconds of the last step and of all steps.
struct StepTime {
  double last = 0;
  double total = 0;

  void Add(double seconds) {
    last = seconds;
    total += seconds;
  }
};

// Counters and gauges since the start, for /metrics. A snapshot: fields may be of neighbouring
// steps.
struct EngineStats {
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;  // computed by prefill, recomputed ones too; cached ones not
  uint64_t generated_tokens = 0;
  uint64_t prefix_query_tokens = 0;  // prompt tokens looked up in the prefix cache
  uint64_t prefix_hit_tokens = 0;    // of these, found
  uint64_t tier_stored_pages = 0;    // copied to host memory or disk
  uint64_t tier_loaded_pages = 0;    // and brought back
  uint64_t preemptions = 0;
  uint64_t drafted_tokens = 0;   // verified by speculative decoding
  uint64_t accepted_tokens = 0;  // of these, right
  uint64_t requests_finished = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t pages_total = 0;
  int64_t pages_free = 0;
  int64_t pages_cached = 0;
  int64_t pages_owned = 0;
  StepTime step_seconds;
  // Of these, not spent in starting the device's work and waiting for it: forming the step,
  // committing it, making its events.
  StepTime step_host_seconds;
  // From the end of one step's device work to the start of the next one's: the device does nothing.
  StepTime step_gap_seconds;
};

// Calls come from one frontend thread, except where a comment says "any thread".
class EngineClient {
 public:
  virtual ~EngineClient() = default;

  virtual EngineState state() const = 0;       // any thread
  virtual double load_progress() const = 0;    // any thread; 0 .. 1
  virtual Status load_error() const = 0;       // REQUIRES: state() == kFailed
  virtual const ModelInfo& model() const = 0;  // REQUIRES: the engine has been ready
  virtual EngineStats stats() const = 0;       // any thread

  // Queues a request; its id must be new. Refusals that only the engine can decide (it can never
  // fit, the queue is full) come as an event with `error`. Errors here: unavailable (loading,
  // draining, or too many messages in flight).
  virtual Status Submit(RequestSpec request) = 0;

  // Ends a request as soon as the step in flight is over; its pages are free then. Its last event,
  // if it was not sent yet, has reason kCancelled. Unknown and finished ids are ignored.
  virtual void Cancel(uint64_t request_id) = 0;

  // Those that have pages pinned, by name, as of the last step.
  virtual std::vector<SessionInfo> sessions() const = 0;  // any thread
  // Gives back what the session has pinned, if it has something, before the next step. Errors:
  // unavailable (too many messages in flight).
  virtual Status ReleaseSession(const std::string& session) = 0;

  // A file descriptor that polls readable while events wait (an eventfd); also after state changes.
  virtual int event_fd() const = 0;

  // Appends all waiting events to `events`, in order per request, and makes event_fd() unreadable.
  virtual void TakeEvents(std::vector<EngineEvent>& events) = 0;

  // No new requests from now on; running ones finish. state() becomes kDraining, then kStopped.
  virtual void BeginDrain() = 0;  // any thread
};

}  // namespace quire
