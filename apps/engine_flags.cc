#include "apps/engine_flags.h"

#include <CLI/CLI.hpp>
#include <map>

namespace quire {

namespace {

void AddCacheFlags(CLI::App& command, EngineOptions& options) {
  static const std::map<std::string, DType> kKvTypes = {{"f32", DType::kF32},
                                                        {"f16", DType::kF16},
                                                        {"bf16", DType::kBF16},
                                                        {"f8e4m3", DType::kF8E4M3}};
  static const std::map<std::string, EvictionKind> kEvictions = {
      {"lru", EvictionKind::kLru},
      {"lfu", EvictionKind::kLfu},
      {"priority", EvictionKind::kPriority}};
  command.add_option("--page-size", options.page_size, "tokens of a KV page: 1, 2, 4 ... 256")
      ->capture_default_str();
  command.add_option("--kv-type", options.kv_dtype, "element type of the KV cache")
      ->transform(CLI::CheckedTransformer(kKvTypes))
      ->default_str("f16 on a CPU, else bf16");
  command
      .add_option("--kv-memory", options.kv_memory_bytes,
                  "memory of the KV cache, e.g. 2GiB; 0 = a quarter of the free memory, at most 4 "
                  "GiB, on a "
                  "CPU, else nine tenths of what the weights leave")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command.add_flag("!--no-prefix-cache", options.prefix_cache, "share nothing between requests");
  command
      .add_option(
          "--eviction", options.eviction,
          "which cached pages go first: lru (least recently used), lfu (least often used, with "
          "aging) or priority (of the requests of the lowest priority, see --scheduling-policy)")
      ->transform(CLI::CheckedTransformer(kEvictions))
      ->default_str("lru");
  command
      .add_option("--host-cache", options.host_cache_bytes,
                  "host memory that keeps pages evicted from the KV cache, e.g. 8GiB; 0 = off")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  command
      .add_option("--session-cache", options.session_cache_bytes,
                  "KV memory in which sessions of the API may keep their history, e.g. 256MiB; "
                  "requests cannot count on it; 0 = no sessions")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  CLI::Option* disk =
      command
          .add_option("--disk-cache", options.disk_cache_bytes,
                      "the same on disk, in a file that goes with the process; 0 = off")
          ->transform(CLI::AsSizeValue(false))
          ->capture_default_str();
  disk->needs(command.add_option("--disk-cache-folder", options.disk_cache_folder,
                                 "existing folder of the --disk-cache"));
}

}  // namespace

void AddEngineFlags(CLI::App& command, EngineOptions& options) {
  static const std::map<std::string, SpeculativeMethod> kSpeculative = {
      {"off", SpeculativeMethod::kOff},
      {"ngram", SpeculativeMethod::kNgram},
      {"draft", SpeculativeMethod::kDraftModel}};
  static const std::map<std::string, QueuePolicy> kPolicies = {{"fcfs", QueuePolicy::kArrival},
                                                               {"priority", QueuePolicy::kPriority},
                                                               {"fair", QueuePolicy::kFair}};
  command.add_option("-m,--model", options.model_path, "GGUF file to load")->required();
  command
      .add_option(
          "--device", options.device,
          "where to run: a platform, or with a colon the number of its device; auto = the first "
          "accelerator that works, else the CPU")
      ->capture_default_str();
  command.add_flag("--pin", options.pin_threads,
                   "keep each compute thread of a CPU on a core of its own: for machines that do "
                   "nothing else");
  command.add_option("-t,--threads", options.threads, "compute threads of a CPU; 0 = one per core")
      ->capture_default_str();
  command
      .add_option("-c,--max-context", options.max_context,
                  "most tokens of prompt and output together; 0 = the model's own")
      ->capture_default_str();
  AddCacheFlags(command, options);
  command
      .add_option("--max-running", options.max_running,
                  "sequences in one step; 0 = 64 on a CPU, else 256")
      ->capture_default_str();
  command
      .add_option("--step-token-budget", options.step_token_budget,
                  "tokens in one step; 0 = 128 on a CPU, else 1024")
      ->capture_default_str();
  command
      .add_option("--max-prefill-chunk", options.max_prefill_chunk,
                  "prompt tokens of one sequence in one step; 0 = 512 on a CPU, else 2048")
      ->capture_default_str();
  command.add_option("--max-waiting", options.max_waiting, "requests in the queue")
      ->capture_default_str();
  command
      .add_option("--scheduling-policy", options.queue_policy,
                  "who starts first: fcfs (order of arrival), priority (with deadlines and aging) "
                  "or fair (tenants take turns by what they were served)")
      ->transform(CLI::CheckedTransformer(kPolicies))
      ->default_str("fcfs");
  command
      .add_option("--speculative", options.speculative,
                  "guess tokens and verify several in a step; answers stay the same: ngram (what "
                  "followed the last tokens earlier in the text), draft (what --draft-model finds "
                  "likeliest) or off")
      ->transform(CLI::CheckedTransformer(kSpeculative))
      ->default_str("off");
  command.add_option("--draft-model", options.draft_model_path,
                     "GGUF file of a smaller model of the same family, for --speculative draft");
  command.add_flag("--deterministic", options.deterministic,
                   "the same bits for a request whoever else is served, whatever is cached or "
                   "preempted: always so on a CPU, elsewhere by slower kernels");
  command.add_option("--cache-dir", options.cache_folder,
                     "folder, made if missing, for what is measured on a GPU; default none");
  command.add_option("--attention-backend", options.attention_backend, "attention backend by name")
      ->capture_default_str();
  command.add_option(
      "--isa", options.instruction_set,
      "highest instruction set to use: avx512, avx2 or baseline; default the machine's best");
  command.add_option("--implementation", options.implementation,
                     "operator implementation to use everywhere, e.g. reference");
  command.add_flag(
      "--exact", options.exact_activations,
      "fp32 products on expanded weights instead of 8-bit activations: slow, for comparisons");
}

}  // namespace quire
