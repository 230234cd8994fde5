#include "scheduler/step_builder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

StepBuilder::StepBuilder(uint64_t serial, size_t sequences, size_t rows) : batch_(sequences, rows) {
  step_.serial = serial;
  step_.sequences.reserve(sequences);
  step_.sampling.reserve(sequences);
  step_.sample_positions.reserve(sequences);
  step_.history.reserve(sequences);
}

void StepBuilder::Add(const Request& request, const PageTable& table, int32_t rows) {
  QUIRE_CHECK_GE(rows, 1);
  QUIRE_CHECK_LE(rows, request.remaining() + static_cast<int32_t>(request.drafts().size()));
  QUIRE_CHECK_EQ(table.length(), request.computed() + rows);
  const int32_t first_row = batch_.num_rows();
  const int32_t samples = std::max(0, rows - request.remaining() + 1);
  batch_.Add(request.tokens_and_drafts().subspan(request.computed(), rows), table, samples);

  if (const std::optional<int32_t> sample = request.unknown_sample()) {
    const auto sequence = static_cast<int32_t>(step_.sequences.size());
    step_.unknown.push_back({.sequence = sequence, .sample = *sample});
  }
  step_.sequences.push_back(
      {.id = request.id(), .first_row = first_row, .num_rows = rows, .num_samples = samples});
  for (int32_t i = 0; i < samples; ++i) {
    step_.sampling.push_back(request.sampling());
    step_.sample_positions.push_back(request.num_generated() + i);
    step_.history.push_back(
        {request.prompt(),
         request.tokens_and_drafts().subspan(request.num_prompt(), request.num_generated() + i)});
  }
}

Step StepBuilder::Finish() && {
  step_.batch = std::move(batch_).Finish();
  return std::move(step_);
}

}  // namespace quire
