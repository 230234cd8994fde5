// Copies past the caches on the CPU, for what is larger than the next steps would find there:
// ordinary stores read their destination before they write it, and drive out what is in use.
#pragma once

#include <cstdint>

#include "ops/cpu_convert.h"
#include "platform/cpu/cpu_device.h"
#include "tensor/dtype.h"

namespace quire::ops {

// Whether a call that writes `bytes` in all, in rows of `row_bytes` at multiples of it from `to`,
// is done sooner past the caches.
bool StreamingPays(int64_t bytes, int64_t row_bytes, const void* to);

// to[i] = from[i], past the caches where whole lines are written. The rows do not overlap.
using StreamFunction = void (*)(const void* from, int64_t bytes, void* to);

// REQUIRES: the machine has `isa`.
StreamFunction StreamerOf(CpuIsa isa);

// Makes what this thread has streamed visible to others; before it tells them that it is done.
void FinishStreaming();

// Writes rows of elements of another type or the same, as a ConvertFunction or past the caches: the
// bits are the same. Threads may share one.
class RowWriter {
 public:
  // REQUIRES: as ConverterOf().
  RowWriter(CpuIsa isa, DType from, DType to, bool streaming);

  // to[i] = from[i] for `elements` contiguous elements. The rows do not overlap.
  void Write(const void* from, int64_t elements, void* to) const {
    if (streaming_) {
      Stream(from, elements, to);
    } else {
      convert_(from, elements, to);
    }
  }

  // After a thread's last row.
  void Finish() const {
    if (streaming_) {
      FinishStreaming();
    }
  }

 private:
  void Stream(const void* from, int64_t elements, void* to) const;

  bool streaming_;
  bool same_type_;
  int64_t from_bytes_;  // of an element
  int64_t to_bytes_;
  ConvertFunction convert_;
  StreamFunction stream_;
};

}  // namespace quire::ops
