// PrefixFollowers: waiting requests whose next page another request is computing right now.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "scheduler/request.h"

namespace quire {

// A follower begins with tokens that its leader, a running request, is about to compute. Instead of
// computing them as well it waits here, costing nothing, until the leader has published them or
// runs no more. All calls but Remove are O(1) for each follower concerned. One thread at a time.
class PrefixFollowers {
 public:
  // `follower` waits until `leader` has computed `tokens` tokens. REQUIRES: it waits for nobody.
  void Add(Request& follower, const Request& leader, int32_t tokens);

  // Takes out and returns, in the order of their Add, those that need wait for `leader` no longer:
  // it has computed their tokens, or it runs no more.
  std::vector<Request*> Release(const Request& leader);

  // Takes `follower` out; false if it is not in here. Linear in the followers of its leader.
  bool Remove(const Request& follower);

  int32_t size() const { return static_cast<int32_t>(leader_of_.size()); }

 private:
  struct Entry {
    Request* follower;
    int32_t tokens;
  };
  std::unordered_map<uint64_t, std::vector<Entry>> followers_;  // by the leader's id
  std::unordered_map<uint64_t, uint64_t> leader_of_;            // by the follower's id
};

}  // namespace quire
