// Rows are cut into pieces, so that few long rows keep all threads busy too. All implementations
// write the same bits.
#include <algorithm>

#include "ops/cast/cast.h"
#include "ops/cpu_convert.h"
#include "ops/cpu_rows.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::cast {

namespace {

constexpr std::string_view kTypes = "f32, f16, bf16, f8e4m3";

constexpr int64_t kPieceElements = 16 * 1024;

struct Job {
  const std::byte* x;
  std::byte* out;
  int64_t rows;
  int64_t elements;     // of a row
  int64_t x_stride;     // bytes between rows
  int64_t out_stride;   // likewise
  int64_t x_element;    // bytes
  int64_t out_element;  // bytes
};

Job JobOf(const Args& args) {
  const TensorView& x = args.x;
  const TensorView& out = args.out;
  const bool contiguous = x.IsContiguous() && out.IsContiguous();
  return {.x = static_cast<const std::byte*>(x.data()),
          .out = static_cast<std::byte*>(out.data()),
          .rows = contiguous ? 1 : x.dim(0),
          .elements = contiguous ? x.shape().elements() : x.dim(1),
          .x_stride = BytesOf(x.dtype(), x.stride(0)),
          .out_stride = BytesOf(out.dtype(), out.stride(0)),
          .x_element = BytesOf(x.dtype(), 1),
          .out_element = BytesOf(out.dtype(), 1)};
}

// Calls convert(from, elements, to) for every piece.
template <typename Convert>
void ForPieces(const OpContext& context, const Job& job, const Convert& convert) {
  const int64_t row_pieces = (job.elements + kPieceElements - 1) / kPieceElements;
  const int64_t piece_elements = std::min(job.elements, kPieceElements);
  ForRowRanges(context, job.rows * row_pieces, piece_elements, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t row = piece / row_pieces;
      const int64_t first = piece % row_pieces * kPieceElements;
      convert(job.x + row * job.x_stride + first * job.x_element,
              std::min(kPieceElements, job.elements - first),
              job.out + row * job.out_stride + first * job.out_element);
    }
  });
}

template <CpuIsa kIsa>
Status RunPieces(const OpContext& context, const Args& args) {
  const Job job = JobOf(args);
  const DType from = args.x.dtype();
  const DType to = args.out.dtype();
  if (args.scale.defined()) {
    const float scale = *args.scale.as<float>();
    const ScaledConvertFunction multiply = MultiplierOf(kIsa, from, to);
    ForPieces(context, job, [=](const void* in, int64_t elements, void* out) {
      multiply(in, elements, scale, out);
    });
  } else {
    ForPieces(context, job, ConverterOf(kIsa, from, to));
  }
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunPieces<CpuIsa::kAvx512>, kTypes},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunPieces<CpuIsa::kAvx2>, kTypes},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, RunPieces<CpuIsa::kBaseline>, kTypes},
  };
}

}  // namespace quire::ops::cast
