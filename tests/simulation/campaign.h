// Campaign: many simulations in processes of their own, so that a failed check, which ends a
// process, is found and made small as well.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "simulation/simulation.h"

namespace quire {

struct CampaignResult {
  Outcome total;
  std::optional<SimulationCase> failed;  // as small as it could be made
  std::string error;                     // of that one
};

// Simulates the seeds from `first_seed` on, in `processes` processes, for `steps` steps in all.
CampaignResult RunCampaign(uint64_t first_seed, int64_t steps, int processes);

// Less of `failing` for which `fails` is still true: it stops earlier, has fewer requests, shorter
// prompts and outputs.
SimulationCase Shrink(SimulationCase failing,
                      const std::function<bool(const SimulationCase&)>& fails);

}  // namespace quire
