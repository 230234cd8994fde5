// What a step must look like, from its arrays alone.
#include <algorithm>

#include "simulation/simulation.h"

namespace quire {

void Simulation::CheckStep(const Step& step, bool ahead) {
  const Batch& batch = step.batch;
  const auto num_sequences = static_cast<int32_t>(step.sequences.size());
  const size_t samples = batch.logit_rows.size();
  if (batch.num_sequences() != num_sequences || num_sequences > scenario().scheduler.max_running ||
      batch.num_tokens() > scenario().scheduler.step_token_budget ||
      batch.query_start.back() != batch.num_tokens() || step.sampling.size() != samples ||
      step.sample_positions.size() != samples || step.history.size() != samples) {
    Fail("the step has a wrong form or is larger than allowed");
    return;
  }
  size_t first_sample = 0;
  for (int32_t b = 0; b < num_sequences; ++b) {
    const Step::Sequence& sequence = step.sequences[b];
    const bool live = live_.contains(static_cast<int32_t>(sequence.id));
    if (ahead && !live) {
      ++outcome_.wasted_rows;
    } else if (!live || !RowsAreRight(step, b, first_sample)) {
      Fail(StrCat("the rows of request ", sequence.id, " are wrong"));
      return;
    }
    first_sample += static_cast<size_t>(sequence.num_samples);
    Digest(sequence.id);
    Digest(static_cast<uint64_t>(sequence.num_rows));
  }
  CheckWrites(batch);
  std::ranges::for_each(batch.slot_mapping,
                        [this](int64_t slot) { Digest(static_cast<uint64_t>(slot)); });
}

bool Simulation::RowsAreRight(const Step& step, int32_t b, size_t first_sample) const {
  const Batch& batch = step.batch;
  const Step::Sequence& sequence = step.sequences[b];
  const Expected& expected = live_.at(static_cast<int32_t>(sequence.id));
  const std::vector<int32_t>& history = histories_.at(static_cast<int32_t>(sequence.id));
  const int32_t last_row = sequence.first_row + sequence.num_rows - 1;
  const auto known = static_cast<int32_t>(history.size());
  const int32_t samples = std::max(0, batch.kv_length[b] - known + 1);
  if (sequence.first_row != batch.query_start[b] || last_row + 1 != batch.query_start[b + 1] ||
      batch.positions[last_row] != batch.kv_length[b] - 1 || sequence.num_samples != samples ||
      (samples <= 1 && sequence.num_rows > scenario().scheduler.max_prefill_chunk) ||
      (samples > 1 && sequence.num_rows != samples) ||
      batch.kv_length[b] >= known + expected.spec.max_new_tokens - (known - expected.num_prompt)) {
    return false;
  }
  for (int32_t i = 0; i < samples; ++i) {
    const int32_t row = last_row + 1 - samples + i;
    const TokenHistory& seen = step.history[first_sample + i];
    const int32_t drawn = known - expected.num_prompt + i;
    if (batch.logit_rows[first_sample + i] != row ||
        step.sample_positions[first_sample + i] != drawn ||
        static_cast<int32_t>(seen.prompt.size()) != expected.num_prompt ||
        static_cast<int32_t>(seen.output.size()) != drawn ||
        (drawn > 0 && seen.output.back() != batch.tokens[row]) ||
        (samples == 1 && drawn > 0 && seen.output.back() != history.back())) {
      return false;
    }
  }
  return true;
}

// No page that one sequence writes is read or written by another.
void Simulation::CheckWrites(const Batch& batch) {
  const auto page_of = [&](int32_t row) {
    return static_cast<size_t>(batch.slot_mapping[row] / scenario().cache.page_size);
  };
  std::ranges::fill(writer_of_page_, -1);
  for (int32_t b = 0; b < batch.num_sequences(); ++b) {
    for (int32_t row = batch.query_start[b]; row < batch.query_start[b + 1]; ++row) {
      int32_t& writer = writer_of_page_[page_of(row)];
      if (writer >= 0 && writer != b) {
        Fail(StrCat("page ", page_of(row), " is written by two sequences"));
      }
      writer = b;
    }
  }
  for (int32_t b = 0; b < batch.num_sequences(); ++b) {
    for (int32_t i = 0; i < batch.max_pages; ++i) {
      const int32_t page = batch.page_table[size_t(b) * batch.max_pages + i];
      if (page >= 0 && writer_of_page_[page] >= 0 && writer_of_page_[page] != b) {
        Fail(StrCat("page ", page, " is written by one sequence and read by another"));
      }
    }
  }
}

}  // namespace quire
