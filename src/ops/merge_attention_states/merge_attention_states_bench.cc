#include "ops/merge_attention_states/merge_attention_states_cases.h"
#include "ops/row_benchmark.h"

namespace quire::ops::merge_attention_states {
namespace {

const bool kRegistered = RegisterRowBenchmarks<Problem>("merge_attention_states", BenchmarkCases(),
                                                        ImplementationsOf(PlatformKind::kCpu));

}  // namespace
}  // namespace quire::ops::merge_attention_states
