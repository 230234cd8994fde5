#include "engine/engine.h"

#include <algorithm>
#include <ctime>

#include "base/log.h"
#include "engine/draft_model_source.h"
#include "kv_cache/disk_page_store.h"
#include "kv_cache/host_page_store.h"
#include "platform/open_device.h"
#include "scheduler/ngram_draft_source.h"

namespace quire {

namespace {

constexpr int64_t kNsPerMs = 1'000'000;

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

Engine::~Engine() {
  if (in_flight_) {
    std::vector<EngineEvent> nobody;
    static_cast<void>(Wait(*in_flight_, nobody));
  }
}

Status Engine::CreateScheduler() {
  const KvCacheOptions cache = {.page_size = options_.page_size,
                                .num_pages = runner_->kv().num_pages(),
                                .prefix_caching = options_.prefix_cache,
                                .eviction = options_.eviction,
                                .partial_matches = true,
                                .max_pinned_pages = MaxPinnedPages()};
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
  } else if (options_.speculative == SpeculativeMethod::kDraftModel) {
    QUIRE_ASSIGN_OR_RETURN(drafts, DraftModelSource::Create(*runner_, options_));
  }
  scheduler_ = std::make_unique<Scheduler>(config, *cache_, std::move(drafts));
  return OkStatus();
}

int32_t Engine::MaxPinnedPages() const {
  const int64_t pages = options_.session_cache_bytes / runner_->kv().layout().BytesPerPage();
  return static_cast<int32_t>(std::min<int64_t>(pages, runner_->kv().num_pages()));
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

bool Engine::ReleaseSession(const std::string& session) {
  return cache_->Unpin(session);
}

std::vector<SessionInfo> Engine::sessions() const {
  std::vector<SessionInfo> sessions;
  const int64_t now_ms = clock_.NowNs() / kNsPerMs;
  for (PinnedSession& pinned : cache_->Pins()) {
    sessions.push_back({std::move(pinned.session), pinned.tokens,
                        static_cast<double>(pinned.expires - now_ms) * 1e-3});
  }
  return sessions;
}

bool Engine::HasWork() const {
  return !scheduler_->idle();
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
  stats.step_seconds = times_.step;
  stats.step_host_seconds = times_.host;
  stats.step_gap_seconds = times_.gap;
  return stats;
}

}  // namespace quire
