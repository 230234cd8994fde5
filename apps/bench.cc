#include "apps/bench.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "platform/cpu/cpu_limits.h"

namespace quire {

namespace {

struct Round {
  double prefill_tok_s =
      0;  // prompt tokens of all streams / time until the last stream's first token
  double decode_tok_s = 0;    // tokens of all streams / time, over steps that only decode
  double first_token_ms = 0;  // until the first stream's first token
  double step_ms = 0;         // median decode step
  double host_us = 0;         // of these, median without the device's work
};

double Median(std::vector<double> values) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

class Bench {
 public:
  Bench(Engine& engine, const BenchOptions& options) : engine_(engine), options_(options) {}

  Result<Round> Run() {
    const auto context = DrawTokens(options_.context);
    if (options_.context > 0) {
      QUIRE_RETURN_IF_ERROR(AddRequest(context, 1));
      while (engine_.HasWork()) {
        QUIRE_RETURN_IF_ERROR(Step());
      }
    }
    for (int32_t i = 0; i < options_.batch; ++i) {
      std::vector<int32_t> prompt = context;
      const auto own = DrawTokens(options_.prompt_tokens);
      prompt.insert(prompt.end(), own.begin(), own.end());
      QUIRE_RETURN_IF_ERROR(AddRequest(std::move(prompt), options_.output_tokens));
    }
    return Measure();
  }

 private:
  std::vector<int32_t> DrawTokens(int32_t count) {
    const int32_t vocab = engine_.runner().config().vocab_size;
    std::uniform_int_distribution<int32_t> draw(std::min(vocab - 1, 300), vocab - 1);
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < count; ++i) {
      tokens.push_back(draw(random_));
    }
    return tokens;
  }

  Status AddRequest(std::vector<int32_t> prompt, int32_t max_new_tokens) {
    RequestSpec request;
    request.id = next_id_++;
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0;
    request.max_new_tokens = max_new_tokens;
    request.ignore_eos = true;
    return engine_.Add(std::move(request));
  }

  Status Step() {
    events_.clear();
    engine_.Step(events_);
    for (const EngineEvent& event : events_) {
      QUIRE_RETURN_IF_ERROR(event.error);
    }
    return OkStatus();
  }

  Result<Round> Measure() {
    Round round;
    const uint64_t prompt_before = engine_.stats().prompt_tokens;
    const int64_t start_ns = clock_.NowNs();
    std::vector<double> steps_ms;
    std::vector<double> hosts_us;
    double decode_seconds = 0;
    double decode_tokens = 0;
    while (engine_.HasWork()) {
      const uint64_t prefilled = engine_.stats().prompt_tokens;
      const int64_t step_ns = clock_.NowNs();
      QUIRE_RETURN_IF_ERROR(Step());
      const int64_t now_ns = clock_.NowNs();
      const uint64_t prefilled_now = engine_.stats().prompt_tokens;
      if (prefilled_now > prefilled) {
        const double elapsed = static_cast<double>(now_ns - start_ns) * 1e-9;
        round.prefill_tok_s = static_cast<double>(prefilled_now - prompt_before) / elapsed;
        if (round.first_token_ms == 0 && !events_.empty()) {
          round.first_token_ms = elapsed * 1e3;
        }
      } else if (static_cast<int32_t>(events_.size()) >= options_.batch) {
        decode_seconds += static_cast<double>(now_ns - step_ns) * 1e-9;
        decode_tokens += static_cast<double>(events_.size());
        steps_ms.push_back(static_cast<double>(now_ns - step_ns) * 1e-6);
        hosts_us.push_back(engine_.stats().step_host_seconds.last * 1e6);
      }
    }
    round.decode_tok_s = decode_seconds > 0 ? decode_tokens / decode_seconds : 0;
    round.step_ms = Median(steps_ms);
    round.host_us = Median(hosts_us);
    return round;
  }

  Engine& engine_;
  const BenchOptions& options_;
  SteadyClock clock_;
  std::mt19937_64 random_{42};
  uint64_t next_id_ = 1;
  std::vector<EngineEvent> events_;
};

// A pool that holds what a round computes and little more: after the round that is not counted all
// pages have been used before, as in a server that has run for a while.
Status FitPool(const BenchOptions& bench, EngineOptions& options) {
  QUIRE_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model_path));
  QUIRE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(file));
  EngineOptions with_type = options;
  with_type.kv_dtype = options.kv_dtype.value_or(DType::kF16);  // or one of its size
  const auto pages_of = [&](int64_t tokens) { return tokens / options.page_size + 2; };
  const int32_t own = bench.prompt_tokens + bench.output_tokens;
  const int64_t pages = pages_of(bench.context) + bench.batch * pages_of(own);
  options.kv_memory_bytes = pages * KvLayoutOf(config, with_type).BytesPerPage();
  if (options.max_context == 0) {
    options.max_context = bench.context + own;
  }
  return OkStatus();
}

// What a decode step must read: the weights once, and the keys and values of every stream, half way
// through its output.
double DecodeBytes(const ModelRunner& runner, const BenchOptions& options) {
  const double tokens = options.context + options.prompt_tokens + options.output_tokens / 2.0;
  return static_cast<double>(runner.weight_bytes()) +
         options.batch * tokens * static_cast<double>(runner.kv().layout().BytesPerToken());
}

double MedianOf(const std::vector<Round>& rounds, double Round::* field) {
  std::vector<double> values;
  for (const Round& round : rounds) {
    values.push_back(round.*field);
  }
  return Median(values);
}

