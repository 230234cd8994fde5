#include "exactness/plan_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "engine/model_runner.h"
#include "support/test_device.h"

namespace quire {

namespace {

constexpr int32_t kFirstOrdinaryToken =
    300;  // past the special and byte tokens of both vocabularies
constexpr int32_t kOrdinaryTokens = 40000;
constexpr int64_t kTierBytes = 16 << 20;  // a few of the largest pages

// FNV-1a over the 32-bit patterns.
uint64_t HashBits(std::span<const float> values) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const float value : values) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    hash = (hash ^ bits) * 0x100000001b3;
  }
  return hash;
}

int64_t Draw(std::mt19937_64& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

template <size_t kCount>
int32_t Pick(std::mt19937_64& random, const int32_t (&choices)[kCount]) {
  return choices[Draw(random, 0, kCount - 1)];
}

std::vector<int32_t> DrawTokens(std::mt19937_64& random, int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>(
        Draw(random, kFirstOrdinaryToken, kFirstOrdinaryToken + kOrdinaryTokens)));
  }
  return tokens;
}

EngineOptions OptionsOf(const ExactnessPlan& plan, const std::string& model_path) {
  EngineOptions options;
  options.model_path = model_path;
  options.device = TestDevice();
  options.threads = plan.threads;
  options.page_size = plan.page_size;
  options.max_prefill_chunk = plan.max_prefill_chunk;
  options.step_token_budget = plan.step_token_budget;
  options.max_running = plan.max_running;
  options.prefix_cache = plan.prefix_cache;
  options.deterministic = true;
  if (plan.tiers && TestDevice() == "cpu") {
    options.host_cache_bytes = kTierBytes;
    options.disk_cache_bytes = 4 * kTierBytes;
    options.disk_cache_folder = testing::TempDir();
  }
  options.speculative = plan.speculative;
  if (plan.speculative == SpeculativeMethod::kDraftModel) {
    options.draft_model_path = model_path;
  }
  options.queue_policy = plan.queue_policy;
  options.overlap = plan.overlap;
  return options;
}

// Once the pages on their way from a tier, for a request that was cancelled, and those that were
// evicted while a tier still reads them have arrived.
EngineStats StatsAtRest(Engine& engine, std::vector<EngineEvent>& events) {
  EngineStats stats = engine.stats();
  const auto rests = [&] { return stats.pages_free + stats.pages_cached == stats.pages_total; };
  for (int tries = 0; tries < 1000 && !rests(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    engine.Step(events);
    stats = engine.stats();
  }
  return stats;
}

// Bytes of a pool of `tokens` tokens of the model.
int64_t KvBytes(const std::string& model_path, int64_t tokens, const EngineOptions& options) {
  const auto file = GgufFile::Open(model_path);
  EXPECT_TRUE(file.ok()) << file.status().message();
  const auto config = ReadModelConfig(*file);
  EXPECT_TRUE(config.ok()) << config.status().message();
  const KvLayout layout = KvLayoutOf(*config, options);
  return (tokens + options.page_size - 1) / options.page_size * layout.BytesPerPage();
}

}  // namespace

std::string Describe(const ExactnessPlan& plan) {
  std::string text =
      StrCat("page ", plan.page_size, ", threads ", plan.threads, ", chunk ",
             plan.max_prefill_chunk, ", budget ", plan.step_token_budget, ", running ",
             plan.max_running, ", kv tokens ", plan.kv_tokens, ", prefix cache ", plan.prefix_cache,
             ", tiers ", plan.tiers, ", salted ", plan.salted, ", speculative ",
             static_cast<int>(plan.speculative), ", policy ", static_cast<int>(plan.queue_policy),
             ", overlap ", plan.overlap, ", sees logits ", plan.sees_logits, ", requests");
  for (const ExactnessPlan::Arrival& arrival : plan.arrivals) {
    text += StrCat(" ", arrival.request, "@", arrival.step);
  }
  return text;
}

