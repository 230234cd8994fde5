// Rows of a plain type are converted as they are read, or copied; rows of a quantized type are
// dequantized to fp32 in pieces that stay in the first cache.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "ops/cpu_rows.h"
#include "ops/embedding/token_ids.h"
#include "tensor/block_formats.h"

namespace quire::ops::embedding {

namespace {

constexpr int64_t kPiece = 1024;  // elements; whole blocks of every format

template <typename Row, typename Out>
struct ReadRows {
  struct Job {
    const std::byte* table;
    TokenIds ids;
    Out* out;
    DType dtype;
    int64_t row_bytes;
    int64_t out_stride;  // elements
    int64_t elements;
    float scale;
  };

  template <int kLanes>
  [[gnu::always_inline]] static inline void Convert(const Row* row, int64_t elements, float scale,
                                                    Out* out) {
    typename Lanes<kLanes>::Float v;
    int64_t i = 0;
    for (; i + kLanes <= elements; i += kLanes) {
      LoadLanes<kLanes>(row + i, v);
      StoreLanes<kLanes>(v * scale, out + i);
    }
    for (; i < elements; ++i) {
      FromFloat(ToFloat(row[i]) * scale, out[i]);
    }
  }

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const std::byte* row = job.table + job.ids[t] * job.row_bytes;
      Out* out = job.out + t * job.out_stride;
      if (std::is_same_v<Row, Out> && job.scale == 1.0f) {
        std::memcpy(out, row, static_cast<size_t>(job.elements) * sizeof(Out));
      } else {
        Convert<kLanes>(reinterpret_cast<const Row*>(row), job.elements, job.scale, out);
      }
    }
  }
};

template <typename Out>
struct ReadQuantizedRows {
  using Job = typename ReadRows<float, Out>::Job;

  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const Job& job, int64_t begin, int64_t end) {
    float values[kPiece];
    for (int64_t t = begin; t < end; ++t) {
      const std::byte* row = job.table + job.ids[t] * job.row_bytes;
      Out* out = job.out + t * job.out_stride;
      for (int64_t start = 0; start < job.elements; start += kPiece) {
        const int64_t count = std::min(job.elements - start, kPiece);
        DequantizeRow(job.dtype, row + BytesOf(job.dtype, start), count, values);
        ReadRows<float, Out>::template Convert<kLanes>(values, count, job.scale, out + start);
      }
    }
  }
};

struct Embedding {
  template <CpuIsa kIsa, typename Kernel, typename Out>
  static void RunAs(const OpContext& context, const Args& args) {
    RunRows<kIsa, Kernel>(context, args.out.dim(0), args.out.dim(1),
                          {.table = static_cast<const std::byte*>(args.table.data()),
                           .ids = TokenIds(args),
                           .out = args.out.as<Out>(),
                           .dtype = args.table.dtype(),
                           .row_bytes = BytesOf(args.table.dtype(), args.table.stride(0)),
                           .out_stride = args.out.stride(0),
                           .elements = args.out.dim(1),
                           .scale = args.scale});
  }

  template <CpuIsa kIsa>
  static Status Run(const OpContext& context, const Args& args) {
    WithRowType(args.out.dtype(), [&](auto to) {
      using Out = decltype(to);
      if (IsQuantized(args.table.dtype())) {
        return RunAs<kIsa, ReadQuantizedRows<Out>, Out>(context, args);
      }
      WithRowType(args.table.dtype(), [&](auto from) {
        RunAs<kIsa, ReadRows<decltype(from), Out>, Out>(context, args);
      });
    });
    return OkStatus();
  }
};

}  // namespace

Implementations CpuImplementations() {
  return RowImplementations<Embedding, Args>();
}

}  // namespace quire::ops::embedding
