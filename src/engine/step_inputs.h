// StepInputs: brings the arrays of a step to where its operators read them.
#pragma once

#include <array>

#include "ops/batch_views.h"
#include "platform/device.h"

namespace quire {

// One thread at a time.
class StepInputs {
 public:
  // `stream` outlives this.
  explicit StepInputs(Stream& stream) : stream_(stream) {}

  // The batch's own arrays if operators read host memory; else copies, which the stream makes
  // before what is enqueued next. Their page table has rows of a power of two of pages: then steps
  // of as many sequences and tokens have the same shapes and addresses for long (work that was
  // recorded once can run again). Valid until the next call. REQUIRES: the stream has come past the
  // copies of the call before the last. Errors: resource_exhausted; those of Stream::Copy.
  Result<BatchViews> Bring(const Batch& batch);

 private:
  Status Reserve(size_t bytes);

  Stream& stream_;
  std::array<Buffer, 2> staging_;  // pinned, in turn
  int turn_ = 0;
  Buffer arrays_;  // on the device
};

}  // namespace quire
