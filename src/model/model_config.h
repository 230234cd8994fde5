// The numbers that describe a decoder-only transformer, read from a model file and checked.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "model/loader/gguf.h"

namespace quire {

struct ModelConfig {
  std::string architecture;  // "llama", "gemma3"
  std::string name;          // general.name, or the file's stem
  int32_t num_layers = 0;
  int32_t hidden_size = 0;
  int32_t num_heads = 0;     // query heads
  int32_t num_kv_heads = 0;  // divides num_heads
  int32_t head_dim = 0;
  int32_t ffn_size = 0;
  int32_t vocab_size = 0;
  int32_t max_context = 0;  // tokens the model was made for
  float norm_epsilon = 0;
  int32_t rope_dim = 0;  // leading elements of a head that rotate; even
  float rope_theta = 10000;
  float rope_scaling_factor = 1;  // positions are divided by it (linear scaling)
  int32_t sliding_window = 0;  // tokens a windowed layer sees, itself included; 0 = no such layers
  float attention_soft_cap = 0;    // 0 = none
  float final_logit_soft_cap = 0;  // 0 = none
};

// Reads the keys that all architectures share. Errors: unsupported (scalings, experts or per-layer
// values that Quire does not run, naming the key), corrupt_data (values out of range), not_found (a
// key is missing).
Result<ModelConfig> ReadModelConfig(const GgufFile& file);

}  // namespace quire
