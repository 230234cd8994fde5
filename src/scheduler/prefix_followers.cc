#include "scheduler/prefix_followers.h"

#include <algorithm>

#include "base/check.h"

namespace quire {

void PrefixFollowers::Add(Request& follower, const Request& leader, int32_t tokens) {
  const bool added = leader_of_.emplace(follower.id(), leader.id()).second;
  QUIRE_CHECK(added) << "request " << follower.id() << " follows two others";
  followers_[leader.id()].push_back({&follower, tokens});
}

std::vector<Request*> PrefixFollowers::Release(const Request& leader) {
  std::vector<Request*> released;
  const auto found = followers_.find(leader.id());
  if (found == followers_.end()) {
    return released;
  }
  const int32_t computed = leader.state() == RequestState::kRunning ? leader.computed() : -1;
  std::erase_if(found->second, [&](const Entry& entry) {
    const bool done = computed < 0 || computed >= entry.tokens;
    if (done) {
      released.push_back(entry.follower);
      leader_of_.erase(entry.follower->id());
    }
    return done;
  });
  if (found->second.empty()) {
    followers_.erase(found);
  }
  return released;
}

bool PrefixFollowers::Remove(const Request& follower) {
  const auto leader = leader_of_.find(follower.id());
  if (leader == leader_of_.end()) {
    return false;
  }
  const auto found = followers_.find(leader->second);
  std::erase_if(found->second, [&](const Entry& entry) { return entry.follower == &follower; });
  if (found->second.empty()) {
    followers_.erase(found);
  }
  leader_of_.erase(leader);
  return true;
}

}  // namespace quire