// Operations of linear layers, two for a multiply-add, for each token of a prompt: the output head
// works for its last one alone. Attention comes on top.
double PrefillOpsPerToken(const ModelRunner& runner, const BenchOptions& options) {
  const double head = static_cast<double>(runner.config().hidden_size) * runner.config().vocab_size;
  const double all = static_cast<double>(runner.row_products());
  return 2 * (all - head + head / options.prompt_tokens);
}

// Bytes per second, read and written together, that large copies on the device move; 0 if there is
// no memory for them.
double CopyBandwidth(Device& device) {
  constexpr size_t kBytes = size_t{1} << 30;
  constexpr int kCopies = 20;
  const auto from = device.Allocate(kBytes);
  const auto to = device.Allocate(kBytes);
  const auto stream = device.CreateStream();
  if (!from.ok() || !to.ok() || !stream.ok()) {
    return 0;
  }
  double best = 0;
  const SteadyClock clock;
  for (int round = 0; round < 3; ++round) {
    const int64_t start = clock.NowNs();
    for (int i = 0; i < kCopies; ++i) {
      if (!(*stream)->Copy(to->data(), to->place(), from->data(), from->place(), kBytes).ok()) {
        return 0;
      }
    }
    if (!(*stream)->Synchronize().ok()) {
      return 0;
    }
    best =
        std::max(best, 2.0 * kCopies * kBytes * 1e9 / static_cast<double>(clock.NowNs() - start));
  }
  return best;
}

// What was reached of what the device can do, measured now: bytes read each second by decode and
// operations of linear layers; on a CPU against its peak of 8-bit integers too.
void AddRoofline(nlohmann::ordered_json& out, const ModelRunner& runner,
                 const BenchOptions& options) {
  const double steps = 1e3 / out["decode_step_ms"].get<double>();
  const double read = DecodeBytes(runner, options) * steps;
  const double decode = 2.0 * options.batch * static_cast<double>(runner.row_products()) * steps;
  const double prefill = PrefillOpsPerToken(runner, options) * out["prefill_tok_s"].get<double>();
  out["decode_gb_s"] = read * 1e-9;
  out["decode_gop_s"] = decode * 1e-9;
  out["prefill_gop_s"] = prefill * 1e-9;
  if (!runner.device().place().IsHost()) {
    const double copy_limit = CopyBandwidth(runner.device());
    out["copy_gb_s"] = copy_limit * 1e-9;
    out["decode_of_copy"] = read / copy_limit;
    return;
  }
  const auto stream = runner.device().CreateStream();
  QUIRE_CHECK(stream.ok()) << stream.status().message();
  CpuStream& threads = AsCpuStream(**stream);
  const double read_limit = ReadBandwidth(threads);
  const double int8_limit = Int8Rate(threads);
  out["read_gb_s"] = read_limit * 1e-9;
  out["decode_of_read"] = read / read_limit;
  out["peak_gop_s"] = int8_limit * 1e-9;
  out["decode_of_peak"] = decode / int8_limit;
  out["prefill_of_peak"] = prefill / int8_limit;
}

void Print(const std::vector<Round>& rounds, const Engine& engine, const BenchOptions& options) {
  nlohmann::ordered_json out;
  out["model"] = engine.model().id;
  const DeviceProperties& device = engine.runner().device().properties();
  out["device"] = device.name;
  out["instruction_set"] = device.instruction_set;
  const KvLayout& kv = engine.runner().kv().layout();
  out["page_size"] = kv.page_size;
  out["kv_type"] = InfoOf(kv.dtype).name;
  out["prompt_tokens"] = options.prompt_tokens;
  out["output_tokens"] = options.output_tokens;
  out["batch"] = options.batch;
  out["context"] = options.context;
  out["rounds"] = options.rounds;
  out["prefill_tok_s"] = MedianOf(rounds, &Round::prefill_tok_s);
  out["decode_tok_s"] = MedianOf(rounds, &Round::decode_tok_s);
  out["first_token_ms"] = MedianOf(rounds, &Round::first_token_ms);
  out["decode_step_ms"] = MedianOf(rounds, &Round::step_ms);
  out["host_us_per_step"] = MedianOf(rounds, &Round::host_us);
  out["host_of_step"] =
      out["host_us_per_step"].get<double>() * 1e-3 / out["decode_step_ms"].get<double>();
  AddRoofline(out, engine.runner(), options);
  if (options.json) {
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  for (const auto& [key, value] : out.items()) {
    std::printf("%-16s %s\n", key.c_str(), value.dump().c_str());
  }
}

int Fail(const Status& status) {
  std::fprintf(stderr, "quire bench: %s\n", status.message().c_str());
  return 1;
}

}  // namespace

int RunBench(EngineOptions engine_options, const BenchOptions& options) {
  SetLogLevel(LogLevel::kWarning);
  if (engine_options.kv_memory_bytes == 0) {
    if (const Status fits = FitPool(options, engine_options); !fits.ok()) {
      return Fail(fits);
    }
  }
  auto engine = Engine::Create(engine_options);
  if (!engine.ok()) {
    return Fail(engine.status());
  }
  Bench bench(**engine, options);
  std::vector<Round> rounds;
  for (int32_t i = 0; i <= options.rounds; ++i) {
    auto round = bench.Run();
    if (!round.ok()) {
      return Fail(round.status());
    }
    if (i > 0) {
      rounds.push_back(*round);
    }
  }
  Print(rounds, **engine, options);
  return 0;
}

}  // namespace quire
