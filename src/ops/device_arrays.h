// How the conformance tests run an operator on any platform: problems keep their arrays in host
// memory, where the reference reads them; for a call on another device they are copied there and
// back. No product code includes this.
//
// An operator names the arrays of its arguments in <op>_cases.h, inputs and outputs alike:
//
//   template <typename Visitor>
//   void VisitArrays(Args& args, const Visitor& visit) {
//     visit(args.x);
//     visit(args.cache);                    // a PagedKvView or PagedLatentView
//     visit(args.sinks, args.query.dim(1)); // a pointer to elements
//   }
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "platform/open_device.h"
#include "tensor/tensor_view.h"

namespace quire::ops {

// Device 0 of a platform, its stream and a workspace. A machine may lack it.
class PlatformFixture {
 public:
  explicit PlatformFixture(PlatformKind platform, int threads = 2) {
    Result<OpenedDevice> opened = OpenDevice(PlatformName(platform), {.threads = threads});
    if (!opened.ok()) {
      missing_ = opened.status().message();
      return;
    }
    device_ = std::move(opened->device);
    Result<std::unique_ptr<Stream>> stream = device_->CreateStream();
    QUIRE_CHECK(stream.ok()) << stream.status().message();
    stream_ = *std::move(stream);
    workspace_ = std::make_unique<Workspace>(*device_);
  }

  // Why there is no such device; "" if there is one.
  const std::string& missing() const { return missing_; }
  // REQUIRES: there is one.
  OpContext Context(std::string_view implementation = {}) {
    return {*stream_, *workspace_, implementation};
  }

 private:
  std::string missing_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Workspace> workspace_;
};

// Copies of host arrays in the memory of a stream's device, each between guard bytes. Arrays that
// share host memory share device memory in the same way.
class DeviceArrays {
 public:
  explicit DeviceArrays(Stream& stream) : stream_(stream) {}

  // REQUIRES: before CopyIn().
  void Add(const void* data, int64_t bytes) {
    const auto begin = reinterpret_cast<uintptr_t>(data);
    if (bytes > 0) {
      ranges_.push_back({begin, begin + static_cast<uintptr_t>(bytes)});
    }
  }

  Status CopyIn() {
    MergeRanges();
    size_t bytes = kGuardBytes;
    for (Range& range : ranges_) {
      range.offset = bytes + range.begin % kGuardBytes;  // as aligned as on the host
      bytes = range.offset + (range.end - range.begin) + kGuardBytes;
      bytes = (bytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes;
    }
    host_.assign(bytes, kGuard);
    for (const Range& range : ranges_) {
      std::memcpy(&host_[range.offset], range.data(), range.bytes());
    }
    QUIRE_ASSIGN_OR_RETURN(buffer_, stream_.device().Allocate(bytes));
    return stream_.Copy(buffer_.data(), buffer_.place(), host_.data(), Place::Host(), bytes);
  }

  // The copy of what is at `data`, which was added; null for an array of no elements.
  void* At(const void* data) const {
    const auto address = reinterpret_cast<uintptr_t>(data);
    for (const Range& range : ranges_) {
      if (range.begin <= address && address < range.end) {
        return static_cast<uint8_t*>(buffer_.data()) + range.offset + (address - range.begin);
      }
    }
    return nullptr;
  }
  Place place() const { return buffer_.place(); }

  // Waits for the stream and copies everything back. Errors: those of the stream; internal if a
  // byte outside the arrays was written.
  Status CopyBack() {
    QUIRE_RETURN_IF_ERROR(
        stream_.Copy(host_.data(), Place::Host(), buffer_.data(), buffer_.place(), host_.size()));
    QUIRE_RETURN_IF_ERROR(stream_.Synchronize());
    size_t end = 0;
    for (const Range& range : ranges_) {
      QUIRE_RETURN_IF_ERROR(CheckGuard(end, range.offset));
      std::memcpy(range.data(), &host_[range.offset], range.bytes());
      end = range.offset + range.bytes();
    }
    return CheckGuard(end, host_.size());
  }

 private:
  struct Range {
    uintptr_t begin;  // on the host
    uintptr_t end;
    size_t offset = 0;  // of its copy in buffer_

    void* data() const { return reinterpret_cast<void*>(begin); }
    size_t bytes() const { return end - begin; }
  };

  static constexpr uint8_t kGuard = 0xa5;
  static constexpr size_t kGuardBytes = 256;

  void MergeRanges() {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    std::vector<Range> merged;
    for (const Range& range : ranges_) {
      if (merged.empty() || range.begin >= merged.back().end) {
        merged.push_back(range);
      } else {
        merged.back().end = std::max(merged.back().end, range.end);
      }
    }
    ranges_ = std::move(merged);
  }

  Status CheckGuard(size_t begin, size_t end) const {
    for (size_t i = begin; i < end; ++i) {
      if (host_[i] != kGuard) {
        return InternalError("byte ", i - begin, " between the arrays on ", PlaceName(place()),
                             " was written");
      }
    }
    return OkStatus();
  }

  Stream& stream_;
  std::vector<Range> ranges_;  // by begin, apart
  std::vector<uint8_t> host_;
  Buffer buffer_;
};

// Adds the arrays that it visits.
struct AddArrays {
  DeviceArrays& arrays;

