#include "platform/cpu/cpu_device.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "platform/cpu/control_group.h"
#include "platform/open_device.h"

namespace quire {

namespace {

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) {
    return std::max(CPU_COUNT(&set), 1);
  }
  return std::max(static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)),
                  1);  // more cores than the set holds
}

// The value behind `key` in a "key : value" file of the system, or "".
std::string SystemField(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos) {
      const size_t start = line.find_first_not_of(" \t", colon + 1);
      return start == std::string::npos ? "" : line.substr(start);
    }
  }
  return "";
}

// All work is done when it has been enqueued.
class PastEvent final : public Event {
 public:
  explicit PastEvent(Device& device) : device_(device) {}

  Status Wait() override {
    device_.CountWait();
    return OkStatus();
  }

 private:
  Device& device_;
};

Result<CpuIsa> ParseCpuIsa(std::string_view name) {
  if (name.empty()) {
    return DetectCpuIsa();
  }
  for (const CpuIsa isa : {CpuIsa::kBaseline, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    if (name == CpuIsaName(isa)) {
      return isa;
    }
  }
  return InvalidArgument("instruction set '", name, "' is unknown; use baseline, avx2 or avx512");
}

}  // namespace

Result<std::unique_ptr<Device>> OpenCpuDevice(int index, const DeviceOptions& options) {
  if (index != 0) {
    return NotFound("device cpu:", index, " does not exist; the CPU is cpu:0");
  }
  QUIRE_ASSIGN_OR_RETURN(const CpuIsa isa, ParseCpuIsa(options.instruction_set));
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<CpuDevice> device,
                         CpuDevice::Create(options.threads, isa, options.pin_threads));
  return std::unique_ptr<Device>(std::move(device));
}

std::string_view CpuIsaName(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kBaseline: return "baseline";
    case CpuIsa::kAvx2: return "avx2";
    case CpuIsa::kAvx512: return "avx512";
  }
  return "unknown";
}

CpuIsa DetectCpuIsa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return avx512 ? CpuIsa::kAvx512 : avx2 ? CpuIsa::kAvx2 : CpuIsa::kBaseline;
#else
  return CpuIsa::kBaseline;
#endif
}

bool DetectBf16Products() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return DetectCpuIsa() == CpuIsa::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

Result<std::unique_ptr<CpuDevice>> CpuDevice::Create(int threads, CpuIsa isa, bool pinned) {
  if (threads < 0) {
    return InvalidArgument("thread count ", threads, " is negative; use 0 for one per core");
  }
  if (isa > DetectCpuIsa()) {
    return Unsupported("instruction set '", CpuIsaName(isa),
                       "' is not offered by this machine, which has '", CpuIsaName(DetectCpuIsa()),
                       "'");
  }
  return std::unique_ptr<CpuDevice>(
      new CpuDevice(threads == 0 ? UsableCores() : threads, isa, pinned));
}

CpuDevice::CpuDevice(int threads, CpuIsa isa, bool pinned)
    : threads_(threads),
      pinned_(pinned),
      isa_(isa),
      has_bf16_products_(isa == CpuIsa::kAvx512 && DetectBf16Products()) {
  properties_.name = SystemField("/proc/cpuinfo", "model name");
  properties_.instruction_set = CpuIsaName(isa);
  properties_.compute_units = UsableCores();
  properties_.total_memory = static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) *
                             static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
}

Result<Buffer> CpuDevice::Allocate(size_t bytes) {
  // The system may promise more than it has and kill the process when the memory is touched.
  if (bytes > properties_.total_memory) {
    return ResourceExhausted("cannot allocate ", bytes, " bytes of host memory; this machine has ",
                             properties_.total_memory);
  }
  return memory_.Allocate(bytes);
}

bool CpuDevice::Populate(void* data, size_t bytes) {
  constexpr size_t kLeft = size_t{512} << 20;
  const Result<size_t> available = AvailableMemory();
  if (!available.ok() ||
      std::min(*available, ControlGroupRoom(FilePages::kCountAsTaken)) < bytes + kLeft) {
    return false;
  }
  return HostMemory::Populate(data, bytes);
}

Result<size_t> CpuDevice::AvailableMemory() const {
  const std::string field = SystemField("/proc/meminfo", "MemAvailable");
  if (field.empty()) {
    return Unsupported("this system does not say how much memory is available");
  }
  const size_t of_machine = static_cast<size_t>(std::strtoull(field.c_str(), nullptr, 10)) * 1024;
  return std::min(of_machine, ControlGroupRoom(FilePages::kCountAsFree));
}

Result<std::unique_ptr<Stream>> CpuDevice::CreateStream() {
  return std::unique_ptr<Stream>(std::make_unique<CpuStream>(*this));
}

Status CpuStream::Copy(void* to, Place to_place, const void* from, Place from_place, size_t bytes) {
  QUIRE_CHECK(to_place.IsHost() && from_place.IsHost())
      << PlaceName(from_place) << " to " << PlaceName(to_place);
  if (bytes > 0) {
    std::memcpy(to, from, bytes);
  }
  return OkStatus();
}

Result<std::unique_ptr<Graph>> CpuStream::Capture(const std::function<Status()>&) {
  return Unsupported("the CPU does work at once and records none");
}

Result<std::unique_ptr<Event>> CpuStream::Record() {
  return std::unique_ptr<Event>(std::make_unique<PastEvent>(device_));
}

CpuStream& AsCpuStream(Stream& stream) {
  QUIRE_CHECK(stream.device().place().IsHost()) << PlaceName(stream.device().place());
  return static_cast<CpuStream&>(stream);
}

}  // namespace quire
