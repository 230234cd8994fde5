// DraftModelSource: a smaller model with the same vocabulary guesses what comes next.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/model_runner.h"
#include "kv_cache/kv_cache.h"
#include "scheduler/draft_source.h"

namespace quire {

// Speculative decoding with a draft model (Leviathan et al., 2023), which takes its likeliest token
// each time. It keeps a KV cache of its own, follows each request that asks and runs the queries of
// a step as one batch, a forward pass for each draft. A request with a long prompt gets no drafts
// until the model has read it, kCatchUpRows tokens at each call.
class DraftModelSource final : public DraftSource {
 public:
  static constexpr int32_t kCatchUpRows = 256;

  // Loads the model of `options.draft_model_path` onto the device of `target`, with KV memory for
  // as many tokens as `target` has. `target` outlives this. Errors: those of GgufFile and
  // ModelRunner; invalid_argument (another vocabulary).
  static Result<std::unique_ptr<DraftModelSource>> Create(ModelRunner& target,
                                                          const EngineOptions& options);

  // What cannot be had (pages, a forward pass that fails) costs drafts, nothing else.
  void Propose(std::span<DraftQuery> queries) override;
  void Forget(uint64_t id) override;

 private:
  struct Sequence {
    KvSequenceId kv = 0;          // 0 if its request has no drafts any more
    std::vector<int32_t> tokens;  // whose KV is written
  };
  // A query that has rows in the next forward pass.
  struct Guess {
    DraftQuery* query;
    Sequence* sequence;
    std::vector<int32_t> rows;  // tokens to compute
    bool draws = false;         // a draft from the last of them
  };

  DraftModelSource(std::unique_ptr<ModelRunner> runner, const KvCacheOptions& cache)
      : runner_(std::move(runner)), cache_(cache) {}

  // What `query` lacks, up to `most` rows of it.
  Guess Follow(DraftQuery& query, int32_t most);
  // Computes the rows of all and adds the drafts that they draw. Those that get no pages are given
  // up and dropped.
  Status Advance(std::vector<Guess>& guesses);
  Batch BatchOf(std::span<const Guess> guesses) const;
  void GiveUp(Sequence& sequence);

  std::unique_ptr<ModelRunner> runner_;
  KvCache cache_;
  std::unordered_map<uint64_t, Sequence> sequences_;  // by request
};

}  // namespace quire
