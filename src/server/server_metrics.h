// ServerMetrics: what the server counts, for /metrics. Plain numbers: only the I/O thread touches
// them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/engine_client.h"

namespace quire {

// Counts of observations up to each bound (the bound included), and beyond the last.
class Histogram {
 public:
  // `bounds` ascend.
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void Observe(double value);

  std::span<const double> bounds() const { return bounds_; }
  std::span<const uint64_t> counts() const { return counts_; }  // [bounds + 1], not cumulative
  uint64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  double sum_ = 0;
};

class ServerMetrics {
 public:
  ServerMetrics();

  // A request was answered, or given up (code 499).
  void CountRequest(std::string_view endpoint, int code, double seconds);

  Histogram time_to_first_token;  // seconds, per choice, from the request's arrival
  Histogram inter_token;          // seconds between two tokens of a choice

  // All in Prometheus' text format, with the engine's numbers. `state`: 1 for the engine's state.
  std::string Text(const EngineStats& engine, EngineState state) const;

 private:
  std::map<std::pair<std::string, int>, uint64_t> requests_;  // (endpoint, code)
  std::map<std::string, Histogram> latency_;                  // by endpoint
};

// "loading", "ready", "failed", "draining", "stopped"
std::string_view EngineStateName(EngineState state);

}  // namespace quire
