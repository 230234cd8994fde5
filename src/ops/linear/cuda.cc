#include <algorithm>
#include <cmath>

#include "ops/linear/cuda/cuda_blaslt.h"
#include "ops/linear/cuda/cuda_expand.h"
#include "ops/linear/cuda/cuda_fp32.h"
#include "ops/linear/cuda/cuda_fp8_rows.h"
#include "ops/linear/cuda/cuda_many_rows.h"
#include "ops/linear/cuda/cuda_round_fp8.h"
#include "ops/linear/cuda/cuda_skinny.h"
#include "ops/linear/cuda/cuda_weight.h"
#include "ops/linear/packing.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::linear {

namespace {

constexpr int64_t kVectorBytes = 16;

const DeviceWeight& WeightOf(const Args& args) {
  return static_cast<const DeviceWeight&>(*args.weight);
}

bool IsReadable(const Args& args) {
  return args.weight->layout() == kDeviceLayout && !std::isfinite(args.near_largest);
}

bool IsProduct(const Args& args) {
  return IsReadable(args) && !IsFused(args);
}

bool IsAligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % kVectorBytes == 0;
}

bool IsAligned(const TensorView& rows) {
  return IsAligned(rows.data()) && BytesOf(rows.dtype(), rows.stride(0)) % kVectorBytes == 0;
}

// The type in which x and the rows of `kind` meet on the tensor cores.
DType ProductType(DeviceKind kind) {
  return kind == DeviceKind::kF32   ? DType::kF32
         : kind == DeviceKind::kF16 ? DType::kF16
                                    : DType::kBF16;
}

// Whether x meets `segment` rounded to f8e4m3.
bool RoundsToFp8(const Args& args, const DeviceSegment& segment) {
  return WeightOf(args).mode() == ActivationMode::kFp8 && segment.kind == DeviceKind::kF8;
}

// Whether tensor cores take the codes of `segment` and x in f8e4m3.
bool MultipliesFp8(const OpContext& context, const DeviceSegment& segment) {
  return segment.squares != nullptr &&
         context.stream.device().properties().instruction_set == "sm_90";
}

// x rounded to f8e4m3, in bf16 [M, whole spans].
Result<TensorView> RoundedRows(const OpContext& context, const Args& args, int64_t spans) {
  const int64_t m = args.x.dim(0);
  const int64_t columns = spans * SpanOf(DeviceKind::kF8);
  const TensorView rounded(context.workspace.Allocate<uint16_t>(static_cast<size_t>(m * columns)),
                           DType::kBF16, {m, columns}, args.x.place());
  const cudaError_t error = RoundToFp8({.x = args.x.data(),
                                        .x_type = args.x.dtype(),
                                        .x_stride = args.x.stride(0),
                                        .m = m,
                                        .k = args.x.dim(1),
                                        .spans = spans,
                                        .bf16 = rounded.data()},
                                       AsCudaStream(context.stream).handle());
  QUIRE_RETURN_IF_ERROR(CudaStatus(error, "linear: RoundToFp8"));
  return rounded;
}

// x in `type` with aligned rows: as it is where that `may_stay`, or a copy [M, k_padded] that is
// zero from K on.
Result<TensorView> AlignedRows(const OpContext& context, const Args& args, DType type,
                               int64_t k_padded, bool may_stay) {
  const DeviceWeight& weight = WeightOf(args);
  if (may_stay && args.x.dtype() == type && IsAligned(args.x) && weight.input_order() == nullptr &&
      weight.k() % 8 == 0) {
    return args.x;
  }
  const int64_t m = args.x.dim(0);
  const TensorView copy(
      context.workspace.Allocate<uint8_t>(static_cast<size_t>(BytesOf(type, m * k_padded))), type,
      {m, k_padded}, args.x.place());
  const cudaError_t error = CopyRows({.x = args.x.data(),
                                      .x_type = args.x.dtype(),
                                      .x_stride = args.x.stride(0),
                                      .m = m,
                                      .k = weight.k(),
                                      .k_padded = k_padded,
                                      .order = weight.input_order(),
                                      .out = copy.data(),
                                      .out_type = type},
                                     AsCudaStream(context.stream).handle());
  QUIRE_RETURN_IF_ERROR(CudaStatus(error, "linear: CopyRows"));
  return copy;
}

const float* BiasOf(const Args& args, int64_t feature) {
  return args.bias.defined() ? args.bias.as<const float>() + feature : nullptr;
}

