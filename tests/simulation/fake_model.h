// FakeModel: stands in for a language model and its KV memory, so that a wrong page becomes a wrong
// token.
//
// Each slot holds what a real model's KV would depend on: the position, the token and a hash of all
// tokens before it. A step first writes all its slots, as every layer does, then reads each
// sequence's whole history through page_table and kv_length. The next token is a function of the
// history read, the seed and the draw's counter: a stale, shared, evicted, swapped or unwritten
// page changes it with near certainty.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"
#include "scheduler/step.h"
#include "simulation/dice.h"

namespace quire {

// The hash of a history that `before` hashes, with one more token.
inline uint64_t ExtendHistory(uint64_t before, int32_t position, int32_t token) {
  return MixHash(MixHash(before + 1, static_cast<uint32_t>(position)),
                 static_cast<uint32_t>(token));
}

// How a fake model draws.
struct Voice {
  int32_t vocabulary = 0;
  double monotony = 0;  // the share of tokens that follow from the last one alone
};

// What it draws after a history that ends with `last`.
inline int32_t DrawToken(const Voice& voice, uint64_t history, int32_t last, uint64_t seed,
                         int64_t draw) {
  const uint64_t hash = MixHash(MixHash(history, seed), static_cast<uint64_t>(draw));
  if (static_cast<double>(hash & 1023) < 1024 * voice.monotony) {
    return (last + 1) % std::min(voice.vocabulary, 5);
  }
  return static_cast<int32_t>((hash >> 10) % static_cast<uint64_t>(voice.vocabulary));
}

struct FakeSlot {
  static constexpr uint64_t kUnwritten = 0xDEADDEADDEADDEADu;

  int32_t position = -1;
  int32_t token = -1;
  uint64_t history = kUnwritten;  // of the tokens up to and with this one
};

class FakeModel {
 public:
  FakeModel(int32_t num_pages, int32_t page_size, Voice voice)
      : page_size_(page_size), voice_(voice), slots_(size_t(num_pages) * page_size) {}

  // One page's slots.
  std::span<FakeSlot> Page(int32_t page) {
    return std::span(slots_).subspan(size_t(page) * page_size_, page_size_);
  }

  void Copy(std::span<const PageCopy> copies) {
    for (const PageCopy& copy : copies) {
      std::ranges::copy(Page(copy.from), Page(copy.to).begin());
    }
  }

  // One token per logit row.
  std::vector<SampledToken> Run(const Step& step) {
    const Batch& batch = step.batch;
    for (int32_t row = 0; row < batch.num_tokens(); ++row) {
      At(batch.slot_mapping[row]) = {batch.positions[row], batch.tokens[row], FakeSlot::kUnwritten};
    }
    // As in a real layer no row may read what another sequence computes in the same step: the
    // hashes become visible at the end.
    std::vector<std::pair<int64_t, uint64_t>> computed;
    std::vector<uint64_t> history_of_row(batch.num_tokens());
    for (int32_t b = 0; b < batch.num_sequences(); ++b) {
      ReadSequence(batch, b, computed, history_of_row);
    }
    for (const auto& [slot, history] : computed) {
      At(slot).history = history;
    }
    std::vector<SampledToken> sampled(batch.logit_rows.size());
    for (size_t r = 0; r < sampled.size(); ++r) {
      const int32_t row = batch.logit_rows[r];
      sampled[r].token = DrawToken(voice_, history_of_row[row], batch.tokens[row],
                                   step.sampling[r].seed, step.sample_positions[r]);
    }
    return sampled;
  }

  // A step that broke off: its slots hold anything.
  void Spoil(const Step& step) {
    for (const int64_t slot : step.batch.slot_mapping) {
      At(slot) = {-7, -7, FakeSlot::kUnwritten};
    }
  }

 private:
  FakeSlot& At(int64_t slot) {
    QUIRE_CHECK_GE(slot, 0);
    QUIRE_CHECK_LT(slot, static_cast<int64_t>(slots_.size()));
    return slots_[slot];
  }

  void ReadSequence(const Batch& batch, int32_t b,
                    std::vector<std::pair<int64_t, uint64_t>>& computed,
                    std::vector<uint64_t>& history_of_row) {
    const int32_t first_row = batch.query_start[b];
    const int32_t old_tokens = batch.kv_length[b] - (batch.query_start[b + 1] - first_row);
    uint64_t history = 0;
    for (int32_t p = 0; p < batch.kv_length[b]; ++p) {
      const int64_t page = batch.page_table[size_t(b) * batch.max_pages + p / page_size_];
      const int64_t slot = page * page_size_ + p % page_size_;
      const FakeSlot& content = At(slot);
      history = ExtendHistory(history, content.position, content.token);
      if (p < old_tokens) {
        // Adds nothing if the slot was computed after this history.
        history += history ^ content.history;
      } else {
        computed.emplace_back(slot, history);
        history_of_row[first_row + p - old_tokens] = history;
      }
    }
  }

  int32_t page_size_;
  Voice voice_;
  std::vector<FakeSlot> slots_;
};

}  // namespace quire
