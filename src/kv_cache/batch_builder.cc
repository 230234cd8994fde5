#include "kv_cache/batch_builder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

BatchBuilder::BatchBuilder(size_t sequences, size_t rows) {
  batch_.tokens.reserve(rows);
  batch_.positions.reserve(rows);
  batch_.slot_mapping.reserve(rows);
  batch_.query_start.reserve(sequences + 1);
  batch_.kv_length.reserve(sequences);
  batch_.logit_rows.reserve(sequences);
  tables_.reserve(sequences);
  batch_.query_start.push_back(0);
}

void BatchBuilder::Add(std::span<const int32_t> tokens, const PageTable& table, int32_t logits) {
  const auto rows = static_cast<int32_t>(tokens.size());
  QUIRE_CHECK_GE(rows, 1);
  QUIRE_CHECK_LE(rows, table.length());
  QUIRE_CHECK_LE(logits, rows);
  batch_.tokens.insert(batch_.tokens.end(), tokens.begin(), tokens.end());
  for (int32_t position = table.length() - rows; position < table.length(); ++position) {
    batch_.positions.push_back(position);
    batch_.slot_mapping.push_back(table.SlotOf(position));
  }
  batch_.query_start.push_back(num_rows());
  batch_.kv_length.push_back(table.length());
  batch_.max_pages = std::max(batch_.max_pages, static_cast<int32_t>(table.pages().size()));
  for (int32_t row = num_rows() - logits; row < num_rows(); ++row) {
    batch_.logit_rows.push_back(row);
  }
  tables_.push_back(&table);
}

Batch BatchBuilder::Finish() && {
  QUIRE_CHECK(!tables_.empty());
  batch_.page_table.assign(tables_.size() * batch_.max_pages, -1);
  for (size_t b = 0; b < tables_.size(); ++b) {
    std::ranges::copy(tables_[b]->pages(),
                      batch_.page_table.begin() + static_cast<ptrdiff_t>(b) * batch_.max_pages);
  }
  return std::move(batch_);
}

}  // namespace quire
