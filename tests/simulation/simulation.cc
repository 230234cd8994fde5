#include "simulation/simulation.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

namespace quire {

namespace {

// Half of the time uniform, else in favour of small numbers: the log of the result is uniform.
int32_t Skewed(std::mt19937_64& random, int32_t low, int32_t high) {
  if (std::bernoulli_distribution(0.5)(random)) {
    return std::uniform_int_distribution<int32_t>(low, high)(random);
  }
  const double log =
      std::uniform_real_distribution<double>(std::log(low), std::log(high + 1.0))(random);
  return std::clamp(static_cast<int32_t>(std::exp(log)), low, high);
}

// Many long answers from short prompts at once, so that the running requests outgrow the pool.
void AddPressure(std::mt19937_64& random, Scenario& s) {
  s.cache.page_size = std::min(s.cache.page_size, 16);
  s.cache.num_pages = Skewed(random, 4, 80);
  s.scheduler.max_running = Skewed(random, 3, 24);
  s.scheduler.step_token_budget += 4;
  const int32_t pool = s.cache.num_pages * s.cache.page_size;
  s.scheduler.max_context = std::max(2, pool / Skewed(random, 1, 4));
  s.longest_output = s.scheduler.max_context;
  s.longest_prompt = Skewed(random, 1, std::max(1, s.scheduler.max_context / 2));
  s.stop_rate = 0.05;
  s.add_rate = 5;
}

}  // namespace

Scenario RandomScenario(std::mt19937_64& random) {
  const auto uniform = [&random](double high) {
    return std::uniform_real_distribution<double>(0, high)(random);
  };
  Scenario s;
  s.cache.page_size = 1 << std::uniform_int_distribution<int>(0, 8)(random);
  const int32_t pool_tokens = Skewed(random, 2, 1000);
  s.cache.num_pages = std::max(Skewed(random, 2, 8), pool_tokens / s.cache.page_size);
  s.cache.prefix_caching = uniform(1) < 0.9;
  s.scheduler.max_running = Skewed(random, 1, 24);
  s.scheduler.step_token_budget = Skewed(random, 1, 256);
  s.scheduler.max_prefill_chunk = Skewed(random, 1, 256);
  const int32_t pool = s.cache.num_pages * s.cache.page_size;
  s.scheduler.max_context = Skewed(random, 2, std::max(8, std::min(600, pool + pool / 4)));
  s.scheduler.max_waiting = Skewed(random, 2, 64);
  s.vocabulary = Skewed(random, 1, 1000);
  s.num_requests = Skewed(random, 2, 120);
  // From requests that fill the pool alone to many that share it.
  const int32_t share = std::max(1, std::min(pool, s.scheduler.max_context) / Skewed(random, 1, 8));
  s.longest_prompt = Skewed(random, 1, share);
  s.longest_output = Skewed(random, 1, share);
  s.add_rate = uniform(1) < 0.5 ? 5 : uniform(1.2);
  s.cancel_rate = uniform(1) < 0.5 ? 0 : uniform(0.2);
  s.failure_rate = uniform(1) < 0.8 ? 0 : uniform(0.1);
  s.repeat_rate = uniform(1);
  s.stop_rate = uniform(0.5);
  if (uniform(1) < 0.4) {
    AddPressure(random, s);
  }
  return s;
}

Simulation::Simulation(uint64_t seed)
    : random_(seed),
      scenario_(RandomScenario(random_)),
      cache_(scenario_.cache),
      scheduler_(scenario_.scheduler, cache_),
      model_(scenario_.cache.num_pages, scenario_.cache.page_size, scenario_.vocabulary) {}

Outcome Simulation::Run() {
  while (outcome_.error.empty() &&
         (!scheduler_.idle() || next_id_ <= static_cast<uint64_t>(scenario_.num_requests))) {
    AddRequests();
    CancelSome(nullptr);
    const std::optional<Step> step = scheduler_.Schedule();
    if (step.has_value() == live_.empty()) {
      Fail(StrCat(live_.size(), " requests are live, but a step was ", step ? "" : "not ",
                  "scheduled"));
    }
    if (step) {
      RunStep(*step);
    }
    if (const Status status = scheduler_.CheckInvariants(); !status.ok()) {
      Fail(status.message());
    }
  }
  const KvCacheStats stats = cache_.stats();
  if (stats.owned_pages != 0 ||
      stats.free_pages + stats.cached_pages != scenario_.cache.num_pages) {
    Fail(StrCat("at the end ", stats.owned_pages, " pages are owned"));
  }
  outcome_.preemptions = scheduler_.stats().preemptions;
  outcome_.cache = stats;
  return outcome_;
}

void Simulation::Fail(const std::string& what) {
  if (outcome_.error.empty()) {
    outcome_.error = StrCat("step ", outcome_.steps, ": ", what);
  }
}

void Simulation::AddRequests() {
  int32_t number = static_cast<int32_t>(scenario_.add_rate);
  number += Chance(scenario_.add_rate - number) ? 1 : 0;
  for (; number > 0 && next_id_ <= static_cast<uint64_t>(scenario_.num_requests); --number) {
    const RequestSpec spec = RandomRequest();
    const bool refuse = ShouldBeRefused(spec);
    const Status status = scheduler_.Add(spec);
    if (status.ok() == refuse) {
      Fail(StrCat("request ", spec.id, " was accepted or refused wrongly: ", status.message()));
    }
    if (!status.ok()) {
      ++outcome_.refused;
      continue;
    }
    Expected expected{.history = spec.prompt,
                      .num_prompt = static_cast<int32_t>(spec.prompt.size()),
                      .seed = spec.sampling.seed,
                      .spec = spec};
    for (int32_t p = 0; p < expected.num_prompt; ++p) {
      expected.hash = ExtendHistory(expected.hash, p, spec.prompt[p]);
    }
    // The oldest computes at least one row a step, so no run takes more steps than this.
    step_bound_ += expected.num_prompt + spec.max_new_tokens;
    live_.emplace(spec.id, std::move(expected));
  }
}

RequestSpec Simulation::RandomRequest() {
  RequestSpec spec;
  spec.id = next_id_++;
  spec.prompt = RandomPrompt();
  spec.max_new_tokens = Uniform(1, scenario_.longest_output);
  spec.min_tokens = Chance(0.2) ? Uniform(0, spec.max_new_tokens) : 0;
  spec.ignore_eos = Chance(0.2);
  for (int32_t stops = Chance(scenario_.stop_rate) ? Uniform(1, 2) : 0; stops > 0; --stops) {
    spec.stop_token_ids.push_back(Uniform(0, scenario_.vocabulary - 1));
  }
  spec.sampling.seed = static_cast<uint64_t>(Uniform(0, 3));
  return spec;
}

std::vector<int32_t> Simulation::RandomPrompt() {
  std::vector<int32_t> prompt;
  if (!histories_.empty() && Chance(scenario_.repeat_rate)) {
    prompt = histories_[Uniform(0, static_cast<int32_t>(histories_.size()) - 1)];
    prompt.resize(std::min<size_t>(prompt.size(), Uniform(0, scenario_.longest_prompt)));
  } else if (!live_.empty() && Chance(scenario_.repeat_rate)) {
    prompt = std::next(live_.begin(), Uniform(0, static_cast<int32_t>(live_.size()) - 1))
                 ->second.history;
  }
  const int32_t length = Skewed(random_, 1, scenario_.longest_prompt);
  while (static_cast<int32_t>(prompt.size()) < length) {
    prompt.push_back(Uniform(0, scenario_.vocabulary - 1));
  }
  if (Chance(0.01)) {
    prompt.clear();
  }
  return prompt;
}

bool Simulation::ShouldBeRefused(const RequestSpec& spec) const {
  const auto prompt = static_cast<int32_t>(spec.prompt.size());
  const int32_t total = std::min(prompt + spec.max_new_tokens, scenario_.scheduler.max_context);
  return prompt == 0 || prompt >= scenario_.scheduler.max_context ||
         total - 1 > scenario_.cache.num_pages * scenario_.cache.page_size ||
         scheduler_.num_waiting() >= scenario_.scheduler.max_waiting;
}

void Simulation::CancelSome(const Step* in_flight) {
  if (live_.empty() || !Chance(scenario_.cancel_rate)) {
    return;
  }
  const auto victim = std::next(live_.begin(), Uniform(0, static_cast<int32_t>(live_.size()) - 1));
  const uint64_t id = victim->first;
  if (in_flight != nullptr) {
    outcome_.cancelled_in_flight +=
        std::ranges::count(in_flight->sequences, id, &Step::Sequence::id);
  }
  if (!scheduler_.Cancel(id)) {
    Fail(StrCat("live request ", id, " could not be cancelled"));
  }
  if (scheduler_.Cancel(id)) {
    Fail(StrCat("request ", id, " was cancelled twice"));
  }
  histories_.push_back(std::move(victim->second.history));
  live_.erase(victim);
}

void Simulation::RunStep(const Step& step) {
  CheckStep(step);
  if (++outcome_.steps > step_bound_) {
    Fail(StrCat("more than ", step_bound_, " steps: somebody starves"));
  }
  AddRequests();
  CancelSome(&step);
  if (Chance(scenario_.failure_rate)) {
    model_.Spoil(step);
    for (const TokenEvent& event : scheduler_.Abandon(step)) {
      if (event.finish_reason != FinishReason::kError || event.token ||
          live_.erase(event.id) != 1) {
        Fail(StrCat("wrong event for request ", event.id, " of a failed step"));
      }
    }
    return;
  }
  const std::vector<SampledToken> sampled = model_.Run(step);
  for (const TokenEvent& event : scheduler_.Commit(step, sampled)) {
    CheckEvent(event);
  }
}

// The form of the step, from its arrays alone.
void Simulation::CheckStep(const Step& step) {
  const Batch& batch = step.batch;
  const auto num_sequences = static_cast<int32_t>(step.sequences.size());
  if (batch.num_sequences() != num_sequences || num_sequences > scenario_.scheduler.max_running ||
      batch.num_tokens() > scenario_.scheduler.step_token_budget ||
      batch.query_start.back() != batch.num_tokens() ||
      step.sampling.size() != batch.logit_rows.size() ||
      step.sample_positions.size() != batch.logit_rows.size()) {
    Fail("the step has a wrong form or is larger than allowed");
    return;
  }
  size_t next_sample = 0;
  for (int32_t b = 0; b < num_sequences; ++b) {
    const Step::Sequence& sequence = step.sequences[b];
    const int32_t last_row = sequence.first_row + sequence.num_rows - 1;
    const Expected& expected = live_.at(sequence.id);
    const bool at_end = batch.kv_length[b] == static_cast<int32_t>(expected.history.size());
    if (sequence.first_row != batch.query_start[b] || last_row + 1 != batch.query_start[b + 1] ||
        sequence.num_rows > std::max(1, scenario_.scheduler.max_prefill_chunk) ||
        batch.positions[last_row] != batch.kv_length[b] - 1 || sequence.samples != at_end ||
        (at_end && batch.logit_rows[next_sample++] != last_row)) {
      Fail(StrCat("the rows of request ", sequence.id, " are wrong"));
      return;
    }
    Digest(sequence.id);
    Digest(static_cast<uint64_t>(sequence.num_rows));
  }
  CheckWrites(batch);
  std::ranges::for_each(batch.slot_mapping,
                        [this](int64_t slot) { Digest(static_cast<uint64_t>(slot)); });
}

// No page that one sequence writes is read or written by another.
void Simulation::CheckWrites(const Batch& batch) {
  std::set<std::pair<int32_t, int32_t>> readers;  // (page, sequence)
  for (int32_t b = 0; b < batch.num_sequences(); ++b) {
    for (int32_t i = 0; i < batch.max_pages; ++i) {
      readers.emplace(batch.page_table[size_t(b) * batch.max_pages + i], b);
    }
  }
  for (int32_t b = 0; b < batch.num_sequences(); ++b) {
    for (int32_t row = batch.query_start[b]; row < batch.query_start[b + 1]; ++row) {
      const auto page = static_cast<int32_t>(batch.slot_mapping[row] / scenario_.cache.page_size);
      const auto first = readers.lower_bound({page, 0});
      if (first == readers.end() || *first != std::pair(page, b) ||
          (std::next(first) != readers.end() && std::next(first)->first == page)) {
        Fail(StrCat("page ", page, " is written by one sequence and used by another"));
        return;
      }
    }
  }
}

void Simulation::CheckEvent(const TokenEvent& event) {
  const auto it = live_.find(event.id);
  if (it == live_.end() || !event.token) {
    Fail(StrCat("an event without a token or of a request that has ended, ", event.id));
    return;
  }
  Expected& expected = it->second;
  const auto position = static_cast<int32_t>(expected.history.size());
  const int32_t drawn = position - expected.num_prompt;
  const int32_t token = DrawToken(expected.hash, expected.seed, drawn, scenario_.vocabulary);
  if (event.token->token != token || event.num_generated != drawn + 1) {
    Fail(StrCat("request ", event.id, " drew token ", event.token->token, " as its number ", drawn,
                "; alone it draws ", token));
    return;
  }
  expected.history.push_back(token);
  expected.hash = ExtendHistory(expected.hash, position, token);
  ++outcome_.tokens;
  Digest(static_cast<uint64_t>(token));
  if (event.finish_reason != ExpectedFinish(expected)) {
    Fail(StrCat("request ", event.id, " ends wrongly or not at all after ", drawn + 1, " tokens"));
  }
  if (event.finish_reason) {
    ++outcome_.finished;
    histories_.push_back(std::move(expected.history));
    live_.erase(it);
  }
}

std::optional<FinishReason> Simulation::ExpectedFinish(const Expected& expected) const {
  const auto total = static_cast<int32_t>(expected.history.size());
  const int32_t generated = total - expected.num_prompt;
  const bool stop_token =
      std::ranges::count(expected.spec.stop_token_ids, expected.history.back()) > 0;
  if (stop_token && !expected.spec.ignore_eos && generated > expected.spec.min_tokens) {
    return FinishReason::kStop;
  }
  if (generated == expected.spec.max_new_tokens || total == scenario_.scheduler.max_context) {
    return FinishReason::kLength;
  }
  return std::nullopt;
}

}  // namespace quire
