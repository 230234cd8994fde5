// The tests that all row-wise operators have. A test file of one gives its Problem:
//
//   struct Problem {
//     Problem(const Case& c, std::mt19937_64& rng);  // draws the data, for a random case the shape
//     void Reset();                   // inputs as drawn, outputs spoilt
//     std::vector<float> Results();   // the elements of every output
//     std::string Damage() const;     // of every array
//     int64_t tokens() const;         // T
//     Args Token(int64_t t);          // the arguments that compute token t alone
//     Args InPlace();                 // after Reset(): the same with an input as output
//     Args args;
//   };
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/test_seed.h"
#include "ops/platform_conformance.h"

namespace quire::ops {

template <typename Problem, typename Args>
std::vector<float> ResultOf(Problem& problem, const OpContext& context, const Args& args) {
  problem.Reset();
  const Status status = RunOnDevice(context, args);
  EXPECT_TRUE(status.ok()) << status.message();
  return problem.Results();
}

// One implementation on one case against the reference.
template <typename Case, typename Problem, auto kImplementationsOf>
class RowConformance : public ConformanceTest<Case> {
 protected:
  void ExpectAgreement(Tolerance tolerance) {
    std::mt19937_64 rng(TestSeed());
    Problem problem(this->GetParam().problem, rng);
    if (!this->Accepts(kImplementationsOf, problem.args)) {
      GTEST_SKIP() << "this machine does not have it";
    }
    const std::vector<float> expected = ResultOf(problem, this->Reference(), problem.args);
    EXPECT_EQ(Mismatch(ResultOf(problem, this->Context(), problem.args), expected, tolerance), "");
    EXPECT_EQ(problem.Damage(), "");
  }
};

// The bits of one case: on the CPU the same for every implementation but the reference and on any
// threads; on every platform the same alone or in company, in place or not.
template <typename Case, typename Problem, auto kImplementationsOf>
class RowExactness : public testing::TestWithParam<Case> {
 protected:
  void ExpectTheSameOnEveryWidthAndThreadCount() {
    CpuFixture one(1);
    const auto& list = kImplementationsOf(PlatformKind::kCpu);
    const std::vector<float> expected =
        ResultOf(problem_, one.Context(list[list.size() - 2].name), problem_.args);
    ForEachOf(PlatformKind::kCpu, [&](const OpContext& context) {
      EXPECT_EQ(BitMismatch(ResultOf(problem_, context, problem_.args), expected), "");
    });
  }
  void ExpectTheSameOfTokensAlone() {
    ForEach([&](const OpContext& context) {
      const std::vector<float> expected = ResultOf(problem_, context, problem_.args);
      problem_.Reset();
      for (int64_t t = 0; t < problem_.tokens(); ++t) {
        EXPECT_TRUE(RunOnDevice(context, problem_.Token(t)).ok());
      }
      EXPECT_EQ(BitMismatch(problem_.Results(), expected), "");
    });
  }
  void ExpectTheSameInPlace() {
    ForEach([&](const OpContext& context) {
      const std::vector<float> expected = ResultOf(problem_, context, problem_.args);
      problem_.Reset();
      EXPECT_TRUE(RunOnDevice(context, problem_.InPlace()).ok());
      EXPECT_EQ(BitMismatch(problem_.Results(), expected), "");
    });
  }

 private:
  template <typename Body>
  void ForEach(const Body& body) {
    for (const PlatformEntry& platform : EnabledPlatforms()) {
      ForEachOf(platform.kind, body);
    }
  }
  template <typename Body>
  void ForEachOf(PlatformKind platform, const Body& body) {
    PlatformFixture device(platform);
    if (!device.missing().empty()) {
      return;
    }
    ForEachImplementation(device, kImplementationsOf(platform), problem_.args,
                          [&](const OpContext& context) {
                            SCOPED_TRACE(context.implementation);
                            if (context.implementation != "reference") {
                              body(context);
                            }
                          });
  }

  std::mt19937_64 rng_{TestSeed()};
  Problem problem_{this->GetParam(), rng_};
};

// The code and message of the error that `change`, called with the arguments of the valid case `c`,
// causes.
template <typename Problem, typename Case, typename Change>
std::string ErrorAfter(const Case& c, const Change& change) {
  CpuFixture cpu(1);
  std::mt19937_64 rng(1);
  Problem problem(c, rng);
  change(problem.args);
  const Status status = Run(cpu.Context(), problem.args);
  return StrCat(StatusCodeName(status.code()), ": ", status.message());
}

}  // namespace quire::ops
