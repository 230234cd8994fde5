// The backend of the CPU platform: paged attention over any page size, head by head.
#pragma once

#include <memory>

#include "attention/attention_backend.h"

namespace quire {

inline constexpr std::string_view kPagedCpuName = "paged_cpu";

// Whether paged attention serves the problem on the CPU, and anywhere. Errors: unsupported (a head
// size that is not a multiple of 16 up to 512, a page size that KvLayout does not have, a cache
// other than f32, f16, bf16 and f8e4m3).
Status PagedSupports(const AttentionProblem& problem);

std::unique_ptr<AttentionBackend> MakePagedCpu();

}  // namespace quire
