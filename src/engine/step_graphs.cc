#include "engine/step_graphs.h"

namespace quire {

namespace {

// Each batch size has its own, and a new one when the longest sequence has twice the pages.
constexpr size_t kMostEntries = 1024;

}  // namespace

StepGraphs::Entry& StepGraphs::Find(const StepKey& key) {
  if (entries_.size() >= kMostEntries && !entries_.contains(key)) {
    entries_.clear();
  }
  return entries_[key];
}

}  // namespace quire
