// What row-wise CPU kernels share: the choice by instruction set and type, and the cut of rows over
// threads.
//
// A row kernel is a struct, usually a template over the types of its arrays,
//
//   template <typename X>
//   struct CopyRows {
//     struct Job { const X* x; X* out; int64_t elements; };
//     template <int kLanes>
//     [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end);
//   };
//
// which RunRows<kIsa, CopyRows<X>>() runs with the lanes of an instruction set, and the operator is
// a struct whose static Run<kIsa>() picks the kernel:
//
//   struct Copy {
//     template <CpuIsa kIsa>
//     static Status Run(const OpContext& context, const Args& args) {
//       WithRowType(args.x.dtype(), [&](auto x) {
//         RunRows<kIsa, CopyRows<decltype(x)>>(context, rows, elements, {...});
//       });
//       return OkStatus();
//     }
//   };
//   Implementations CpuImplementations() { return RowImplementations<Copy, Args>(); }
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/implementation.h"
#include "ops/lanes.h"
#include "platform/cpu/cpu_device.h"
#include "platform/cpu/isa_targets.h"
#include "tensor/element.h"

namespace quire::ops {

// For Implementation::accepts: whether the context's device may run kernels of kIsa.
template <CpuIsa kIsa, typename Args>
bool DeviceHas(const OpContext& context, const Args&) {
  return AsCpuStream(context.stream).isa() >= kIsa;
}

// A kernel, a struct with a template Run over the lanes, as a function of each instruction set.
template <typename Kernel, typename Result, typename... Args>
Result AtBaseline(Args... args) {
  return Kernel::template Run<kBaselineLanes>(args...);
}

#if QUIRE_HAVE_X86
QUIRE_BEGIN_AVX2
template <typename Kernel, typename Result, typename... Args>
Result AtAvx2(Args... args) {
  return Kernel::template Run<kAvx2Lanes>(args...);
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
template <typename Kernel, typename Result, typename... Args>
Result AtAvx512(Args... args) {
  return Kernel::template Run<kAvx512Lanes>(args...);
}
QUIRE_END_TARGET
#endif

// The function of `isa`; the second argument only tells its type. REQUIRES: the machine has `isa`,
// if the function is called.
template <typename Kernel, typename Result, typename... Args>
auto KernelAt(CpuIsa isa, Result (*)(Args...)) -> Result (*)(Args...) {
#if QUIRE_HAVE_X86
  switch (isa) {
    case CpuIsa::kAvx512: return AtAvx512<Kernel, Result, Args...>;
    case CpuIsa::kAvx2: return AtAvx2<Kernel, Result, Args...>;
    default: break;
  }
#endif
  QUIRE_CHECK(isa == CpuIsa::kBaseline) << CpuIsaName(isa);
  return AtBaseline<Kernel, Result, Args...>;
}

template <typename Function, typename Kernel>
Function KernelOf(CpuIsa isa) {
  return KernelAt<Kernel>(isa, Function{});
}

// Waking the threads and waiting for them costs a microsecond or two: less work than this is done
// sooner by the calling thread alone.
inline constexpr int64_t kInlineElements = 8 * 1024;

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

// Runs a kernel over all rows. `row_cost` is the work of a row in the time of copying an element.
template <CpuIsa kIsa, typename Kernel>
void RunRows(const OpContext& context, int64_t rows, int64_t row_cost,
             const typename Kernel::Job& job) {
  using Function = void (*)(const typename Kernel::Job&, int64_t, int64_t);
  ForRowRanges(context, rows, row_cost, [&](int64_t begin, int64_t end) {
    KernelOf<Function, Kernel>(kIsa)(job, begin, end);
  });
}

// The implementations of a row-wise operator, best first: Op::Run at every width.
template <typename Op, typename Args>
ImplementationList<Args> RowImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, Op::template Run<CpuIsa::kAvx512>},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, Op::template Run<CpuIsa::kAvx2>},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, Op::template Run<CpuIsa::kBaseline>},
  };
}

// Calls body(X{}) with the type that stores `dtype`. REQUIRES: f32, f16 or bf16.
template <typename Body>
void WithRowType(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kF16: return body(Half{});
    case DType::kBF16: return body(BFloat16{});
    default: QUIRE_CHECK(dtype == DType::kF32) << InfoOf(dtype).name; return body(float{});
  }
}

// Calls body(X{}, W{}) for rows of type X and weights of type W. REQUIRES: `weight` is f32 or `x`.
template <typename Body>
void WithRowTypes(DType x, DType weight, const Body& body) {
  WithRowType(x, [&](auto element) {
    if (weight == DType::kF32) {
      body(element, float{});
    } else {
      body(element, element);
    }
  });
}

}  // namespace quire::ops
