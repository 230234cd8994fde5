#include "attention/batch_checks.h"

#include <algorithm>
#include <functional>

namespace quire {

namespace {

Status CheckSizes(const Batch& batch) {
  const size_t tokens = batch.tokens.size();
  const size_t sequences = batch.kv_length.size();
  if (batch.positions.size() != tokens || batch.slot_mapping.size() != tokens) {
    return InvalidArgument("batch of ", tokens, " tokens has ", batch.positions.size(),
                           " positions and ", batch.slot_mapping.size(), " slots");
  }
  if (batch.query_start.size() != sequences + 1) {
    return InvalidArgument("batch of ", sequences, " sequences has ", batch.query_start.size(),
                           " row starts, not one more than sequences");
  }
  if (batch.max_pages < 0 ||
      batch.page_table.size() != sequences * static_cast<size_t>(batch.max_pages)) {
    return InvalidArgument("batch of ", sequences, " sequences of up to ", batch.max_pages,
                           " pages has a page table of ", batch.page_table.size(), " entries");
  }
  return OkStatus();
}

Status CheckRowStarts(const Batch& batch) {
  if (batch.query_start.front() != 0 || batch.query_start.back() != batch.num_tokens()) {
    return InvalidArgument("row starts of the batch run from ", batch.query_start.front(), " to ",
                           batch.query_start.back(), ", not from 0 to ", batch.num_tokens());
  }
  const auto descent = std::ranges::adjacent_find(batch.query_start, std::greater());
  if (descent != batch.query_start.end()) {
    return InvalidArgument("row starts of the batch descend from ", *descent, " to ",
                           *(descent + 1), " at sequence ", descent - batch.query_start.begin());
  }
  return OkStatus();
}

// The operator derives positions from lengths: both must say the same.
Status CheckSequence(const Batch& batch, size_t b) {
  const int32_t begin = batch.query_start[b];
  const int32_t end = batch.query_start[b + 1];
  if (end - begin > batch.kv_length[b]) {
    return InvalidArgument("sequence ", b, " of the batch has ", end - begin, " rows but ",
                           batch.kv_length[b], " tokens");
  }
  for (int32_t row = begin; row < end; ++row) {
    const int32_t position = batch.kv_length[b] - (end - row);
    if (batch.positions[static_cast<size_t>(row)] != position) {
      return InvalidArgument("row ", row, " of the batch has position ",
                             batch.positions[static_cast<size_t>(row)], "; the length of sequence ",
                             b, " makes it ", position);
    }
  }
  return OkStatus();
}

}  // namespace

Status CheckBatch(const Batch& batch) {
  QUIRE_RETURN_IF_ERROR(CheckSizes(batch));
  QUIRE_RETURN_IF_ERROR(CheckRowStarts(batch));
  for (size_t b = 0; b < batch.kv_length.size(); ++b) {
    QUIRE_RETURN_IF_ERROR(CheckSequence(batch, b));
  }
  return OkStatus();
}

}  // namespace quire
