// What benchmarks of single operators on a GPU share.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/implementation.h"
#include "platform/open_device.h"

namespace quire {

// Ends the program with the error, if it is one.
inline void Require(const Status& status) {
  if (!status.ok()) {
    std::printf("FAIL %s\n", status.message().c_str());
    std::exit(1);
  }
}
template <typename T>
T Required(Result<T> result) {
  Require(result.status());
  return *std::move(result);
}

// A GPU with a stream. One thread at a time.
class GpuOperatorBench {
 public:
  GpuOperatorBench()
      : device_(Required(OpenDevice("cuda")).device),
        stream_(Required(device_->CreateStream())),
        workspace_(*device_) {}

  // For the implementation of that name, or the best.
  ops::OpContext Context(std::string_view implementation = {}) {
    ops::OpContext context{*stream_, workspace_};
    context.implementation = implementation;
    return context;
  }

  // `bytes` bytes of host memory, on the device.
  Buffer Upload(const void* data, size_t bytes) {
    Buffer buffer = Required(device_->Allocate(bytes));
    Require(stream_->Copy(buffer.data(), buffer.place(), data, Place::Host(), bytes));
    Require(stream_->Synchronize());
    return buffer;
  }

  // Of a call of `run`, which enqueues the operator and has run before: the median of 7 times that
  // a graph of `calls` calls took.
  template <typename Run>
  double SecondsOf(int calls, const Run& run) {
    Require(stream_->Synchronize());
    const auto graph = Required(stream_->Capture([&] {
      for (int i = 0; i < calls; ++i) {
        QUIRE_RETURN_IF_ERROR(run());
      }
      return OkStatus();
    }));
    std::vector<double> times;
    for (int i = 0; i < 7; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      Require(graph->Replay(*stream_));
      Require(stream_->Synchronize());
      times.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / calls);
    }
    std::nth_element(times.begin(), times.begin() + 3, times.end());
    return times[3];
  }

 private:
  std::shared_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  Workspace workspace_;
};

}  // namespace quire
