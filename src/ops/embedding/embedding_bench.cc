#include "ops/embedding/embedding_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::embedding {
namespace {

const bool kRegistered = RegisterRowBenchmarks<Problem>("embedding", BenchmarkCases(),
                                                        ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::embedding
