// The backends that this build has. Each platform lists its own, best first, in
// <platform>_backends.cc; CMake joins the lists (cmake/quire_attention.cmake).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "attention/attention_backend.h"

namespace quire {

struct KnownBackend {
  std::string_view name;
  // For the log, by which kernels the backend runs the problem, or "". Errors: unsupported, saying
  // what the backend can do.
  Result<std::string> (*supports)(const AttentionProblem& problem);
  std::unique_ptr<AttentionBackend> (*make)(const AttentionProblem& problem);
};

struct PlatformBackends {
  PlatformKind platform;
  std::vector<KnownBackend> backends;
};

std::vector<PlatformBackends> AllAttentionBackends();

}  // namespace quire
