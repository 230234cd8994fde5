#include "attention/known_backends.h"
#include "attention/paged/paged_cpu.h"

namespace quire {

std::vector<KnownBackend> CpuAttentionBackends() {
  return {{kPagedCpuName,
           [](const AttentionProblem& problem) -> Result<std::string> {
             QUIRE_RETURN_IF_ERROR(PagedSupports(problem));
             return std::string();
           },
           [](const AttentionProblem&) { return MakePagedCpu(); }}};
}

}  // namespace quire