// Whether tensor cores take the codes of `segment` as they are. Codes are small integers there and
// products with bf16 exact, so it loses nothing where x has the right type.
bool MultipliesCodes(const Args& args, const DeviceSegment& segment) {
  return segment.kind != DeviceKind::kF32 && (WeightOf(args).mode() != ActivationMode::kFp32 ||
                                              args.x.dtype() == ProductType(segment.kind));
}

// Whether "few_rows" norms x itself: all that it takes as it is.
bool TakesNorm(const Args& args, const DeviceSegment& segment) {
  const TensorView& weight = args.norm.weight;
  const int64_t k = WeightOf(args).k();
  return !weight.defined() ||
         (!RoundsToFp8(args, segment) && args.x.dtype() == ProductType(segment.kind) &&
          IsAligned(args.x) && WeightOf(args).input_order() == nullptr &&
          k == segment.spans * SpanOf(segment.kind) && weight.dtype() == DType::kF32 &&
          IsAligned(weight.data()) && args.x.dim(0) <= kMaxNormedRows &&
          NormedRowsBytes(args.x.dim(0), k) <= kMaxNormedRowsBytes);
}

// Sums of dense weights have another order there than with more rows.
bool AcceptsSkinny(const OpContext& context, const Args& args) {
  if (!IsReadable(args) || args.x.dim(0) > kMaxSkinnyRows) {
    return false;
  }
  const std::vector<DeviceSegment>& segments = WeightOf(args).segments();
  if (args.activation.has_value() && segments.size() > 1) {
    return false;  // a block has rows of both halves
  }
  return std::all_of(segments.begin(), segments.end(), [&](const auto& segment) {
    // Where "fp8_rows" makes the product, it has other bits.
    const bool parts = IsFused(args) && !context.batch_invariant && MultipliesFp8(context, segment);
    return MultipliesCodes(args, segment) && TakesNorm(args, segment) && !parts &&
           !(context.batch_invariant && IsDense(segment.kind));
  });
}

// All rows of `args` with one segment.
Result<SkinnyProduct> ProductOf(const OpContext& context, const Args& args,
                                const DeviceSegment& segment) {
  const int64_t k = WeightOf(args).k();
  const bool gated = args.activation.has_value();
  const TensorView out =
      gated ? args.out
            : args.out.Columns(segment.first_feature, segment.first_feature + segment.features);
  const int64_t columns = segment.spans * SpanOf(segment.kind);
  QUIRE_ASSIGN_OR_RETURN(
      const TensorView x,
      RoundsToFp8(args, segment)
          ? RoundedRows(context, args, segment.spans)
          : AlignedRows(context, args, ProductType(segment.kind), columns, k == columns));
  return SkinnyProduct{.x = x.data(),
                       .x_stride = x.stride(0),
                       .m = static_cast<int>(args.x.dim(0)),
                       .weight = segment,
                       .bias = BiasOf(args, segment.first_feature),
                       .out = out.data(),
                       .out_stride = out.stride(0),
                       .out_type = out.dtype(),
                       .accumulate = args.accumulate,
                       .norm = {.weight = args.norm.weight.as<const float>(),
                                .epsilon = args.norm.epsilon,
                                .weight_offset = args.norm.weight_offset},
                       .gated = gated,
                       .activation = args.activation.value_or(act_and_mul::Activation::kSilu)};
}

Status RunSkinnyRows(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  for (const DeviceSegment& segment : WeightOf(args).segments()) {
    QUIRE_ASSIGN_OR_RETURN(const SkinnyProduct product, ProductOf(context, args, segment));
    QUIRE_RETURN_IF_ERROR(
        CudaStatus(RunSkinny(product, ShapeOf(segment), AsCudaStream(context.stream).handle()),
                   "linear: SkinnyKernel"));
  }
  return OkStatus();
}

// Rows [first, first + rows) of a segment as plain elements of `type`, whole spans each: as they
// are, or expanded. f8e4m3 is that of the segment's codes, in their order.
Result<const void*> PlainRows(const OpContext& context, const DeviceSegment& segment, int64_t first,
                              int64_t rows, DType type) {
  const DType own = ProductType(segment.kind);
  const int64_t columns = segment.spans * SpanOf(segment.kind);
  const uint8_t* data = segment.data + first * segment.RowBytes();
  if ((IsDense(segment.kind) && own == type) || type == DType::kF8E4M3) {
    return data;
  }
  auto* out =
      context.workspace.Allocate<uint8_t>(static_cast<size_t>(BytesOf(type, rows * columns)));
  cudaStream_t stream = AsCudaStream(context.stream).handle();
  const cudaError_t error = IsDense(segment.kind)
                                ? CopyRows({.x = data,
                                            .x_type = own,
                                            .x_stride = columns,
                                            .m = rows,
                                            .k = columns,
                                            .k_padded = columns,
                                            .out = out,
                                            .out_type = type},
                                           stream)
                                : ExpandRows(segment, first, rows, type, out, stream);
  QUIRE_RETURN_IF_ERROR(CudaStatus(error, "linear: ExpandRows"));
  return out;
}

