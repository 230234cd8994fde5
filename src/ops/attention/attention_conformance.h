// The tests that the attention operators share. ArgsOf(case, memory) makes an operator's arguments;
// its Run() is found by their type. No product code includes this.
#pragma once

#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "ops/attention/attention_cases.h"

namespace quire::ops::attention {

constexpr uint64_t kDataSeed = 20;

// Outputs and log-sum-exps of one call on memory of its own.
template <typename ArgsOf>
std::vector<float> RunOn(int threads, std::string_view implementation, const Case& c,
                         const std::vector<SequenceData>& data, const ArgsOf& args_of,
                         uint64_t page_seed = 1, int64_t gap = 0) {
  CpuFixture cpu(threads);
  Memory memory(c, data, page_seed, gap);
  memory.Spoil();
  const Status status = Run(cpu.Context(implementation), args_of(c, memory));
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(memory.Damage(), "");
  return memory.Result();
}

// Of a result: the outputs, and the log-sum-exps, which are always fp32.
inline std::string ResultMismatch(const Case& c, std::span<const float> actual,
                                  std::span<const float> expected) {
  const size_t head = static_cast<size_t>(c.value_dim) + 1;
  const size_t outputs = expected.size() / head * (head - 1);
  std::string mismatch = Mismatch(actual.first(outputs), expected.first(outputs), c.tolerance());
  return mismatch + Mismatch(actual.subspan(outputs), expected.subspan(outputs), {1e-5, 1e-5});
}

// One implementation against the reference, with other pages and gaps.
template <typename Args, typename ArgsOf>
void ExpectAgreement(const ConformanceParam<Case>& param,
                     const ImplementationList<Args>& (*implementations_of)(PlatformKind),
                     const ArgsOf& args_of) {
  PlatformFixture device(param.platform);
  if (!device.missing().empty()) {
    GTEST_SKIP() << device.missing();
  }
  const Case c = param.problem.random > 0 ? DrawCase(param.problem, TestSeed()) : param.problem;
  const std::vector<SequenceData> data = MakeSequences(c, kDataSeed);
  Memory memory(c, data, 2, 16);
  memory.Spoil();
  const Args args = args_of(c, memory);
  const OpContext context = device.Context(param.implementation);
  if (!Named(implementations_of(param.platform), param.implementation).accepts(context, args)) {
    GTEST_SKIP() << "it does not take this problem here";
  }
  const Status status = RunOnDevice(context, args);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(memory.Damage(), "");
  const std::vector<float> expected = RunOn(1, "reference", c, data, args_of, 1);
  EXPECT_EQ(ResultMismatch(c, memory.Result(), expected), "");
}

// The implementations of a list that this machine can run and that promise exact bits: all but the
// reference.
template <typename Args>
std::vector<std::string_view> ExactNames(const ImplementationList<Args>& list) {
  std::vector<std::string_view> names;
  CpuFixture cpu(1);
  for (const auto& implementation : list) {
    if (implementation.name != "reference" && implementation.accepts(cpu.Context(), Args())) {
      names.push_back(implementation.name);
    }
  }
  return names;
}

// That one thread and several give the same bits, as do sequences alone and in a batch.
template <typename ArgsOf>
void ExpectExactInAnyCompany(std::string_view name, const Case& c, const ArgsOf& args_of) {
  const std::vector<SequenceData> data = MakeSequences(c, kDataSeed);
  CpuFixture cpu(1);
  Memory together(c, data);
  together.Spoil();
  ASSERT_TRUE(Run(cpu.Context(name), args_of(c, together)).ok());
  for (const int threads : {2, 3, 8}) {
    EXPECT_EQ(BitMismatch(RunOn(threads, name, c, data, args_of), together.Result()), "")
        << name << " " << c.name << " on " << threads << " threads";
  }
  for (size_t b = 0; b < data.size(); ++b) {
    Case alone = c;
    alone.lengths = {c.lengths[b]};
    alone.rows = {c.rows[b]};
    CpuFixture three(3);
    Memory memory(alone, {data[b]}, 5);
    ASSERT_TRUE(Run(three.Context(name), args_of(alone, memory)).ok());
    EXPECT_EQ(BitMismatch(memory.ResultOf(0), together.ResultOf(b)), "")
        << name << " " << c.name << " sequence " << b;
  }
}

// That neither the size, the order nor the places of pages show in the bits, nor gaps between rows,
// nor whether keys lie in pages.
template <typename ArgsOf>
void ExpectExactAnywhere(std::string_view name, const Case& c, const ArgsOf& args_of) {
  const std::vector<SequenceData> data = MakeSequences(c, kDataSeed);
  Memory expected(c, data);
  CpuFixture cpu(2);
  ASSERT_TRUE(Run(cpu.Context(name), args_of(c, expected)).ok());
  const bool rows = c.kind == Kind::kAny && c.scaling == KvScaling::kNone;
  for (const int page_size : {0, 1, 2, 16, 64, 256}) {
    for (const PageOrder order : {PageOrder::kHnd, PageOrder::kNhd}) {
      if ((page_size == 0 && !rows) || (order == PageOrder::kNhd && c.kind == Kind::kLatent)) {
        continue;
      }
      Case other = c;
      other.page_size = page_size;
      other.order = order;
      Memory memory(other, data, 9, 32);
      ASSERT_TRUE(Run(cpu.Context(name), args_of(other, memory)).ok());
      for (size_t b = 0; b < data.size(); ++b) {
        EXPECT_EQ(BitMismatch(memory.ResultOf(b), expected.ResultOf(b)), "")
            << name << " " << c.name << " page size " << page_size << " sequence " << b;
      }
    }
  }
}

// That the sets with a fused multiply-add agree.
template <typename ArgsOf>
void ExpectAvx2HasTheBitsOfAvx512(const std::vector<Case>& cases, const ArgsOf& args_of) {
  if (DetectCpuIsa() < CpuIsa::kAvx512) {
    GTEST_SKIP() << "this machine has no AVX-512";
  }
  for (const Case& c : cases) {
    if (c.random == 0) {
      const std::vector<SequenceData> data = MakeSequences(c, kDataSeed);
      EXPECT_EQ(
          BitMismatch(RunOn(2, "avx2", c, data, args_of), RunOn(2, "avx512", c, data, args_of)), "")
          << c.name;
    }
  }
}

}  // namespace quire::ops::attention