Workload::Workload(std::string model_path, DType kv_dtype, size_t count, std::mt19937_64& random)
    : model_path_(std::move(model_path)), kv_dtype_(kv_dtype) {
  const std::vector<int32_t> shared = DrawTokens(random, 300);
  for (size_t i = 0; i < count; ++i) {
    RequestSpec request;
    // Every third one has a short prompt and a long answer. Of these every second ends long before
    // its max_new_tokens, by a stop token, so that the forecast comes to expect that of the others:
    // they outgrow a tight pool together.
    const bool grows = Grows(i);
    const int64_t prefix = grows ? 0 : Pick(random, {0, 30, 64, 130, 200});
    request.prompt.assign(shared.begin(), shared.begin() + prefix);
    const auto own = DrawTokens(random, Draw(random, 1, grows ? 10 : i % 8 == 7 ? 400 : 40));
    // The others of these, greedy ones, say theirs over and over: drafts come from what repeats.
    for (int times = i % 6 == 0 ? 5 : 1; times > 0; --times) {
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    }
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 0.9f;
    request.sampling.top_p = i % 4 == 1 ? 0.9f : 1.0f;
    request.sampling.top_k = i % 4 == 3 ? 50 : 0;
    request.sampling.repetition_penalty = i % 5 == 2 ? 1.2f : 1.0f;
    request.sampling.frequency_penalty = i % 5 == 3 ? 0.5f : 0.0f;
    request.sampling.seed = random();
    request.max_new_tokens =
        static_cast<int32_t>(grows ? Draw(random, 20, 30) : Draw(random, 1, 8));
    request.ignore_eos = true;
    requests_.push_back(std::move(request));
  }
  for (size_t i = 0; i < count; ++i) {
    ExactnessPlan alone;
    alone.arrivals = {{.request = i}};
    alone_.push_back(Serve(alone).traces[0]);
    if (EndsEarly(i)) {
      EndEarly(requests_[i], alone_[i]);
    }
  }
}

// What it draws as its `kDrawn`-th token ends it from now on.
void Workload::EndEarly(RequestSpec& request, Trace& trace) {
  constexpr size_t kDrawn = 3;
  request.ignore_eos = false;
  request.min_tokens = kDrawn - 1;
  request.stop_token_ids = {trace.tokens[kDrawn - 1]};
  trace.tokens.resize(kDrawn);
  trace.logit_hashes.resize(kDrawn);
}

bool Workload::IsPlainlyGreedy(size_t request) const {
  const RequestSpec& spec = requests_[request];
  return spec.sampling.temperature == 0 && spec.sampling.repetition_penalty == 1 &&
         spec.sampling.frequency_penalty == 0 && spec.ignore_eos;
}

int64_t Workload::TokensOf(size_t request) const {
  return static_cast<int64_t>(requests_[request].prompt.size()) + requests_[request].max_new_tokens;
}

int64_t Workload::LargestRequest(const ExactnessPlan& plan) const {
  int64_t most = 0;
  for (const ExactnessPlan::Arrival& arrival : plan.arrivals) {
    most = std::max(most, TokensOf(arrival.request));
  }
  return most;
}

