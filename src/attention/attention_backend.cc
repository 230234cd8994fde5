#include "attention/attention_backend.h"

#include "attention/known_backends.h"

namespace quire {

namespace {

std::string KnownNames(const std::vector<PlatformBackends>& all) {
  std::string names = "auto";
  for (const PlatformBackends& platform : all) {
    for (const KnownBackend& backend : platform.backends) {
      names += StrCat(", ", backend.name);
    }
  }
  return names;
}

std::string ReasonOf(bool automatic, const AttentionProblem& problem, std::string_view kernels) {
  return StrCat(automatic ? "the best on " : "asked for by name on ",
                PlatformName(problem.device->place().platform), " for head size ", problem.head_dim,
                ", page size ", problem.page_size, ", ", InfoOf(problem.cache_dtype).name, " cache",
                kernels.empty() ? "" : "; ", kernels);
}

}  // namespace

Result<std::unique_ptr<AttentionBackend>> ChooseAttentionBackend(std::string_view name,
                                                                 const AttentionProblem& problem,
                                                                 std::string& reason) {
  const PlatformKind platform = problem.device->place().platform;
  const std::vector<PlatformBackends> all = AllAttentionBackends();
  const bool automatic = name == "auto";
  Status refusal =
      automatic
          ? Unsupported("no attention backend runs on platform ", PlatformName(platform))
          : NotFound("no attention backend is named '", name, "'; use one of ", KnownNames(all));
  for (const PlatformBackends& of : all) {
    for (const KnownBackend& backend : of.backends) {
      if ((automatic && of.platform != platform) || (!automatic && backend.name != name)) {
        continue;
      }
      if (of.platform != platform) {
        return Unsupported("attention backend '", name, "' runs on platform ",
                           PlatformName(of.platform), ", not ", PlatformName(platform));
      }
      const Result<std::string> kernels = backend.supports(problem);
      if (kernels.ok()) {
        reason = ReasonOf(automatic, problem, *kernels);
        return backend.make(problem);
      }
      refusal = kernels.status().WithContext(StrCat("attention backend '", backend.name, "'"));
    }
  }
  return refusal;
}

}  // namespace quire
