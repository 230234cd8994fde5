#include "platform/workspace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "platform/cpu/cpu_device.h"

namespace quire {
namespace {

class WorkspaceTest : public testing::Test {
 protected:
  std::unique_ptr<CpuDevice> device_ = *CpuDevice::Create(1);
  Workspace workspace_{*device_};
};

bool Aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % Buffer::kAlignment == 0;
}

TEST_F(WorkspaceTest, AllocatesNothingAtFirst) {
  EXPECT_EQ(workspace_.capacity(), 0U);
  {
    const Workspace::Scope scope(workspace_);
  }
  EXPECT_EQ(workspace_.capacity(), 0U);
}

TEST_F(WorkspaceTest, AllocationsAreAlignedAndApart) {
  auto* a = workspace_.Allocate<char>(3);
  auto* b = workspace_.Allocate<double>(5);
  auto* c = workspace_.Allocate<int>(0);
  auto* d = workspace_.Allocate<char>(1);
  EXPECT_TRUE(Aligned(a) && Aligned(b) && Aligned(c) && Aligned(d));
  EXPECT_NE(static_cast<void*>(c), static_cast<void*>(d));
  std::memset(a, 1, 3);
  std::memset(b, 2, 5 * sizeof(double));
  *d = 3;
  EXPECT_EQ(a[2], 1);
  EXPECT_EQ(reinterpret_cast<char*>(b)[39], 2);
}

TEST_F(WorkspaceTest, ScopeGivesBack) {
  auto* outside = workspace_.Allocate<char>(100);
  char* first = nullptr;
  {
    const Workspace::Scope scope(workspace_);
    first = workspace_.Allocate<char>(100);
    EXPECT_NE(first, outside);
    {
      const Workspace::Scope inner(workspace_);
      EXPECT_NE(workspace_.Allocate<char>(100), first);
    }
  }
  EXPECT_EQ(workspace_.Allocate<char>(100), first);
}

TEST_F(WorkspaceTest, GrowthKeepsOldMemory) {
  auto* small = workspace_.Allocate<char>(64);
  std::memset(small, 7, 64);
  auto* large = workspace_.Allocate<char>(size_t{5} << 20);
  std::memset(large, 8, size_t{5} << 20);
  EXPECT_EQ(small[63], 7);
  EXPECT_GE(workspace_.capacity(), size_t{6} << 20);
}

TEST_F(WorkspaceTest, RunningOutOfMemoryIsAnErrorOfTheWork) {
  constexpr size_t kTooMuch = size_t{1} << 60;
  EXPECT_THROW(workspace_.Allocate<char>(kTooMuch), WorkspaceExhausted);
  auto* const kept = workspace_.Allocate<char>(100);
  const Status status = StatusOfWork([&] {
    const Workspace::Scope scope(workspace_);
    workspace_.Allocate<char>(kTooMuch);
    return OkStatus();
  });
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(),
              testing::StartsWith(StrCat("workspace: cannot allocate ", kTooMuch, " bytes")));
  EXPECT_NE(workspace_.Allocate<char>(100), kept);
  EXPECT_EQ(StatusOfWork([] { return Unsupported("not this"); }).message(), "not this");
}

TEST_F(WorkspaceTest, SameWorkAgainAllocatesNothing) {
  const auto work = [&] {
    const Workspace::Scope scope(workspace_);
    workspace_.Allocate<char>(700'000);
    for (int layer = 0; layer < 4; ++layer) {
      const Workspace::Scope inner(workspace_);
      workspace_.Allocate<float>(300'000 * (layer + 1));
      workspace_.Allocate<char>(900'000);
    }
  };
  work();
  const size_t capacity = workspace_.capacity();
  for (int i = 0; i < 10; ++i) {
    work();
  }
  EXPECT_EQ(workspace_.capacity(), capacity);
}

}  // namespace
}  // namespace quire
