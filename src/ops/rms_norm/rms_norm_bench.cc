#include "ops/rms_norm/rms_norm_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::rms_norm {
namespace {

const bool kRegistered = RegisterRowBenchmarks<Problem>("rms_norm", BenchmarkCases(),
                                                        ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::rms_norm