// How the sums of a product are made.
enum class SumOrder : uint8_t {
  kFastest,  // by the library, as it likes
  kChain,    // by the library or not, in the order of cuda_chain.h
  kFp32,     // in that of cuda_fp32.h
};

// The rows of x as a product takes them.
struct ProductRows {
  TensorView x;                   // undefined: not made yet
  bool rounded = false;           // to f8e4m3, in bf16
  const float* scales = nullptr;  // of codes in f8e4m3, whose rows are a multiple of 4
};

// x as codes in f8e4m3, of `m` rows, more than there are to fill them up.
Result<ProductRows> CodedRows(const OpContext& context, const Args& args, int64_t spans,
                              int64_t m) {
  const int64_t columns = spans * SpanOf(DeviceKind::kF8);
  auto* const codes = context.workspace.Allocate<uint8_t>(static_cast<size_t>(m * columns));
  auto* const scales = context.workspace.Allocate<float>(static_cast<size_t>(m * spans));
  const cudaError_t error = RoundToFp8({.x = args.x.data(),
                                        .x_type = args.x.dtype(),
                                        .x_stride = args.x.stride(0),
                                        .m = args.x.dim(0),
                                        .k = args.x.dim(1),
                                        .spans = spans,
                                        .codes = codes,
                                        .scales = scales,
                                        .scale_stride = m},
                                       AsCudaStream(context.stream).handle());
  QUIRE_RETURN_IF_ERROR(CudaStatus(error, "linear: RoundToFp8"));
  return ProductRows{.x = TensorView(codes, DType::kF8E4M3, {m, columns}, args.x.place()),
                     .rounded = true,
                     .scales = scales};
}

// Whether a product can be written to the columns of `segment`. What the library adds to, it rounds
// in between.
bool StoresDirectly(const Args& args, const DeviceSegment& segment, const TensorView& x,
                    SumOrder order) {
  const DType out = args.out.dtype();
  const DType type = x.dtype() == DType::kF8E4M3 ? DType::kBF16 : x.dtype();
  return !args.bias.defined() && !(args.accumulate && order == SumOrder::kChain) &&
         (out == DType::kF32 || out == type) && x.dim(0) == args.out.dim(0) &&
         IsAligned(args.out.Columns(segment.first_feature, args.out.dim(1)));
}

Status Multiply(const OpContext& context, const Matmul& matmul, SumOrder order) {
  CudaStream& stream = AsCudaStream(context.stream);
  if (order == SumOrder::kFp32) {
    return CudaStatus(RunFp32(matmul, stream.handle()), "linear: Fp32Kernel");
  }
  QUIRE_ASSIGN_OR_RETURN(BlasLt* const blas, stream.device().Library<BlasLt>());
  auto* scratch = context.workspace.Allocate<uint8_t>(BlasLt::kWorkspaceBytes);
  return blas->Multiply(matmul, scratch, stream.handle());
}

