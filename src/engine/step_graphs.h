// StepGraphs: the graphs of the steps that come again and again, as decode steps do.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>

#include "base/status.h"
#include "platform/device.h"

namespace quire {

// What makes two steps enqueue the same work on the same addresses.
struct StepKey {
  int64_t tokens = 0;
  int64_t sequences = 0;
  int64_t logit_rows = 0;
  int64_t max_pages = 0;         // of a row of the page table
  uint64_t attention = 0;        // AttentionBackend::LaunchKey
  const void* inputs = nullptr;  // where the step's arrays lie
  const void* logits = nullptr;  // and its result

  auto operator<=>(const StepKey&) const = default;
};

// One thread at a time.
class StepGraphs {
 public:
  // Enqueues a step of `key` on `stream`: by its graph if there is one, else by calling `enqueue`,
  // the second time under capture. A step that cannot be captured is enqueued each time. Errors:
  // those of `enqueue` and of Graph::Replay.
  template <typename Enqueue>
  Status Run(const StepKey& key, Stream& stream, const Enqueue& enqueue) {
    Entry& entry = Find(key);
    if (entry.runs == 1) {
      if (auto graph = stream.Capture(enqueue); graph.ok()) {
        entry.graph = *std::move(graph);
      }
    }
    ++entry.runs;
    return entry.graph != nullptr ? entry.graph->Replay(stream) : enqueue();
  }

  // Steps that have a graph.
  int64_t recorded() const {
    return std::count_if(entries_.begin(), entries_.end(),
                         [](const auto& entry) { return entry.second.graph != nullptr; });
  }

 private:
  struct Entry {
    int64_t runs = 0;
    std::unique_ptr<Graph> graph;
  };

  // The key's entry, after forgetting all when there are too many.
  Entry& Find(const StepKey& key);

  std::map<StepKey, Entry> entries_;
};

}  // namespace quire
