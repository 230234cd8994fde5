#include <algorithm>

#include "ops/cpu_rows.h"
#include "ops/topk_topp_sampling/cpu_row_sampler.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::ops::topk_topp_sampling {

namespace {

template <CpuIsa kIsa>
Status RunRows(const OpContext& context, const Args& args) {
  const int64_t rows = args.logits.dim(0);
  const int64_t vocabulary = args.logits.dim(1);
  if (rows == 0) {
    return OkStatus();
  }
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  const Workspace::Scope scope(context.workspace);
  auto* faults = context.workspace.Allocate<RowFault>(static_cast<size_t>(rows));
  const bool adjusts = std::any_of(args.params.begin(), args.params.end(),
                                   [](const SamplingParams& p) { return p.AdjustsLogits(); });
  const SamplerScratch* scratch =
      SamplerScratch::Allocate(context.workspace, threads.size(), vocabulary, adjusts);
  const auto logits_of = [&](int64_t row) {
    return args.logits.as<float>() + row * args.logits.stride(0);
  };
  const auto sample = [&](int64_t begin, int64_t end, int worker) {
    RowSampler sampler(RowScanOf(kIsa), scratch[worker]);
    for (int64_t row = begin; row < end; ++row) {
      sampler.ExpectNext(row + 1 < end ? logits_of(row + 1) : nullptr);
      faults[row] =
          sampler.Sample({logits_of(row), static_cast<size_t>(vocabulary)}, args.params[row],
                         HistoryOf(args, row), args.positions[row], args.out[row]);
    }
  };
  if (rows * vocabulary <= kInlineElements) {
    sample(0, rows, 0);
  } else {
    const int64_t tasks = std::min<int64_t>(rows, 4 * threads.size());
    threads.ParallelFor(tasks, [&](int64_t task, int worker) {
      sample(rows * task / tasks, rows * (task + 1) / tasks, worker);
    });
  }
  const RowFault* first =
      std::find_if(faults, faults + rows, [](RowFault fault) { return fault != RowFault::kNone; });
  return first == faults + rows ? OkStatus()
                                : FaultStatus("topk_topp_sampling", *first, first - faults);
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if defined(__x86_64__)
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunRows<CpuIsa::kAvx512>, "f32"},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunRows<CpuIsa::kAvx2>, "f32"},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, RunRows<CpuIsa::kBaseline>, "f32"},
  };
}

}  // namespace quire::ops::topk_topp_sampling
