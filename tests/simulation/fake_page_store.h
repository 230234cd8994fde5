// FakePageStore: a tier's slots for the pages of a FakeModel, of which some copies fail.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv_cache/page_store.h"
#include "simulation/dice.h"
#include "simulation/fake_model.h"

namespace quire {

// Its failures are drawn from the seed and the number of copies before, so that a seed replays.
class FakePageStore final : public PageStore {
 public:
  FakePageStore(FakeModel& model, int32_t num_slots, uint64_t seed, double failure_rate)
      : model_(model),
        slots_(static_cast<size_t>(num_slots)),
        seed_(seed),
        failure_rate_(failure_rate) {}

  int32_t num_slots() const override { return static_cast<int32_t>(slots_.size()); }

  Status Put(int32_t page, int32_t slot) override {
    if (Fails()) {
      return ResourceExhausted("slot ", slot, " is full");
    }
    const std::span<FakeSlot> content = model_.Page(page);
    slots_[static_cast<size_t>(slot)].assign(content.begin(), content.end());
    return OkStatus();
  }

  Status Get(int32_t slot, int32_t page) override {
    if (Fails()) {
      return CorruptData("slot ", slot, " is corrupt");
    }
    std::ranges::copy(slots_[static_cast<size_t>(slot)], model_.Page(page).begin());
    return OkStatus();
  }

 private:
  bool Fails() { return Dice(seed_, kAboutCopies, copies_++).Chance(failure_rate_); }

  static constexpr uint64_t kAboutCopies = 200;

  FakeModel& model_;
  std::vector<std::vector<FakeSlot>> slots_;
  uint64_t seed_;
  double failure_rate_;
  uint64_t copies_ = 0;
};

}  // namespace quire