ExactnessPlan Workload::DrawPlan(std::mt19937_64& random) const {
  ExactnessPlan plan;
  const bool growing = Draw(random, 0, 3) == 0;  // only requests that grow, in a tight pool
  plan.page_size = growing ? Pick(random, {1, 16}) : Pick(random, {1, 16, 64, 256});
  plan.threads = Pick(random, {1, 2});
  plan.max_prefill_chunk = Pick(random, {1, 7, 64, 512});
  plan.step_token_budget = Pick(random, {32, 100, 512});
  plan.max_running = growing ? 16 : Pick(random, {2, 5, 16});
  plan.prefix_cache = Draw(random, 0, 3) != 0;
  plan.tiers = plan.prefix_cache && Draw(random, 0, 3) == 0;
  plan.salted = Draw(random, 0, 3) == 0;
  plan.speculative = Draw(random, 0, 1) == 0 ? SpeculativeMethod::kOff : SpeculativeMethod::kNgram;
  plan.queue_policy = static_cast<QueuePolicy>(Draw(random, 0, 2));
  plan.overlap = Draw(random, 0, 1) == 0;
  plan.sees_logits = !plan.overlap || Draw(random, 0, 1) == 0;
  const int64_t count = Draw(random, 2, 16);
  for (int64_t i = 0; i < count; ++i) {
    const bool repeat = i > 0 && Draw(random, 0, 3) == 0;
    const auto last = static_cast<int64_t>(size()) - 1;
    const auto fresh =
        static_cast<size_t>(growing ? 3 * Draw(random, 0, last / 3) : Draw(random, 0, last));
    plan.arrivals.push_back(
        {.request = repeat ? plan.arrivals.front().request : fresh,
         .step = static_cast<int32_t>(Draw(random, 0, 12)),
         .cancel_step = Draw(random, 0, 9) == 0 ? static_cast<int32_t>(Draw(random, 1, 20)) : -1,
         .priority = static_cast<int32_t>(Draw(random, -2, 2))});
  }
  const bool tight = growing || Draw(random, 0, 1) == 0;
  if (tight) {
    plan.kv_tokens = LargestRequest(plan) + Draw(random, 0, 40);
  }
  return plan;
}

Workload::Served Workload::Serve(const ExactnessPlan& plan) const {
  Served served;
  served.traces.resize(plan.arrivals.size());
  EngineOptions options = OptionsOf(plan, model_path_);
  options.kv_dtype = kv_dtype_;
  options.kv_memory_bytes = KvBytes(model_path_, plan.kv_tokens, options);
  if (plan.sees_logits) {
    options.on_logits = [&](uint64_t id, int64_t index, std::span<const float> logits) {
      std::vector<uint64_t>& hashes = served.traces[id].logit_hashes;
      EXPECT_EQ(static_cast<int64_t>(hashes.size()), index);
      hashes.push_back(HashBits(logits));
    };
  }
  auto engine = Engine::Create(options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  if (!engine.ok()) {
    return served;
  }
  size_t waiting = plan.arrivals.size();
  std::vector<EngineEvent> events;
  for (int32_t step = 0; waiting > 0 || (*engine)->HasWork(); ++step) {
    for (size_t i = 0; i < plan.arrivals.size(); ++i) {
      if (plan.arrivals[i].step == step) {
        RequestSpec request = requests_[plan.arrivals[i].request];
        request.id = i;
        request.cache_salt = plan.salted ? i % 2 : 0;
        if (plan.queue_policy != QueuePolicy::kArrival) {
          request.priority = plan.arrivals[i].priority;
          request.tenant = StrCat("tenant ", i % 3);
        }
        const Status added = (*engine)->Add(std::move(request));
        EXPECT_TRUE(added.ok()) << added.message();
        --waiting;
      }
      if (plan.arrivals[i].cancel_step == step) {
        (*engine)->Cancel(i, events);
      }
    }
    (*engine)->Step(events);
  }
  for (const EngineEvent& event : events) {
    EXPECT_TRUE(event.error.ok()) << event.error.message();
    if (event.has_token) {
      served.traces[event.request_id].tokens.push_back(event.sampled.token);
    }
  }
  const EngineStats stats = StatsAtRest(**engine, events);
  EXPECT_EQ(stats.pages_owned, 0);
  EXPECT_EQ(stats.pages_free + stats.pages_cached, stats.pages_total);
  served.preemptions = stats.preemptions;
  served.cached_tokens = stats.prefix_hit_tokens;
  served.drafted_tokens = stats.drafted_tokens;
  served.accepted_tokens = stats.accepted_tokens;
  served.loaded_pages = stats.tier_loaded_pages;
  return served;
}

}  // namespace quire