// The output features [begin, end) of args, which are rows of `segment`; x has the product's type.
Status MultiplyRows(const OpContext& context, const Args& args, const ProductRows& rows,
                    const DeviceSegment& segment, int64_t begin, int64_t end, SumOrder order) {
  const Workspace::Scope scope(context.workspace);
  const TensorView& x = rows.x;
  const int64_t first = begin - segment.first_feature;
  QUIRE_ASSIGN_OR_RETURN(const void* const w,
                         PlainRows(context, segment, first, end - begin, x.dtype()));
  const TensorView out = args.out.Columns(begin, end);
  const bool direct = StoresDirectly(args, segment, x, order);
  TensorView result = out;
  if (!direct) {
    constexpr int64_t kAligned = kVectorBytes / static_cast<int64_t>(sizeof(float));
    const Shape shape = {x.dim(0), (out.dim(1) + kAligned - 1) / kAligned * kAligned};
    result = TensorView(context.workspace.Allocate<float>(static_cast<size_t>(shape.elements())),
                        DType::kF32, shape, out.place());
  }
  const int64_t squares = first / SpanOf(DeviceKind::kF8) * segment.SquareStride();
  const Matmul matmul = {.m = x.dim(0),
                         .n = out.dim(1),
                         .k = x.dim(1),
                         .x = x.data(),
                         .x_stride = x.stride(0),
                         .w = w,
                         .w_stride = segment.spans * SpanOf(segment.kind),
                         .result = result.data(),
                         .result_stride = result.stride(0),
                         .in = x.dtype(),
                         .out = result.dtype(),
                         .x_scales = rows.scales,
                         .w_scales = rows.scales != nullptr ? segment.squares + squares : nullptr,
                         .accumulate = direct && args.accumulate,
                         .chain = order == SumOrder::kChain};
  QUIRE_RETURN_IF_ERROR(Multiply(context, matmul, order));
  if (direct) {
    return OkStatus();
  }
  return CudaStatus(StoreSums({.sums = result.as<const float>(),
                               .sums_stride = result.stride(0),
                               .bias = BiasOf(args, begin),
                               .m = out.dim(0),
                               .n = out.dim(1),
                               .out = out.data(),
                               .out_type = out.dtype(),
                               .out_stride = out.stride(0),
                               .accumulate = args.accumulate},
                              AsCudaStream(context.stream).handle()),
                    "linear: StoreSums");
}

// Output features of one product: expanded rows, and sums that are not stored directly, stay small.
int64_t FeaturesAtOnce(const Args& args, const DeviceSegment& segment, const TensorView& x,
                       SumOrder order) {
  constexpr int64_t kExpandedBytes = int64_t{32} << 20;
  constexpr int64_t kSumBytes = int64_t{256} << 20;
  constexpr int64_t kTile = 256;
  int64_t features = segment.features;
  if (x.dtype() != DType::kF8E4M3 &&
      (ProductType(segment.kind) != x.dtype() || !IsDense(segment.kind))) {
    features = std::min(features,
                        kExpandedBytes / BytesOf(x.dtype(), segment.spans * SpanOf(segment.kind)));
  }
  if (!StoresDirectly(args, segment, x, order)) {
    features = std::min(features, kSumBytes / (4 * args.x.dim(0)));
  }
  return features >= segment.features ? segment.features
                                      : std::max(kTile, features / kTile * kTile);
}

// x as `segment` meets it in `type`.
Result<ProductRows> RowsFor(const OpContext& context, const Args& args,
                            const DeviceSegment& segment, DType type) {
  ProductRows rows;
  if (type == DType::kF8E4M3) {
    constexpr int64_t kTogether = 4;  // rows whose scales fill 16 bytes
    const int64_t m = (args.x.dim(0) + kTogether - 1) / kTogether * kTogether;
    return CodedRows(context, args, segment.spans, m);
  }
  rows.rounded = RoundsToFp8(args, segment);
  const int64_t k_padded = (args.weight->k() + 7) / 8 * 8;
  QUIRE_ASSIGN_OR_RETURN(rows.x, rows.rounded ? RoundedRows(context, args, segment.spans)
                                              : AlignedRows(context, args, type, k_padded, true));
  return rows;
}

// The features of `segment`, some at once. `rows` are those of the segment before, or undefined;
// they become those of `type`.
Status MultiplySegment(const OpContext& context, const Args& args, const DeviceSegment& segment,
                       DType type, SumOrder order, ProductRows& rows) {
  if (!rows.x.defined() || rows.x.dtype() != type || rows.rounded != RoundsToFp8(args, segment)) {
    QUIRE_ASSIGN_OR_RETURN(rows, RowsFor(context, args, segment, type));
  }
  const int64_t end = segment.first_feature + segment.features;
  const int64_t step = FeaturesAtOnce(args, segment, rows.x, order);
  for (int64_t begin = segment.first_feature; begin < end; begin += step) {
    QUIRE_RETURN_IF_ERROR(
        MultiplyRows(context, args, rows, segment, begin, std::min(end, begin + step), order));
  }
  return OkStatus();
}

// The type in which x meets `segment` in "matmul".
DType MatmulType(const OpContext& context, const Args& args, const DeviceSegment& segment) {
  const DType own = ProductType(segment.kind);
  if (WeightOf(args).mode() == ActivationMode::kFp32) {
    return IsDense(segment.kind) && args.x.dtype() == own ? own : DType::kF32;
  }
  constexpr int64_t kTogether = 16;  // features, as the library wants them
  return MultipliesFp8(context, segment) && segment.features % kTogether == 0 ? DType::kF8E4M3
                                                                              : own;
}

