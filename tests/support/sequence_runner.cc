#include "support/sequence_runner.h"

#include <algorithm>
#include <cmath>

namespace quire {

Batch SequenceRunner::MakeBatch(std::span<const int32_t> tokens, size_t logits_from) const {
  const int32_t page_size = runner_.kv().layout().page_size;
  Batch batch;
  batch.tokens.assign(tokens.begin(), tokens.end());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int32_t position = length_ + static_cast<int32_t>(i);
    batch.positions.push_back(position);
    batch.slot_mapping.push_back(position);
    if (i >= logits_from) {
      batch.logit_rows.push_back(static_cast<int32_t>(i));
    }
  }
  const int32_t end = length_ + static_cast<int32_t>(tokens.size());
  batch.query_start = {0, static_cast<int32_t>(tokens.size())};
  batch.kv_length = {end};
  batch.max_pages = (end + page_size - 1) / page_size;
  for (int32_t page = 0; page < batch.max_pages; ++page) {
    batch.page_table.push_back(page);
  }
  return batch;
}

Result<std::vector<std::vector<float>>> SequenceRunner::Append(std::span<const int32_t> tokens,
                                                               size_t n, size_t chunk) {
  std::vector<std::vector<float>> out;
  const size_t wanted_from = tokens.size() - n;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const auto part = tokens.subspan(begin, std::min(chunk, tokens.size() - begin));
    const size_t logits_from = wanted_from > begin ? wanted_from - begin : 0;
    const Batch batch = MakeBatch(part, logits_from);
    QUIRE_ASSIGN_OR_RETURN(const TensorView logits, runner_.Run(batch));
    QUIRE_ASSIGN_OR_RETURN(const std::span<const float> values, runner_.HostLogits(logits));
    length_ += static_cast<int32_t>(part.size());
    const auto vocabulary = static_cast<size_t>(logits.dim(1));
    for (size_t first = 0; first < values.size(); first += vocabulary) {
      const auto row = values.subspan(first, vocabulary);
      out.emplace_back(row.begin(), row.end());
    }
  }
  return out;
}

int32_t ArgMax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double NegativeLogLikelihood(std::span<const float> logits, int32_t token) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(static_cast<double>(logit) - max);
  }
  return max + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

Result<double> Perplexity(ModelRunner& runner, std::span<const int32_t> tokens,
                          int32_t first_token) {
  constexpr size_t kChunk = 512;
  constexpr size_t kScored = kChunk / 2;
  SequenceRunner sequence(runner);
  double total = 0;
  size_t count = 0;
  for (size_t begin = 0; begin + kChunk <= tokens.size(); begin += kChunk) {
    std::vector<int32_t> chunk(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                               tokens.begin() + static_cast<std::ptrdiff_t>(begin + kChunk));
    if (first_token >= 0) {
      chunk.front() = first_token;
    }
    sequence.Reset();
    QUIRE_ASSIGN_OR_RETURN(const auto logits, sequence.Append(chunk, kScored));
    for (size_t i = 0; i + 1 < kScored; ++i) {
      total += NegativeLogLikelihood(logits[i], chunk[kChunk - kScored + i + 1]);
      ++count;
    }
  }
  if (count == 0) {
    return InvalidArgument("perplexity: ", tokens.size(), " tokens are fewer than a chunk of ",
                           kChunk);
  }
  return std::exp(total / static_cast<double>(count));
}

}  // namespace quire
