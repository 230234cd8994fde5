#include "engine/device_defaults.h"

#include <algorithm>

namespace quire {

namespace {

constexpr int64_t kMostHostKvBytes = int64_t{4} << 30;

int32_t Or(int32_t value, int32_t otherwise) {
  return value == 0 ? otherwise : value;
}

}  // namespace

ModelLoadOptions LoadOptionsFor(const Device& device, const EngineOptions& options) {
  using ops::linear::ActivationMode;
  const bool host = device.place().IsHost();
  ModelLoadOptions load;
  load.activation_type = host ? DType::kF32 : DType::kBF16;
  load.activations = host ? ActivationMode::kBlock8 : ActivationMode::kBf16;
  if (options.exact_activations) {
    load.activation_type = DType::kF32;
    load.activations = ActivationMode::kFp32;
  }
  load.on_progress = options.on_load_progress;
  return load;
}

EngineOptions ResolveOptions(const Device& device, EngineOptions options) {
  const bool host = device.place().IsHost();
  options.kv_dtype = options.kv_dtype.value_or(host ? DType::kF16 : DType::kBF16);
  // On a CPU prompts go as fast with 128 rows as with 512, on an H200 with 1024 as with 2048, and
  // an answer waits for fewer of others.
  options.step_token_budget = Or(options.step_token_budget, host ? 128 : 1024);
  options.max_prefill_chunk = Or(options.max_prefill_chunk, host ? 512 : 2048);
  options.max_running = Or(options.max_running, host ? 64 : 256);
  options.overlap = options.overlap.value_or(device.is_asynchronous());
  return options;
}

int64_t DefaultKvBytes(const Device& device, size_t available) {
  const auto bytes = static_cast<int64_t>(available);
  return device.place().IsHost() ? std::min(kMostHostKvBytes, bytes / 4) : bytes / 10 * 9;
}

}  // namespace quire
