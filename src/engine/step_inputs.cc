#include "engine/step_inputs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace quire {

namespace {

size_t BytesOfView(const TensorView& view) {
  return static_cast<size_t>(BytesOf(view.dtype(), view.shape().elements()));
}

std::array<TensorView*, 7> ArraysOf(BatchViews& views) {
  return {&views.tokens,     &views.positions,    &views.query_start, &views.kv_length,
          &views.page_table, &views.slot_mapping, &views.logit_rows};
}

// The same shapes but for the page table, whose rows are a power of two long.
BatchViews Padded(BatchViews views) {
  const auto pages = static_cast<uint64_t>(views.page_table.dim(1));
  views.page_table = TensorView(
      nullptr, DType::kI32, {views.page_table.dim(0), static_cast<int64_t>(std::bit_ceil(pages))});
  return views;
}

// Sets where the arrays lie, one after the other from `base`; returns the bytes of all.
size_t Lay(BatchViews& views, std::byte* base, Place place) {
  size_t offset = 0;
  for (TensorView* view : ArraysOf(views)) {
    *view = TensorView(base + offset, view->dtype(), view->shape(), place);
    const size_t unaligned = offset + BytesOfView(*view);
    offset = (unaligned + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
  }
  return offset;
}

// Copies the rows of `from` to the front of those of `to`. Both are contiguous; `to` may be wider.
void CopyRows(const TensorView& from, const TensorView& to) {
  if (from.shape() == to.shape()) {
    std::memcpy(to.data(), from.data(), BytesOfView(from));
    return;
  }
  for (int64_t row = 0; row < from.dim(0); ++row) {
    const TensorView source = from.Rows(row, row + 1);
    std::memcpy(to.Rows(row, row + 1).data(), source.data(), BytesOfView(source));
  }
}

}  // namespace

Result<BatchViews> StepInputs::Bring(const Batch& batch) {
  BatchViews host = HostViews(batch);
  const Place place = stream_.device().place();
  if (place.IsHost()) {
    return host;
  }
  BatchViews staged = Padded(host);
  turn_ = 1 - turn_;
  QUIRE_RETURN_IF_ERROR(Reserve(Lay(staged, nullptr, Place::Host())));
  Buffer& staging = staging_[turn_];
  const size_t bytes = Lay(staged, static_cast<std::byte*>(staging.data()), Place::Host());
  const auto from = ArraysOf(host);
  const auto to = ArraysOf(staged);
  for (size_t i = 0; i < from.size(); ++i) {
    CopyRows(*from[i], *to[i]);
  }
  QUIRE_RETURN_IF_ERROR(stream_.Copy(arrays_.data(), place, staging.data(), Place::Host(), bytes));
  BatchViews views = staged;
  Lay(views, static_cast<std::byte*>(arrays_.data()), place);
  return views;
}

Status StepInputs::Reserve(size_t bytes) {
  const size_t capacity = std::max(bytes, 2 * arrays_.bytes());
  if (staging_[turn_].bytes() < bytes) {
    QUIRE_ASSIGN_OR_RETURN(staging_[turn_], stream_.device().AllocatePinned(capacity));
  }
  if (arrays_.bytes() < bytes) {
    QUIRE_ASSIGN_OR_RETURN(arrays_, stream_.device().Allocate(capacity));
  }
  return OkStatus();
}

}  // namespace quire
