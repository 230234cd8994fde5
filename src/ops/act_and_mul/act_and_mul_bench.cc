#include "ops/act_and_mul/act_and_mul_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::act_and_mul {
namespace {

const bool kRegistered = RegisterRowBenchmarks<Problem>("act_and_mul", BenchmarkCases(),
                                                        ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::act_and_mul
