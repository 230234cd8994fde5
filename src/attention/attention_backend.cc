#include "attention/attention_backend.h"

#include <array>

#include "attention/paged/paged_cpu.h"

namespace quire {

namespace {

struct KnownBackend {
  std::string_view name;
  PlatformKind platform;
  // What of a model or an option the backend cannot do, saying what it can.
  Status (*supports)(int32_t head_dim, int32_t page_size, DType dtype);
  std::unique_ptr<AttentionBackend> (*make)();
};

// Best first within a platform.
constexpr std::array kBackends = {
    KnownBackend{kPagedCpuName, PlatformKind::kCpu, PagedCpuSupports, MakePagedCpu},
};

std::string KnownNames() {
  std::string names = "auto";
  for (const KnownBackend& backend : kBackends) {
    names += StrCat(", ", backend.name);
  }
  return names;
}

}  // namespace

Result<std::unique_ptr<AttentionBackend>> ChooseAttentionBackend(std::string_view name,
                                                                 PlatformKind platform,
                                                                 int32_t head_dim,
                                                                 int32_t page_size, DType dtype,
                                                                 std::string& reason) {
  const bool automatic = name == "auto";
  Status refusal = Unsupported("no attention backend runs on platform ", PlatformName(platform));
  bool known = automatic;
  for (const KnownBackend& backend : kBackends) {
    if (!automatic && backend.name != name) {
      continue;
    }
    known = true;
    if (backend.platform != platform) {
      if (!automatic) {
        return Unsupported("attention backend '", name, "' runs on platform ",
                           PlatformName(backend.platform), ", not ", PlatformName(platform));
      }
      continue;
    }
    if (Status status = backend.supports(head_dim, page_size, dtype); !status.ok()) {
      refusal = status.WithContext(StrCat("attention backend '", backend.name, "'"));
      continue;
    }
    reason = StrCat(automatic ? "the best on " : "asked for by name on ", PlatformName(platform),
                    " for head size ", head_dim, ", page size ", page_size, ", ",
                    InfoOf(dtype).name, " cache");
    return backend.make();
  }
  if (!known) {
    return NotFound("no attention backend is named '", name, "'; use one of ", KnownNames());
  }
  return refusal;
}

}  // namespace quire
