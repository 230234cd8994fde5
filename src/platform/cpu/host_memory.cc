#include "platform/cpu/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace quire {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kRegionBytes = size_t{64} << 20;
constexpr size_t kLeastInRegion = size_t{64} << 10;
constexpr size_t kMostInRegion = size_t{16} << 20;

// The address sanitizer sees the ends of what the C library hands out only.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kMapsMemory = false;
#else
constexpr bool kMapsMemory = true;
#endif

size_t RoundUp(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// `bytes` of zeros at a multiple of `alignment`; both are whole pages. Null if there are none.
void* MapAligned(size_t bytes, size_t alignment) {
  void* mapped = ::mmap(nullptr, bytes + alignment, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    return nullptr;
  }
  // What is mapped before and after goes back.
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const size_t before = RoundUp(address, alignment) - address;
  auto* start = static_cast<std::byte*>(mapped) + before;
  if (before > 0) {
    ::munmap(mapped, before);
  }
  ::munmap(start + bytes, alignment - before);
  ::madvise(start, bytes, MADV_HUGEPAGE);  // advice: a system without them ignores it
  return start;
}

// Since Linux 5.14; C libraries before 2.34 do not name it. A system without it refuses.
constexpr int kPopulateWrite = 23;

void FreeSmall(void* data, size_t) {
  std::free(data);
}

void Unmap(void* data, size_t bytes) {
  ::munmap(data, RoundUp(bytes, kHugePage));
}

}  // namespace

// Stands at the start of its memory, which is aligned to kRegionBytes: a buffer's address leads
// here.
struct HostMemory::Region {
  std::atomic<int64_t> users{1};  // the HostMemory that takes from it, and buffers
};

HostMemory::~HostMemory() {
  GiveBack(region_);
}

void HostMemory::GiveBack(Region* region) {
  if (region != nullptr && region->users.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    ::munmap(region, kRegionBytes);
  }
}

void* HostMemory::TakeFromRegion(size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (region_ == nullptr || used_ + bytes > kRegionBytes) {
    void* memory = MapAligned(kRegionBytes, kRegionBytes);
    if (memory == nullptr) {
      return nullptr;
    }
    GiveBack(region_);
    region_ = new (memory) Region;
    used_ = RoundUp(sizeof(Region), Buffer::kAlignment);
  }
  void* data = reinterpret_cast<std::byte*>(region_) + used_;
  region_->users.fetch_add(1, std::memory_order_relaxed);
  used_ += RoundUp(bytes, Buffer::kAlignment);
  return data;
}

Result<Buffer> HostMemory::Allocate(size_t bytes) {
  void* data = nullptr;
  Buffer::Deleter deleter = nullptr;
  if (!kMapsMemory || bytes < kLeastInRegion) {
    const size_t rounded = RoundUp(std::max<size_t>(bytes, 1), Buffer::kAlignment);
    data = std::aligned_alloc(Buffer::kAlignment, rounded);
    deleter = FreeSmall;
  } else if (bytes <= kMostInRegion) {
    data = TakeFromRegion(bytes);
    deleter = [](void* buffer, size_t) {
      const auto address = reinterpret_cast<uintptr_t>(buffer);
      GiveBack(reinterpret_cast<Region*>(address / kRegionBytes * kRegionBytes));
    };
  } else {
    data = MapAligned(RoundUp(bytes, kHugePage), kHugePage);
    deleter = Unmap;
  }
  if (data == nullptr) {
    return ResourceExhausted("cannot allocate ", bytes, " bytes of host memory");
  }
  return Buffer(data, bytes, Place::Host(), deleter);
}

bool HostMemory::Populate(void* data, size_t bytes) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGE_SIZE));
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = address / page * page;
  return ::madvise(reinterpret_cast<void*>(begin), RoundUp(address + bytes, page) - begin,
                   kPopulateWrite) == 0;
}

}  // namespace quire
