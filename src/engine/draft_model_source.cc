#include "engine/draft_model_source.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "kv_cache/batch_builder.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire {

Result<std::unique_ptr<DraftModelSource>> DraftModelSource::Create(ModelRunner& target,
                                                                   const EngineOptions& options) {
  if (options.draft_model_path.empty()) {
    return InvalidArgument("speculation with a draft model lacks the model; give --draft-model");
  }
  QUIRE_ASSIGN_OR_RETURN(GgufFile opened, GgufFile::Open(options.draft_model_path));
  const auto file = std::make_shared<const GgufFile>(std::move(opened));
  QUIRE_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(*file));
  if (config.vocab_size != target.config().vocab_size) {
    return InvalidArgument("draft model '", file->path(), "' has a vocabulary of ",
                           config.vocab_size, " tokens, the model one of ",
                           target.config().vocab_size, "; give one of the same family");
  }
  EngineOptions own = target.options();
  own.max_context = 0;
  own.on_load_progress = [](double) {};
  const KvStorage& kv = target.kv();
  own.kv_memory_bytes = int64_t{kv.num_pages()} * KvLayoutOf(config, own).BytesPerPage();
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner,
                         ModelRunner::CreateBeside(target, file, own));
  const KvCacheOptions cache = {
      .page_size = own.page_size, .num_pages = runner->kv().num_pages(), .prefix_caching = false};
  return std::unique_ptr<DraftModelSource>(new DraftModelSource(std::move(runner), cache));
}

void DraftModelSource::Propose(std::span<DraftQuery> queries) {
  std::vector<Guess> guesses;
  int32_t left = kCatchUpRows;
  for (DraftQuery& query : queries) {
    query.drafts.clear();
    Guess guess = Follow(query, left);
    if (!guess.rows.empty()) {
      left -= static_cast<int32_t>(guess.rows.size());
      guesses.push_back(std::move(guess));
    }
  }
  while (!guesses.empty()) {
    if (const Status status = Advance(guesses); !status.ok()) {
      LogWarning(StrCat("the draft model failed: ", status.message()));
      for (Guess& guess : guesses) {
        guess.query->drafts.clear();
        GiveUp(*guess.sequence);
      }
      return;
    }
    std::erase_if(guesses, [](const Guess& guess) {
      const DraftQuery& query = *guess.query;
      return !guess.draws || static_cast<int32_t>(query.drafts.size()) == query.most;
    });
    for (Guess& guess : guesses) {
      guess.rows = {guess.query->drafts.back()};
    }
  }
}

void DraftModelSource::Forget(uint64_t id) {
  const auto found = sequences_.find(id);
  if (found != sequences_.end()) {
    GiveUp(found->second);
    sequences_.erase(found);
  }
}

DraftModelSource::Guess DraftModelSource::Follow(DraftQuery& query, int32_t most) {
  const auto [found, is_new] = sequences_.try_emplace(query.id);
  Sequence& sequence = found->second;
  if (is_new) {
    sequence.kv = cache_.StartSequence(query.tokens).id;
  }
  Guess guess = {.query = &query, .sequence = &sequence, .rows = {}};
  const auto wanted = static_cast<int32_t>(query.tokens.size());
  if (sequence.kv == 0 || most <= 0 || wanted + query.most > runner_->max_context()) {
    return guess;
  }
  // The last token is computed again if need be: a draft is drawn from its row.
  const auto differs = std::ranges::mismatch(sequence.tokens, query.tokens.first(wanted - 1));
  const auto known = static_cast<int32_t>(differs.in1 - sequence.tokens.begin());
  sequence.tokens.resize(static_cast<size_t>(known));
  cache_.Truncate(sequence.kv, known);
  const int32_t rows = std::min(most, wanted - known);
  const auto lacking = query.tokens.subspan(static_cast<size_t>(known), static_cast<size_t>(rows));
  guess.rows.assign(lacking.begin(), lacking.end());
  guess.draws = known + rows == wanted;
  return guess;
}

Status DraftModelSource::Advance(std::vector<Guess>& guesses) {
  std::erase_if(guesses, [this](Guess& guess) {
    const bool fits = cache_.Extend(guess.sequence->kv, static_cast<int32_t>(guess.rows.size()));
    if (!fits) {
      GiveUp(*guess.sequence);
    }
    return !fits;
  });
  if (guesses.empty()) {
    return OkStatus();
  }
  const Batch batch = BatchOf(guesses);
  QUIRE_ASSIGN_OR_RETURN(const TensorView logits, runner_->Run(batch));
  const size_t drawn = batch.logit_rows.size();
  const std::vector<SamplingParams> greedy(drawn, {.temperature = 0});
  const std::vector<int64_t> positions(drawn);
  std::vector<SampledToken> tokens(drawn);
  if (drawn == 0) {
    QUIRE_RETURN_IF_ERROR(runner_->Wait());
  } else {
    QUIRE_RETURN_IF_ERROR(ops::topk_topp_sampling::Run(
        runner_->context(),
        {.logits = logits, .params = greedy, .positions = positions, .out = tokens}));
  }
  size_t next = 0;
  for (Guess& guess : guesses) {
    guess.sequence->tokens.insert(guess.sequence->tokens.end(), guess.rows.begin(),
                                  guess.rows.end());
    if (guess.draws) {
      guess.query->drafts.push_back(tokens[next++].token);
    }
  }
  return OkStatus();
}

Batch DraftModelSource::BatchOf(std::span<const Guess> guesses) const {
  BatchBuilder batch(guesses.size(), guesses.size());
  for (const Guess& guess : guesses) {
    batch.Add(guess.rows, cache_.Table(guess.sequence->kv), guess.draws ? 1 : 0);
  }
  return std::move(batch).Finish();
}

void DraftModelSource::GiveUp(Sequence& sequence) {
  if (sequence.kv != 0) {
    cache_.Release(sequence.kv);
  }
  sequence = {};
}

}  // namespace quire
