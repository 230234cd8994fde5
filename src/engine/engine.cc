#include "engine/engine.h"

#include <ctime>

#include "base/log.h"
#include "kv_cache/disk_page_store.h"
#include "kv_cache/host_page_store.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "platform/open_device.h"
#include "scheduler/ngram_draft_source.h"

namespace quire {

namespace {

constexpr int64_t kNsPerMs = 1'000'000;

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

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine());
  QUIRE_ASSIGN_OR_RETURN(GgufFile opened, GgufFile::Open(options.model_path));
  const auto file = std::make_shared<const GgufFile>(std::move(opened));
  ModelInfo& info = engine->model_;
  QUIRE_ASSIGN_OR_RETURN(info.tokenizer, Tokenizer::FromGguf(*file));
  QUIRE_ASSIGN_OR_RETURN(ChatTemplate chat_template,
                         ChatTemplate::FromGguf(*file, *info.tokenizer));
  info.chat_template = std::make_unique<ChatTemplate>(std::move(chat_template));
  QUIRE_ASSIGN_OR_RETURN(engine->runner_, ModelRunner::Create(file, options));
  engine->options_ = engine->runner_->options();
  const ModelConfig& config = engine->runner_->config();
  if (config.vocab_size < info.tokenizer->vocab_size()) {
    return CorruptData("model: '", file->path(), "' has ", config.vocab_size, " embeddings but ",
                       info.tokenizer->vocab_size(), " tokens");
  }
  info.id = config.name;
  info.created_unix_s = std::time(nullptr);
  const auto end_ids = info.tokenizer->end_of_generation_ids();
  info.stop_token_ids.assign(end_ids.begin(), end_ids.end());
  QUIRE_RETURN_IF_ERROR(engine->CreateScheduler());
  return engine;
}

Status Engine::CreateScheduler() {
  const KvCacheOptions cache = {.page_size = options_.page_size,
                                .num_pages = runner_->kv().num_pages(),
                                .prefix_caching = options_.prefix_cache,
                                .eviction = options_.eviction,
                                .partial_matches = true};
  QUIRE_RETURN_IF_ERROR(cache.Validate());
  QUIRE_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<PageTier>> tiers, CreateTiers());
  cache_ = std::make_unique<KvCache>(cache, std::move(tiers));
  model_.max_context = runner_->max_context();
  if (cache_->capacity_tokens() < model_.max_context) {
    model_.max_context = static_cast<int32_t>(cache_->capacity_tokens());
    LogWarning(StrCat("the kv cache holds ", model_.max_context,
                      " tokens, fewer than the context of ", runner_->max_context(),
                      ": requests are limited to that; see --kv-memory"));
  }
  const SchedulerConfig config = {.max_running = options_.max_running,
                                  .step_token_budget = options_.step_token_budget,
                                  .max_prefill_chunk = options_.max_prefill_chunk,
                                  .max_context = model_.max_context,
                                  .max_waiting = options_.max_waiting,
                                  .queue_policy = options_.queue_policy};
  QUIRE_RETURN_IF_ERROR(config.Validate());
  std::unique_ptr<DraftSource> drafts;
  if (options_.speculative == SpeculativeMethod::kNgram) {
    drafts = std::make_unique<NgramDraftSource>();
  }
  scheduler_ = std::make_unique<Scheduler>(config, *cache_, std::move(drafts));
  return OkStatus();
}

Result<std::vector<std::unique_ptr<PageTier>>> Engine::CreateTiers() {
  std::vector<std::unique_ptr<PageTier>> tiers;
  if (options_.host_cache_bytes <= 0 && options_.disk_cache_bytes <= 0) {
    return tiers;
  }
  if (!runner_->device().place().IsHost()) {
    return Unsupported("host and disk caches copy pages of host memory, but the kv cache is on ",
                       PlaceName(runner_->device().place()), "; run with --device cpu or without");
  }
  QUIRE_ASSIGN_OR_RETURN(OpenedDevice opened, OpenDevice("cpu", {.threads = 1}));
  tier_device_ = std::move(opened.device);
  if (options_.host_cache_bytes > 0) {
    QUIRE_ASSIGN_OR_RETURN(
        std::unique_ptr<PageStore> store,
        HostPageStore::Create(*tier_device_, runner_->kv(), options_.host_cache_bytes));
    tiers.push_back(std::make_unique<PageTier>("host", std::move(store)));
  }
  if (options_.disk_cache_bytes > 0) {
    QUIRE_ASSIGN_OR_RETURN(
        std::unique_ptr<PageStore> store,
        DiskPageStore::Create(*tier_device_, runner_->kv(), options_.disk_cache_folder,
                              options_.disk_cache_bytes));
    tiers.push_back(std::make_unique<PageTier>("disk", std::move(store)));
  }
  return tiers;
}

Status Engine::Add(RequestSpec request) {
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= runner_->config().vocab_size) {
      return InvalidArgument("prompt token ", token, " is outside the vocabulary of ",
                             runner_->config().vocab_size, " tokens");
    }
  }
  return scheduler_->Add(std::move(request), clock_.NowNs() / kNsPerMs);
}

void Engine::Cancel(uint64_t request_id, std::vector<EngineEvent>& events) {
  if (scheduler_->Cancel(request_id)) {
    EngineEvent event;
    event.request_id = request_id;
    event.finished = true;
    event.reason = FinishReason::kCancelled;
    events.push_back(std::move(event));
  }
}

