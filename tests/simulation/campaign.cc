#include "simulation/campaign.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/check.h"

namespace quire {

namespace {

constexpr unsigned kCaseSeconds = 60;  // a case that runs longer has failed

// What a process tells of its work, in memory that it shares with its parent.
struct Report {
  uint64_t seed;
  Outcome total;
  char error[500];
};

class SharedReports {
 public:
  explicit SharedReports(int count) : bytes_(sizeof(Report) * static_cast<size_t>(count)) {
    void* memory =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    QUIRE_CHECK(memory != MAP_FAILED);
    reports_ = static_cast<Report*>(memory);
  }
  ~SharedReports() { ::munmap(reports_, bytes_); }
  SharedReports(const SharedReports&) = delete;
  SharedReports& operator=(const SharedReports&) = delete;
  Report& operator[](int i) { return reports_[i]; }

 private:
  size_t bytes_;
  Report* reports_;
};

// Runs `body` in a process of its own, which ends with it.
template <typename Body>
pid_t Fork(const Body& body) {
  const pid_t process = ::fork();
  QUIRE_CHECK(process >= 0) << "cannot start a process";
  if (process == 0) {
    body();
    ::_exit(0);
  }
  return process;
}

bool EndsWell(pid_t process) {
  int status = 0;
  QUIRE_CHECK_EQ(::waitpid(process, &status, 0), process);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Until `steps` are made or one seed fails.
void RunSeeds(uint64_t seed, uint64_t stride, int64_t steps, Report& report) {
  for (; report.total.steps < steps; seed += stride) {
    report.seed = seed;
    ::alarm(kCaseSeconds);
    Simulation simulation({.seed = seed, .requests = std::nullopt});
    report.total.Add(simulation.Run());
    if (!simulation.error().empty()) {
      const size_t length = simulation.error().copy(report.error, sizeof(report.error) - 1);
      report.error[length] = 0;
      return;
    }
  }
}

bool Fails(const SimulationCase& simulated) {
  return !EndsWell(Fork([&] {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, STDERR_FILENO);
    ::alarm(kCaseSeconds);
    Simulation simulation(simulated);
    simulation.Run();
    ::_exit(simulation.error().empty() ? 0 : 1);
  }));
}

// The least value of `field` from 1 on with which it fails, if failing is monotonous in it; at
// worst the value that it has.
template <typename Number>
void ShrinkNumber(SimulationCase& failing, Number SimulationCase::* field, Number high,
                  const std::function<bool(const SimulationCase&)>& fails) {
  Number low = 0;
  SimulationCase trial = failing;
  for (high = std::min(high, failing.*field); low + 1 < high;) {
    trial.*field = low + (high - low) / 2;
    (fails(trial) ? high : low) = trial.*field;
  }
  trial.*field = high;
  if (fails(trial)) {
    failing = trial;
  }
}

// Delta debugging (Zeller, 1999) in its simplest form: leaves out runs of requests, ever shorter
// ones.
void ShrinkRequests(SimulationCase& failing,
                    const std::function<bool(const SimulationCase&)>& fails) {
  if (!failing.requests) {
    failing.requests.emplace(ScenarioOf(failing.seed).num_requests);
    std::iota(failing.requests->begin(), failing.requests->end(), 1);
  }
  for (size_t length = failing.requests->size(); length > 0; length /= 2) {
    for (size_t begin = 0; begin < failing.requests->size();) {
      SimulationCase trial = failing;
      const auto from = trial.requests->begin() + static_cast<std::ptrdiff_t>(begin);
      const size_t count = std::min(length, failing.requests->size() - begin);
      trial.requests->erase(from, from + static_cast<std::ptrdiff_t>(count));
      if (fails(trial)) {
        failing = std::move(trial);
      } else {
        begin += length;
      }
    }
  }
}

}  // namespace

SimulationCase Shrink(SimulationCase failing,
                      const std::function<bool(const SimulationCase&)>& fails) {
  constexpr int64_t kManySteps = 1 << 20;
  const Scenario scenario = ScenarioOf(failing.seed);
  for (std::string before; before != failing.Text();) {
    before = failing.Text();
    ShrinkNumber(failing, &SimulationCase::steps, kManySteps, fails);
    ShrinkRequests(failing, fails);
    ShrinkNumber(failing, &SimulationCase::longest_prompt, scenario.longest_prompt, fails);
    ShrinkNumber(failing, &SimulationCase::longest_output, scenario.longest_output, fails);
  }
  return failing;
}

CampaignResult RunCampaign(uint64_t first_seed, int64_t steps, int processes) {
  SharedReports reports(processes);
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    children.push_back(Fork([&] {
      RunSeeds(first_seed + static_cast<uint64_t>(i), static_cast<uint64_t>(processes),
               steps / processes, reports[i]);
    }));
  }
  CampaignResult result;
  for (int i = 0; i < processes; ++i) {
    const bool well = EndsWell(children[i]);
    result.total.Add(reports[i].total);
    if ((!well || reports[i].error[0] != 0) && !result.failed) {
      result.failed = SimulationCase{.seed = reports[i].seed, .requests = std::nullopt};
      result.error = well ? reports[i].error : "the process ended early; see above";
    }
  }
  if (result.failed) {
    result.failed = Shrink(*result.failed, Fails);
  }
  return result;
}

}  // namespace quire
