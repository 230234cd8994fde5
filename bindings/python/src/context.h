// What an operator runs on: a device, its stream and its scratch memory.
#pragma once

#include <memory>
#include <string>

#include "bindings/python/src/arrays.h"
#include "ops/implementation.h"
#include "platform/cpu/cpu_device.h"

namespace quire::python {

// A CPU device of `threads` threads (0: one per core) and what belongs to it. One Python thread at
// a time uses it: operators keep the interpreter's lock while they run.
class Context {
 public:
  Context(int threads, const std::string& instruction_set)
      : device_(MakeDevice(threads, instruction_set)), stream_(*device_), workspace_(*device_) {}

  // The name must outlive the call.
  ops::OpContext For(std::string_view implementation) {
    return {stream_, workspace_, implementation};
  }
  int threads() const { return device_->threads(); }
  std::string instruction_set() const { return std::string(CpuIsaName(device_->isa())); }

 private:
  static std::unique_ptr<CpuDevice> MakeDevice(int threads, const std::string& instruction_set) {
    CpuIsa isa = DetectCpuIsa();
    for (const CpuIsa level : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
      isa = CpuIsaName(level) == instruction_set ? level : isa;
    }
    if (!instruction_set.empty() && CpuIsaName(isa) != instruction_set) {
      ThrowIfError(InvalidArgument("no instruction set is called ", instruction_set,
                                   "; use baseline, avx2, avx512 or none"));
    }
    Result<std::unique_ptr<CpuDevice>> device = CpuDevice::Create(threads, isa);
    ThrowIfError(device.status());
    return *std::move(device);
  }

  std::unique_ptr<CpuDevice> device_;
  CpuStream stream_;
  Workspace workspace_;
};

}  // namespace quire::python
