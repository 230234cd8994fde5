// EvictionPolicy: which cached pages go first when new ones are needed.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <memory>

namespace quire {

// What is known of the use of a piece of history. Times are ticks of whatever clock the caller has;
// the cache has none.
struct PageUse {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  uint64_t last_use = 0;     // a counter: larger is later
  uint64_t uses = 0;         // sequences that came to end here or behind it
  int32_t priority = 0;      // larger stays longer
  int64_t expires = kNever;  // the tick from which the priority is 0 again

  // The priority as it is at `now`.
  void ExpireAt(int64_t now);
  // Takes in the use of what was behind: used as lately, as often in all, as important as either.
  void Merge(const PageUse& other, int64_t now);
};

// Smaller goes first.
struct EvictionRank {
  int64_t first = 0;
  uint64_t then = 0;
  auto operator<=>(const EvictionRank&) const = default;
};

// Ranks what may go. A rank holds until the piece is used again or what was behind it went.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual EvictionRank RankOf(const PageUse& use) const = 0;
  // The piece of that rank goes.
  virtual void Evicted(const EvictionRank&) {}
};

enum class EvictionKind : uint8_t {
  kLru,       // least recently used
  kLfu,       // least frequently used, with aging
  kPriority,  // lowest priority that has not expired, among equals the least recently used
};

std::unique_ptr<EvictionPolicy> MakeEvictionPolicy(EvictionKind kind);

// The policies, each in a file of its name.
std::unique_ptr<EvictionPolicy> MakeLruEviction();
std::unique_ptr<EvictionPolicy> MakeLfuEviction();
std::unique_ptr<EvictionPolicy> MakePriorityEviction();

}  // namespace quire
