#include "scheduler/step_builder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

StepBuilder::StepBuilder(uint64_t serial, size_t sequences, size_t rows) {
  step_.serial = serial;
  Batch& batch = step_.batch;
  batch.tokens.reserve(rows);
  batch.positions.reserve(rows);
  batch.slot_mapping.reserve(rows);
  batch.query_start.reserve(sequences + 1);
  batch.kv_length.reserve(sequences);
  batch.logit_rows.reserve(sequences);
  tables_.reserve(sequences);
  step_.sequences.reserve(sequences);
  step_.sampling.reserve(sequences);
  step_.sample_positions.reserve(sequences);
  step_.history.reserve(sequences);
  batch.query_start.push_back(0);
}

void StepBuilder::Add(const Request& request, const PageTable& table, int32_t rows) {
  QUIRE_CHECK_GE(rows, 1);
  QUIRE_CHECK_LE(rows, request.remaining() + static_cast<int32_t>(request.drafts().size()));
  QUIRE_CHECK_EQ(table.length(), request.computed() + rows);
  Batch& batch = step_.batch;
  const int32_t first_row = batch.num_tokens();
  for (int32_t position = request.computed(); position < table.length(); ++position) {
    batch.tokens.push_back(request.tokens_and_drafts()[position]);
    batch.positions.push_back(position);
    batch.slot_mapping.push_back(table.SlotOf(position));
  }
  batch.query_start.push_back(batch.num_tokens());
  batch.kv_length.push_back(table.length());
  batch.max_pages = std::max(batch.max_pages, static_cast<int32_t>(table.pages().size()));
  tables_.push_back(&table);

  if (const std::optional<int32_t> sample = request.unknown_sample()) {
    const auto sequence = static_cast<int32_t>(step_.sequences.size());
    step_.unknown.push_back({.sequence = sequence, .sample = *sample});
  }
  const int32_t samples = std::max(0, rows - request.remaining() + 1);
  step_.sequences.push_back(
      {.id = request.id(), .first_row = first_row, .num_rows = rows, .num_samples = samples});
  for (int32_t i = 0; i < samples; ++i) {
    batch.logit_rows.push_back(batch.num_tokens() - samples + i);
    step_.sampling.push_back(request.sampling());
    step_.sample_positions.push_back(request.num_generated() + i);
    step_.history.push_back(
        {request.prompt(),
         request.tokens_and_drafts().subspan(request.num_prompt(), request.num_generated() + i)});
  }
}

Step StepBuilder::Finish() && {
  QUIRE_CHECK(!tables_.empty());
  Batch& batch = step_.batch;
  batch.page_table.assign(tables_.size() * batch.max_pages, -1);
  for (size_t b = 0; b < tables_.size(); ++b) {
    std::ranges::copy(tables_[b]->pages(),
                      batch.page_table.begin() + static_cast<ptrdiff_t>(b) * batch.max_pages);
  }
  return std::move(step_);
}

}  // namespace quire
