#include "ops/linear/cuda/cuda_weight.h"

#include "ops/linear/cuda/cuda_blaslt.h"
#include "ops/linear/cuda/cuda_pack.h"
#include "ops/linear/int4_groups.h"
#include "ops/linear/pack_plain.h"
#include "platform/cuda/cuda_device.h"

namespace quire::ops::linear {

namespace {

constexpr int64_t kArrayAlignment = 256;

int64_t Aligned(int64_t bytes) {
  return (bytes + kArrayAlignment - 1) / kArrayAlignment * kArrayAlignment;
}

// Bytes of the arrays of a segment, each aligned.
int64_t SegmentBytes(const DeviceSegment& segment) {
  return Aligned(DataBytes(segment)) + Aligned(ScaleBytes(segment)) + Aligned(SuperBytes(segment));
}

bool Joins(const DeviceSegment& a, const DeviceSegment& b) {
  return a.kind == b.kind && a.scale_shift == b.scale_shift && a.scale_blocks == b.scale_blocks;
}

// Likewise of what SquareScales() gave for them: squares begin where a weight begins.
bool SquaresJoin(const DeviceSegment& a, const std::vector<float>& a_squares,
                 const std::vector<float>& b_squares) {
  return a_squares.empty() ? b_squares.empty()
                           : !b_squares.empty() && a.features % kScaleSquare == 0;
}

// Copies packed rows to the device.
class Uploader {
 public:
  explicit Uploader(Stream& stream) : stream_(stream), place_(stream.device().place()) {}

  // Puts the rows of `source` into `segment` from row `first` on.
  Status Upload(const WeightSource& source, const DeviceSegment& planned,
                const DeviceSegment& segment, int64_t first, std::vector<int32_t>& order) {
    const TensorView& weight = source.weight;
    const bool as_is = IsDense(planned.kind) && weight.IsContiguous() &&
                       BytesOf(weight.dtype(), weight.dim(1)) == planned.RowBytes();
    if (as_is) {
      return Send(segment.data + first * planned.RowBytes(), weight.data(), DataBytes(planned));
    }
    std::vector<uint8_t> data(static_cast<size_t>(DataBytes(planned)));
    std::vector<uint8_t> scales(static_cast<size_t>(ScaleBytes(planned)));
    std::vector<uint8_t> super(static_cast<size_t>(SuperBytes(planned)));
    PackDeviceRows(source, planned, {data.data(), scales.data(), super.data()}, order);
    const int64_t rows = std::max<int64_t>(planned.features, 1);
    QUIRE_RETURN_IF_ERROR(
        Send(segment.data + first * planned.RowBytes(), data.data(), DataBytes(planned)));
    QUIRE_RETURN_IF_ERROR(Send(segment.scales + first * (ScaleBytes(planned) / rows), scales.data(),
                               ScaleBytes(planned)));
    QUIRE_RETURN_IF_ERROR(
        Send(segment.super + first * planned.SuperCount(), super.data(), SuperBytes(planned)));
    return stream_.Synchronize();
  }

  Status Send(const void* to, const void* from, int64_t bytes) {
    return stream_.Copy(const_cast<void*>(to), place_, from, Place::Host(),
                        static_cast<size_t>(bytes));
  }

 private:
  Stream& stream_;
  Place place_;
};

}  // namespace

Status DeviceWeight::SendSquares(CudaStream& stream,
                                 const std::vector<std::vector<float>>& squares) {
  std::vector<float> all;
  for (const std::vector<float>& scales : squares) {
    all.insert(all.end(), scales.begin(), scales.end());
  }
  if (all.empty()) {
    return OkStatus();
  }
  QUIRE_ASSIGN_OR_RETURN(square_buffer_, stream.device().Allocate(all.size() * sizeof(float)));
  const auto* next = static_cast<const float*>(square_buffer_.data());
  for (size_t i = 0; i < squares.size(); ++i) {
    segments_[i].squares = squares[i].empty() ? nullptr : next;
    next += squares[i].size();
  }
  QUIRE_RETURN_IF_ERROR(stream.Copy(square_buffer_.data(), stream.device().place(), all.data(),
                                    Place::Host(), all.size() * sizeof(float)));
  return stream.Synchronize();
}

Result<std::shared_ptr<const PackedWeight>> DeviceWeight::Pack(
    const OpContext& context, std::span<const WeightSource> weights, ActivationMode mode) {
  CudaStream& stream = AsCudaStream(context.stream);
  QUIRE_RETURN_IF_ERROR(stream.device().Library<BlasLt>().status());  // now, not in the first step
  std::vector<DeviceSegment> planned;
  std::vector<DeviceSegment> segments;
  std::vector<std::vector<float>> squares;  // of each segment
  int64_t features = 0;
  for (const WeightSource& source : weights) {
    QUIRE_ASSIGN_OR_RETURN(DeviceSegment segment, PlanDeviceSegment(source));
    segment.first_feature = features;
    features += segment.features;
    planned.push_back(segment);
    std::vector<float> own;
    if (mode == ActivationMode::kFp8 && segment.kind == DeviceKind::kF8) {
      own = SquareScales(source, segment.SquareStride());
    }
    if (!segments.empty() && Joins(segments.back(), segment) &&
        SquaresJoin(segments.back(), squares.back(), own)) {
      segments.back().features += segment.features;
      squares.back().insert(squares.back().end(), own.begin(), own.end());
    } else {
      segments.push_back(segment);
      squares.push_back(std::move(own));
    }
  }
  int64_t bytes = 0;
  for (const DeviceSegment& segment : segments) {
    bytes += SegmentBytes(segment);
  }
  std::shared_ptr<DeviceWeight> packed(new DeviceWeight(features, ExtentsOf(weights[0]).k, mode));
  QUIRE_ASSIGN_OR_RETURN(packed->buffer_, stream.device().Allocate(static_cast<size_t>(bytes)));
  const auto* data = static_cast<const uint8_t*>(packed->buffer_.data());
  for (DeviceSegment& segment : segments) {
    segment.data = data;
    segment.scales = data + Aligned(DataBytes(segment));
    segment.super =
        reinterpret_cast<const uint32_t*>(segment.scales + Aligned(ScaleBytes(segment)));
    data += SegmentBytes(segment);
  }
  Uploader uploader(stream);
  std::vector<int32_t> order;
  size_t into = 0;
  for (size_t i = 0; i < planned.size(); ++i) {
    while (planned[i].first_feature >= segments[into].first_feature + segments[into].features) {
      ++into;
    }
    std::vector<int32_t> own;
    QUIRE_RETURN_IF_ERROR(uploader.Upload(weights[i], planned[i], segments[into],
                                          planned[i].first_feature - segments[into].first_feature,
                                          own));
    if (i > 0 && own != order) {
      return InvalidArgument("linear: weight ", i,
                             " of a stack has another group_index than the one before; pack them "
                             "apart");
    }
    order = std::move(own);
  }
  if (!order.empty()) {
    QUIRE_ASSIGN_OR_RETURN(packed->order_, stream.device().Allocate(order.size() * 4));
    QUIRE_RETURN_IF_ERROR(
        uploader.Send(packed->order_.data(), order.data(), static_cast<int64_t>(order.size()) * 4));
  }
  QUIRE_RETURN_IF_ERROR(stream.Synchronize());
  packed->segments_ = std::move(segments);
  QUIRE_RETURN_IF_ERROR(packed->SendSquares(stream, squares));
  return std::shared_ptr<const PackedWeight>(std::move(packed));
}

}  // namespace quire::ops::linear
