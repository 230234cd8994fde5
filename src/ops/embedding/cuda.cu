#include "ops/cuda_rows.cuh"
#include "ops/embedding/cuda_blocks.cuh"
#include "ops/embedding/token_ids.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::embedding {

namespace {

constexpr int kThreads = 128;
constexpr int kPack = 8;  // elements at a time; divides those of every kind of block

// Packs of a thread, all on their way at a time. Blocks are more work than their bytes are wait.
template <typename Table>
constexpr int kPacksOf = kIsBlock<Table> ? 1 : 4;

template <typename Out>
struct Job {
  const uint8_t* table;
  const void* ids;
  bool wide_ids;  // i64, else i32
  const int32_t* drawn;
  int64_t num_drawn;
  int64_t row_bytes;  // from one row of the table to the next
  int64_t vocabulary;
  int64_t elements;
  Out* out;
  int64_t out_stride;
  float scale;
};

template <typename Table, typename Out>
__device__ Pack<Out, kPack> Scaled(const Pack<Table, kPack>& pack, float scale) {
  if constexpr (std::is_same_v<Table, Out>) {
    if (scale == 1.0f) {  // a NaN keeps its payload
      return pack;
    }
  }
  Pack<Out, kPack> out;
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    Narrow(__fmul_rn(Widen(pack.values[i]), scale), out.values[i]);
  }
  return out;
}

// The packs of this thread from `first` on of a row of the table, zeros where the row is null.
template <typename Table, bool kWhole, typename Out>
__device__ void TakePacks(const Job<Out>& job, const uint8_t* row, int64_t first,
                          Pack<Out, kPack> (&packs)[kPacksOf<Table>]) {
  constexpr int kPacks = kPacksOf<Table>;
  if constexpr (kIsBlock<Table>) {
#pragma unroll
    for (int i = 0; i < kPack * kPacks; ++i) {
      const int64_t at = first + i / kPack * kThreads * kPack + i % kPack;
      const bool inside = row != nullptr && at < job.elements;
      const float value = inside ? ElementOf<Table>(row, at) : 0.0f;
      Narrow(__fmul_rn(value, job.scale), packs[i / kPack].values[i % kPack]);
    }
  } else {
    Pack<Table, kPack> loaded[kPacks] = {};
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      if (const int64_t at = first + i * kThreads * kPack; row != nullptr && at < job.elements) {
        loaded[i] = LoadPack<kWhole, kPack>(reinterpret_cast<const Table*>(row), at, job.elements);
      }
    }
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
      packs[i] = Scaled<Table, Out>(loaded[i], job.scale);
    }
  }
}

// Of row `token`; not that of a row of the table if it names none.
template <typename Out>
__device__ int64_t IdOf(const Job<Out>& job, int64_t token) {
  const int64_t id = job.wide_ids ? static_cast<const int64_t*>(job.ids)[token]
                                  : static_cast<const int32_t*>(job.ids)[token];
  return id < 0 && -1 - id < job.num_drawn ? job.drawn[-1 - id] : id;
}

template <typename Table, typename Out, bool kWhole>
__global__ void __launch_bounds__(kThreads) TakeRows(Job<Out> job) {
  const int64_t token = blockIdx.x;
  const int64_t id = IdOf(job, token);
  const bool known = id >= 0 && id < job.vocabulary;
  Out* out = job.out + token * job.out_stride;
  constexpr int kPacks = kPacksOf<Table>;
  const int64_t first = (int64_t{blockIdx.y} * kPacks * kThreads + threadIdx.x) * kPack;
  Pack<Out, kPack> packs[kPacks];
  TakePacks<Table, kWhole>(job, known ? job.table + id * job.row_bytes : nullptr, first, packs);
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (const int64_t at = first + i * kThreads * kPack; at < job.elements) {
      StorePack<kWhole>(packs[i], out, at, job.elements);
    }
  }
}

Status RunTakeRows(const OpContext& context, const Args& args) {
  const int64_t tokens = args.out.dim(0);
  const int64_t elements = args.out.dim(1);
  if (tokens == 0 || elements == 0) {
    return OkStatus();
  }
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const bool aligned = (IsQuantized(args.table.dtype()) || IsAligned(args.table)) &&
                       IsAligned(args.out) && elements % kPack == 0;
  WithPlainType(args.out.dtype(), [&](auto type) {
    using Out = decltype(type);
    const Job<Out> job = {.table = static_cast<const uint8_t*>(args.table.data()),
                          .ids = args.ids.data(),
                          .wide_ids = args.ids.dtype() == DType::kI64,
                          .drawn = IsGiven(args.drawn) ? args.drawn.as<int32_t>() : nullptr,
                          .num_drawn = IsGiven(args.drawn) ? args.drawn.dim(0) : 0,
                          .row_bytes = BytesOf(args.table.dtype(), args.table.stride(0)),
                          .vocabulary = args.table.dim(0),
                          .elements = elements,
                          .out = args.out.as<Out>(),
                          .out_stride = args.out.stride(0),
                          .scale = args.scale};
    WithTableType(args.table.dtype(), [&](auto table) {
      constexpr int64_t kElements = int64_t{kThreads} * kPack * kPacksOf<decltype(table)>;
      const dim3 blocks(static_cast<unsigned>(tokens),
                        static_cast<unsigned>((elements + kElements - 1) / kElements));
      WithConstant(aligned, [&](auto whole) {
        TakeRows<decltype(table), Out, whole.value><<<blocks, kThreads, 0, stream>>>(job);
      });
    });
  });
  return LaunchStatus("embedding");
}

}  // namespace

Implementations CudaImplementations() {
  return {{"take_rows", [](const OpContext&, const Args&) { return true; }, RunTakeRows,
           "f32, f16, bf16; tables of these and q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k"}};
}

}  // namespace quire::ops::embedding