bool Engine::HasWork() const {
  return !scheduler_->idle();
}

void Engine::Step(std::vector<EngineEvent>& events) {
  const int64_t start_ns = clock_.NowNs();
  if (const Status status = cache_->PollTiers(); !status.ok()) {
    LogWarning(status.message());
  }
  const std::optional<quire::Step> step = scheduler_->Schedule(start_ns / kNsPerMs);
  if (!step.has_value()) {
    ResetIfBroken(events);
    return;
  }
  const auto sampled = RunAndSample(*step, events);
  if (sampled.ok()) {
    CommitStep(*step, *sampled, events);
  } else {
    Abandon(*step, sampled.status(), events);
  }
  ResetIfBroken(events);
  last_step_seconds_ = static_cast<double>(clock_.NowNs() - start_ns) * 1e-9;
}

void Engine::CommitStep(const quire::Step& step, const Sampled& sampled,
                        std::vector<EngineEvent>& events) {
  CountRows(step);
  for (TokenEvent& event : scheduler_->Commit(step, sampled.tokens)) {
    ++generated_tokens_;
    if (options_.on_logits) {
      const auto row = static_cast<size_t>(event.sample) * sampled.vocabulary;
      options_.on_logits(event.id, event.num_generated - 1,
                         {sampled.logits + row, sampled.vocabulary});
    }
    events.push_back(ToEngineEvent(std::move(event)));
  }
}

void Engine::ResetIfBroken(std::vector<EngineEvent>& events) {
  const Status health = cache_->health();
  if (health.ok()) {
    return;
  }
  LogError(StrCat("the kv cache is reset: ", health.message()));
  for (const TokenEvent& event : scheduler_->Reset()) {
    events.push_back(ErrorEvent(event.id, health));
  }
}

Result<Engine::Sampled> Engine::RunAndSample(const quire::Step& step,
                                             std::vector<EngineEvent>& events) {
  QUIRE_RETURN_IF_ERROR(runner_->CopyPages(step.copies));
  QUIRE_ASSIGN_OR_RETURN(const TensorView logits, runner_->Run(step.batch));
  Sampled sampled = {.tokens = std::vector<SampledToken>(step.sampling.size()),
                     .logits = logits.as<float>(),
                     .vocabulary = static_cast<size_t>(logits.dim(1))};
  const Status all =
      ops::topk_topp_sampling::Run(runner_->context(), {.logits = logits,
                                                        .params = step.sampling,
                                                        .positions = step.sample_positions,
                                                        .history = step.history,
                                                        .out = sampled.tokens});
  if (all.ok()) {
    return sampled;
  }
  // A row that cannot be sampled ends its own request only, and none if it is that of a draft
  // behind a wrong one.
  size_t first = 0;
  for (const quire::Step::Sequence& sequence : step.sequences) {
    const auto count = static_cast<size_t>(sequence.num_samples);
    for (size_t row = first; row < first + count; ++row) {
      if (row - first >=
          static_cast<size_t>(AcceptedSamples(step, sequence, first, sampled.tokens))) {
        break;
      }
      const Status status = Sample(step, logits, row, std::span(sampled.tokens).subspan(row, 1));
      if (!status.ok() && scheduler_->Cancel(sequence.id)) {
        LogError(StrCat("request ", sequence.id, ": ", status.message()));
        events.push_back(ErrorEvent(sequence.id, status));
        break;
      }
    }
    first += count;
  }
  return sampled;
}

Status Engine::Sample(const quire::Step& step, const TensorView& logits, size_t row,
                      std::span<SampledToken> out) {
  const auto index = static_cast<int64_t>(row);
  return ops::topk_topp_sampling::Run(
      runner_->context(), {.logits = logits.Rows(index, index + 1),
                           .params = std::span(step.sampling).subspan(row, 1),
                           .positions = std::span(step.sample_positions).subspan(row, 1),
                           .history = std::span(step.history).subspan(row, 1),
                           .out = out});
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

EngineStats Engine::stats() const {
  const SchedulerStats scheduler = scheduler_->stats();
  const KvCacheStats cache = cache_->stats();
  EngineStats stats;
  stats.steps = static_cast<uint64_t>(scheduler.steps);
  stats.prompt_tokens = prompt_tokens_;
  stats.generated_tokens = generated_tokens_;
  stats.prefix_query_tokens = static_cast<uint64_t>(cache.queried_tokens);
  stats.prefix_hit_tokens = static_cast<uint64_t>(cache.hit_tokens);
  stats.tier_stored_pages = static_cast<uint64_t>(cache.stored_pages);
  stats.tier_loaded_pages = static_cast<uint64_t>(cache.loaded_pages);
  stats.preemptions = static_cast<uint64_t>(scheduler.preemptions);
  stats.drafted_tokens = static_cast<uint64_t>(scheduler.drafted);
  stats.accepted_tokens = static_cast<uint64_t>(scheduler.accepted);
  stats.requests_finished = static_cast<uint64_t>(scheduler.finished);
  stats.running = scheduler.num_running;
  stats.waiting = scheduler.num_waiting;
  stats.pages_total = cache_->options().num_pages;
  stats.pages_free = cache.free_pages;
  stats.pages_cached = cache.cached_pages;
  stats.pages_owned = cache.owned_pages;
  stats.last_step_seconds = last_step_seconds_;
  return stats;
}

}  // namespace quire
