// SequenceSlots: things by KvSequenceId, found in O(1) without hashing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace quire {

// Names a sequence between StartSequence and Release; never used twice, never 0.
using KvSequenceId = int64_t;

// An id is a serial number, which no two share, and the slot that holds the value. Slots are used
// again, the last one that became empty first. References stay valid until their value is removed.
template <typename Value>
class SequenceSlots {
 public:
  KvSequenceId Add(Value value) {
    if (empty_.empty()) {
      empty_.push_back(slots_.size());
      slots_.emplace_back();
    }
    const size_t slot = empty_.back();
    empty_.pop_back();
    const auto id = static_cast<KvSequenceId>(slot) << kSerialBits | next_serial_++;
    slots_[slot] = {id, std::move(value)};
    return id;
  }

  // nullptr if there is none.
  const Value* Find(KvSequenceId id) const {
    const auto slot = static_cast<uint64_t>(id) >> kSerialBits;
    return id != 0 && slot < slots_.size() && slots_[slot].id == id ? &slots_[slot].value : nullptr;
  }

  // REQUIRES: Find(id) finds it.
  void Remove(KvSequenceId id) {
    const auto slot = static_cast<uint64_t>(id) >> kSerialBits;
    slots_[slot] = {};
    empty_.push_back(slot);
  }

  // Removes all; their ids are not used again.
  void Clear() {
    slots_.clear();
    empty_.clear();
  }

  int32_t size() const { return static_cast<int32_t>(slots_.size() - empty_.size()); }

  // Calls visit(id, value) for each, in the order of their slots.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Slot& slot : slots_) {
      if (slot.id != 0) {
        visit(slot.id, slot.value);
      }
    }
  }

 private:
  static constexpr int kSerialBits = 44;  // a million a second for half a year

  struct Slot {
    KvSequenceId id = 0;  // 0: empty
    Value value = {};
  };

  std::deque<Slot> slots_;
  std::vector<size_t> empty_;
  KvSequenceId next_serial_ = 1;
};

}  // namespace quire
