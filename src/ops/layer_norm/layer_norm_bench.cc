#include "ops/layer_norm/layer_norm_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::layer_norm {
namespace {

const bool kRegistered = RegisterRowBenchmarks<Problem>("layer_norm", BenchmarkCases(),
                                                        ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::layer_norm
