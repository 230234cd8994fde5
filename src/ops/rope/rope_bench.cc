#include "ops/rope/rope_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::rope {
namespace {

const bool kRegistered =
    RegisterRowBenchmarks<Problem>("rope", BenchmarkCases(), ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::rope
