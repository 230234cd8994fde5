#include "ops/gather_last_rows/gather_last_rows_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::gather_last_rows {
namespace {

const bool kRegistered = RegisterRowBenchmarks<Problem>("gather_last_rows", BenchmarkCases(),
                                                        ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::gather_last_rows