Status RunMatmul(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  ProductRows rows;
  for (const DeviceSegment& segment : WeightOf(args).segments()) {
    QUIRE_RETURN_IF_ERROR(MultiplySegment(
        context, args, segment, MatmulType(context, args, segment), SumOrder::kFastest, rows));
  }
  return OkStatus();
}

// A segment with codes.
Status RunManyRowsSegment(const OpContext& context, const Args& args,
                          const DeviceSegment& segment) {
  const Workspace::Scope scope(context.workspace);
  QUIRE_ASSIGN_OR_RETURN(const SkinnyProduct product, ProductOf(context, args, segment));
  const cudaStream_t stream = AsCudaStream(context.stream).handle();
  const int k_warps = ShapeOf(segment).k_warps;
  const int compute_units = context.stream.device().properties().compute_units;
  const int blocks = BlocksOfTile(segment, product.m, k_warps, compute_units);
  const int64_t floats = blocks > 1 ? blocks * int64_t{product.m} * segment.features : 0;
  auto* scratch = context.workspace.Allocate<float>(static_cast<size_t>(floats));
  return CudaStatus(RunManyRows(product, k_warps, blocks, scratch, stream),
                    "linear: ManyRowsKernel");
}

Status RunFixedOrderRows(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  ProductRows rows;
  for (const DeviceSegment& segment : WeightOf(args).segments()) {
    const bool exact = !MultipliesCodes(args, segment);
    if (!exact && !IsDense(segment.kind)) {
      QUIRE_RETURN_IF_ERROR(RunManyRowsSegment(context, args, segment));
      continue;
    }
    QUIRE_RETURN_IF_ERROR(MultiplySegment(context, args, segment,
                                          exact ? DType::kF32 : ProductType(segment.kind),
                                          exact ? SumOrder::kFp32 : SumOrder::kChain, rows));
  }
  return OkStatus();
}

bool AcceptsFp8Rows(const OpContext& context, const Args& args) {
  if (!IsProduct(args) || args.x.dim(0) > kMaxFp8Rows || context.batch_invariant) {
    return false;
  }
  const std::vector<DeviceSegment>& segments = WeightOf(args).segments();
  return std::all_of(segments.begin(), segments.end(),
                     [&](const DeviceSegment& segment) { return MultipliesFp8(context, segment); });
}

Status RunFp8Rows(const OpContext& context, const Args& args) {
  const Workspace::Scope scope(context.workspace);
  const auto m = static_cast<int>(args.x.dim(0));
  const int compute_units = context.stream.device().properties().compute_units;
  const int64_t spans = WeightOf(args).segments()[0].spans;
  QUIRE_ASSIGN_OR_RETURN(const ProductRows rows,
                         CodedRows(context, args, spans, Fp8ScaleStride(m)));
  for (const DeviceSegment& segment : WeightOf(args).segments()) {
    const TensorView out =
        args.out.Columns(segment.first_feature, segment.first_feature + segment.features);
    const Fp8Product product = {.x = rows.x.as<const uint8_t>(),
                                .x_scales = rows.scales,
                                .m = m,
                                .weight = segment,
                                .bias = BiasOf(args, segment.first_feature),
                                .out = out.data(),
                                .out_stride = out.stride(0),
                                .out_type = out.dtype(),
                                .accumulate = args.accumulate};
    QUIRE_RETURN_IF_ERROR(RunFp8Product(product, Fp8Splits(segment, compute_units),
                                        AsCudaStream(context.stream).handle()));
  }
  return OkStatus();
}

constexpr std::string_view kTypes =
    "f32, f16, bf16; weights also f8e4m3, i8, int4 groups, GGUF blocks";

}  // namespace

Implementations CudaImplementations() {
  return {
      {"fp8_rows", AcceptsFp8Rows, RunFp8Rows, "f32, f16, bf16; weights of f8e4m3 with kFp8"},
      {"few_rows", AcceptsSkinny, RunSkinnyRows, kTypes},
      {"matmul",
       [](const OpContext& context, const Args& args) {
         return IsProduct(args) && !context.batch_invariant;
       },
       RunMatmul, kTypes},
      {"fixed_order", [](const OpContext&, const Args& args) { return IsProduct(args); },
       RunFixedOrderRows, kTypes},
  };
}

Packing CudaPacking() {
  return DeviceWeight::Pack;
}

}  // namespace quire::ops::linear
