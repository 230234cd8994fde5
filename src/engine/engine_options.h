// What a user can choose about an engine.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "kv_cache/eviction_policy.h"
#include "scheduler/queue_order.h"
#include "tensor/dtype.h"

namespace quire {

// Where the drafts of speculative decoding come from. Answers are the same with each.
enum class SpeculativeMethod : uint8_t {
  kOff,
  kNgram,       // what followed the last tokens earlier in the request (NgramDraftSource)
  kDraftModel,  // a smaller model's likeliest tokens (DraftModelSource)
};

// Zeros and unset values marked "by device" become what ResolveOptions says.
struct EngineOptions {
  std::string model_path;  // a GGUF file

  std::string device = "auto";  // as OpenDevice takes it: "cpu", "auto", ...
  int32_t threads = 0;          // compute threads of a CPU; 0 = one per core
  bool pin_threads = false;     // compute threads of a CPU stay on cores of their own
  std::string instruction_set;  // "avx512", "avx2", "baseline"; empty = the machine's best
  std::string cache_folder;     // DeviceOptions::cache_folder; empty = nothing is written
  std::string attention_backend = "auto";
  std::string
      implementation;  // run this implementation of every operator, e.g. "reference"; empty = best
  bool exact_activations = false;  // fp32 products on expanded weights instead of 8-bit activations
  // A request's logits are the same, bit for bit, whoever else is served, whatever the chunks, the
  // page size, what is cached or preempted. On the CPU they are so without it; other devices then
  // take kernels that keep to it, which are slower.
  bool deterministic = false;

  int32_t page_size = 64;  // tokens of a KV page, a power of two up to 256
  // f32, f16, bf16 or f8e4m3 (a scale for each token and kv head); unset = by device.
  std::optional<DType> kv_dtype;
  int64_t kv_memory_bytes = 0;  // of the KV pool; 0 = by device (DefaultKvBytes)
  bool prefix_cache = true;
  EvictionKind eviction = EvictionKind::kLru;  // which cached pages go first
  // Tiers keep pages that leave the KV memory: bytes of host memory, of a file in a folder; 0 =
  // off.
  int64_t host_cache_bytes = 0;
  int64_t disk_cache_bytes = 0;
  std::string disk_cache_folder;  // must exist if disk_cache_bytes is not 0

  // What sessions may pin of the KV memory, in bytes: requests cannot count on it. 0 = no sessions.
  int64_t session_cache_bytes = 0;

  int32_t max_context = 0;        // tokens of prompt and output; 0 = the model's own
  int32_t max_running = 0;        // sequences in one step; 0 = by device
  int32_t step_token_budget = 0;  // tokens in one step; 0 = by device
  int32_t max_prefill_chunk = 0;  // prompt tokens of one sequence in one step; 0 = by device
  int32_t max_waiting = 1024;     // requests in the queue
  QueuePolicy queue_policy = QueuePolicy::kArrival;
  SpeculativeMethod speculative = SpeculativeMethod::kOff;
  std::string draft_model_path;  // for kDraftModel: a GGUF file with the model's vocabulary
  // A step is formed while another runs. Answers are the same. Empty = where the device works
  // beside the host, which the CPU does not.
  std::optional<bool> overlap;

  // Called on the engine's thread with the share of the model loaded so far, 0 .. 1.
  std::function<void(double)> on_load_progress = [](double) {};
  // Called on the engine's thread with the logits [V] behind the generated token number `index` of
  // a request (from 0), once it is drawn. For tests and tools; empty = off.
  std::function<void(uint64_t request_id, int64_t index, std::span<const float> logits)> on_logits;
};

}  // namespace quire
