// Workload: the requests of a simulation, each made from the seed and its own number alone.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "scheduler/request.h"
#include "simulation/scenario.h"

namespace quire {

// When something happens to a request: before the step is formed, or while it is in flight.
struct Moment {
  int64_t step = 0;
  bool in_flight = false;
  auto operator<=>(const Moment&) const = default;
};

class Workload {
 public:
  explicit Workload(const SimulationCase& simulated);

  const Scenario& scenario() const { return scenario_; }
  // The numbers of requests by the moment of their arrival and of their cancellation.
  const std::multimap<Moment, int32_t>& arrivals() const { return arrivals_; }
  const std::multimap<Moment, int32_t>& cancels() const { return cancels_; }

  // `histories`, by number, are the tokens of the requests so far: a prompt may continue one.
  RequestSpec SpecOf(int32_t number,
                     const std::map<int32_t, std::vector<int32_t>>& histories) const;

  bool Fails(int64_t step) const;
  bool Violates(int64_t step) const;
  // Is another formed while it is in flight?
  bool Overlaps(int64_t step) const;
  // Is the step ahead of it started before it ends?
  bool StartsEarly(int64_t step) const;
  // Does it run at the last moment, not when it is started?
  bool RunsLate(int64_t step) const;
  int64_t MsOf(int64_t step) const;  // that it takes

 private:
  std::vector<int32_t> PromptOf(int32_t number,
                                const std::map<int32_t, std::vector<int32_t>>& histories) const;

  SimulationCase case_;
  Scenario scenario_;
  std::multimap<Moment, int32_t> arrivals_;
  std::multimap<Moment, int32_t> cancels_;
};

}  // namespace quire