  void operator()(const TensorView& view) const {
    if (!view.defined() || view.shape().elements() == 0) {
      return;
    }
    int64_t last = view.dim(view.rank() - 1) - 1;
    for (int axis = 0; axis + 1 < view.rank(); ++axis) {
      last += (view.dim(axis) - 1) * view.stride(axis);
    }
    arrays.Add(view.data(), BytesOf(view.dtype(), last + 1));
  }
  template <typename T>
  void operator()(T* data, int64_t count) const {
    if (data != nullptr) {
      arrays.Add(data, count * static_cast<int64_t>(sizeof(T)));
    }
  }
  void operator()(const PagedKvView& cache) const {
    const int64_t rows = cache.num_pages * cache.page_size * cache.num_kv_heads;
    arrays.Add(cache.k, BytesOf(cache.dtype, rows * cache.head_dim));
    arrays.Add(cache.v, BytesOf(cache.dtype, rows * cache.value_dim()));
    (*this)(cache.k_scale, cache.scaling == KvScaling::kPerTokenHead ? rows : 1);
    (*this)(cache.v_scale, cache.scaling == KvScaling::kPerTokenHead ? rows : 1);
  }
  void operator()(const PagedLatentView& cache) const {
    arrays.Add(cache.data,
               BytesOf(cache.dtype, cache.num_pages * cache.page_size * cache.row_elements()));
    (*this)(cache.scale, 1);
  }
};

// Makes what it visits the copies.
struct UseCopies {
  const DeviceArrays& arrays;

  void operator()(TensorView& view) const {
    if (view.rank() == 0) {
      return;  // an optional argument that is not given
    }
    std::array<int64_t, Shape::kMaxRank> strides = {};
    for (int axis = 0; axis < view.rank(); ++axis) {
      strides[axis] = view.stride(axis);
    }
    view = {arrays.At(view.data()), view.dtype(), view.shape(), strides, arrays.place()};
  }
  template <typename T>
  void operator()(T*& data, int64_t) const {
    data = static_cast<T*>(arrays.At(data));
  }
  void operator()(PagedKvView& cache) const {
    cache.k = arrays.At(cache.k);
    cache.v = arrays.At(cache.v);
    (*this)(cache.k_scale, 1);
    (*this)(cache.v_scale, 1);
    cache.place = arrays.place();
  }
  void operator()(PagedLatentView& cache) const {
    cache.data = arrays.At(cache.data);
    (*this)(cache.scale, 1);
    cache.place = arrays.place();
  }
};

// Calls call(copies) where `copies` are `args` with copies of their arrays, which are in host
// memory, on the stream's device; returns when the arrays hold what the copies then do. Errors:
// those of `call`, of the device, and internal if anything beside the arrays was written there.
template <typename Args, typename Call>
Status OnCopies(Stream& stream, Args args, const Call& call) {
  DeviceArrays arrays(stream);
  VisitArrays(args, AddArrays{arrays});
  QUIRE_RETURN_IF_ERROR(arrays.CopyIn());
  VisitArrays(args, UseCopies{arrays});
  QUIRE_RETURN_IF_ERROR(call(std::as_const(args)));
  return arrays.CopyBack();
}

// Runs the operator of `args`, whose arrays are in host memory, on the context's device, and
// returns when the arrays hold the results. Errors: those of Run() and of OnCopies().
template <typename Args>
Status RunOnDevice(const OpContext& context, const Args& args) {
  if (context.stream.device().place().IsHost()) {
    return Run(context, args);
  }
  return OnCopies(context.stream, args, [&](const Args& copies) { return Run(context, copies); });
}

// The same, but the call is recorded as a graph and then replayed. Errors also: those of
// Stream::Capture().
template <typename Args>
Status RunRecordedOnDevice(const OpContext& context, const Args& args) {
  return OnCopies(context.stream, args, [&](const Args& copies) -> Status {
    QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<Graph> graph,
                           context.stream.Capture([&] { return Run(context, copies); }));
    QUIRE_RETURN_IF_ERROR(graph->Replay(context.stream));
    return context.stream.Synchronize();
  });
}

}  // namespace quire::ops
