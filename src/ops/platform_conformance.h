// The fixture of conformance tests: one implementation of one platform against the reference.
#pragma once

#include <gtest/gtest.h>

#include "ops/conformance.h"

namespace quire::ops {

// Skips its tests where the machine lacks the platform's device.
template <typename Case>
class ConformanceTest : public testing::TestWithParam<ConformanceParam<Case>> {
 protected:
  void SetUp() override {
    if (!device_.missing().empty()) {
      GTEST_SKIP() << device_.missing();
    }
  }

  // Asks for the implementation under test, on its platform's device: for RunOnDevice().
  OpContext Context() { return device_.Context(this->GetParam().implementation); }
  // Asks for the reference, in host memory.
  OpContext Reference() { return cpu_.Context("reference"); }
  // Whether the implementation under test takes the problem on this machine.
  template <typename Args>
  bool Accepts(const ImplementationList<Args>& (*implementations_of)(PlatformKind),
               const Args& args) {
    const OpContext context = Context();
    return Named(implementations_of(this->GetParam().platform), context.implementation)
        .accepts(context, args);
  }

 private:
  PlatformFixture device_{this->GetParam().platform, 3};
  CpuFixture cpu_{1};
};

}  // namespace quire::ops
