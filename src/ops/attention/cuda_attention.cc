#include "ops/attention/cuda_attention.h"

#include "ops/attention/cuda_general.h"
#include "ops/attention/split_kv/cuda_split_kv.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::attention::cuda {

bool TakesUniform(const Problem& problem) {
  return WhyNotSplitKv(problem).empty();
}

Status RunUniform(const OpContext& context, const Problem& problem) {
  const int64_t rows = problem.query_start == nullptr ? 1 : problem.num_rows;
  const int64_t keys =
      problem.paged() ? int64_t{problem.max_pages} * problem.page_size : problem.num_keys;
  SplitKvSchedule schedule = UniformSchedule(problem, rows, keys);
  const Workspace::Scope scope(context.workspace);
  schedule.partial_data = context.workspace.Allocate<float>(static_cast<size_t>(
      PartialFloats(problem.kv_heads, problem.key_dim, schedule.partials, schedule.tile_rows)));
  return RunSplitKv(problem, schedule, AsCudaStream(context.stream).handle());
}

Status RunAnything(const OpContext& context, const Problem& problem) {
  return RunGeneral(problem, AsCudaStream(context.stream).handle());
}

}  // namespace quire::ops::attention::cuda
