// Exactness plans: the same requests served in many ways must see the same logits, bit for bit.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace quire {

// Every generated token of a request with a hash of the bits of the logits behind it.
struct Trace {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> logit_hashes;
  bool operator==(const Trace&) const = default;
};

// One way to serve: engine settings, and which requests arrive before which step.
struct ExactnessPlan {
  int32_t page_size = 64;
  int32_t threads = 1;
  int32_t max_prefill_chunk = 512;
  int32_t step_token_budget = 512;
  int32_t max_running = 16;
  int64_t kv_tokens = 16384;  // of the pool: more than any plan needs; small ones force preemption
  bool prefix_cache = true;
  bool tiers = false;   // pages that leave the pool go to host memory and disk
  bool salted = false;  // requests of even and odd number share nothing
  SpeculativeMethod speculative = SpeculativeMethod::kOff;
  QueuePolicy queue_policy = QueuePolicy::kArrival;
  bool overlap = false;  // steps are formed while others run
  // The host sees the logits of each token; if not, overlapping steps start before it knows tokens.
  bool sees_logits = true;
  struct Arrival {
    size_t request = 0;  // index into the workload
    int32_t step = 0;
    int32_t cancel_step = -1;  // -1 = runs to its end
    int32_t priority = 0;      // if the policy is not by arrival
  };
  std::vector<Arrival> arrivals;
};

std::string Describe(const ExactnessPlan& plan);

// The requests of a workload and their traces, each served alone by a fresh engine.
class Workload {
 public:
  // `count` requests drawn from `random`: prompts of words of the model's vocabulary, many sharing
  // prefixes, greedy and sampled, some with penalties. All are served from a cache of `kv_dtype`.
  Workload(std::string model_path, DType kv_dtype, size_t count, std::mt19937_64& random);

  size_t size() const { return requests_.size(); }
  const Trace& Alone(size_t request) const { return alone_[request]; }
  // A plan with 2 to 16 requests, some of them twice.
  ExactnessPlan DrawPlan(std::mt19937_64& random) const;
  // Requests with a short prompt and a long answer, and those of them that end long before it.
  static bool Grows(size_t request) { return request % 3 == 0; }
  static bool EndsEarly(size_t request) { return request % 6 == 3; }
  // Each token is that of the largest logit, to the last.
  bool IsPlainlyGreedy(size_t request) const;
  // Most tokens of a request, prompt and output.
  int64_t TokensOf(size_t request) const;

  struct Served {
    std::vector<Trace> traces;  // by arrival; those of cancelled requests end early
    uint64_t preemptions = 0;
    uint64_t cached_tokens = 0;
    uint64_t drafted_tokens = 0;
    uint64_t accepted_tokens = 0;
    uint64_t loaded_pages = 0;  // from a tier
  };
  // Serves `plan` on a fresh engine. A failure to load or serve fails the running test.
  Served Serve(const ExactnessPlan& plan) const;

 private:
  static void EndEarly(RequestSpec& request, Trace& trace);
  // Tokens of the plan's largest request, prompt and output.
  int64_t LargestRequest(const ExactnessPlan& plan) const;

  std::string model_path_;
  DType kv_dtype_;
  std::vector<RequestSpec> requests_;
  std::vector<Trace> alone_;
};

}  // namespace quire
