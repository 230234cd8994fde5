// What row-wise CPU kernels share: the choice by instruction set and the cut of rows over threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/implementation.h"
#include "platform/cpu/cpu_device.h"

namespace quire::ops {

// For Implementation::accepts: whether the context's device may run kernels of kIsa.
template <CpuIsa kIsa, typename Args>
bool DeviceHas(const OpContext& context, const Args&) {
  return AsCpuStream(context.stream).isa() >= kIsa;
}

// Waking the threads and waiting for them costs a microsecond or two: less work than this is done
// sooner by the calling thread alone.
inline constexpr int64_t kInlineElements = 32 * 1024;

// Calls body(begin, end) over disjoint ranges that cover the rows [0, rows). The cut depends on the
// number of threads, so a row's result must not depend on its neighbours.
template <typename Body>
void ForRowRanges(const OpContext& context, int64_t rows, int64_t row_elements, const Body& body) {
  if (rows == 0) {
    return;
  }
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  if (rows == 1 || threads.size() == 1 || rows * row_elements <= kInlineElements) {
    body(int64_t{0}, rows);
    return;
  }
  const int64_t tasks = std::min<int64_t>(rows, 4 * threads.size());
  threads.ParallelFor(
      tasks, [&](int64_t task, int) { body(rows * task / tasks, rows * (task + 1) / tasks); });
}

}  // namespace quire::ops
