#include "ops/implementation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/conformance.h"

namespace quire::ops {
namespace {

struct Args {
  int size = 0;
  std::string* ran = nullptr;
};

bool TakesAll(const OpContext&, const Args&) {
  return true;
}
bool TakesEven(const OpContext&, const Args& args) {
  return args.size % 2 == 0;
}

Status RunFast(const OpContext&, const Args& args) {
  *args.ran = "fast";
  return OkStatus();
}
Status RunReference(const OpContext&, const Args& args) {
  *args.ran = "reference";
  return OkStatus();
}

ImplementationList<Args> List() {
  return Join<Args>({{"fast", TakesEven, RunFast}}, {{"reference", TakesAll, RunReference}});
}

// What runs when `implementation` is asked for, or the message of the error.
std::string Ran(const ImplementationList<Args>& list, std::string_view implementation, int size) {
  CpuFixture cpu(1);
  std::string ran;
  const Status status = RunBest("op", list, cpu.Context(implementation), Args{size, &ran});
  return status.ok() ? ran : StrCat(StatusCodeName(status.code()), ": ", status.message());
}

TEST(RunBestTest, TakesTheFirstThatAccepts) {
  EXPECT_EQ(Ran(List(), "", 2), "fast");
  EXPECT_EQ(Ran(List(), "", 3), "reference");
}

TEST(RunBestTest, TakesTheNamedOne) {
  EXPECT_EQ(Ran(List(), "reference", 2), "reference");
  EXPECT_EQ(Ran(List(), "fast", 2), "fast");
}

TEST(RunBestTest, ANamedOneThatDoesNotAcceptIsAnError) {
  EXPECT_THAT(Ran(List(), "fast", 3),
              testing::StartsWith("unsupported: op: implementation 'fast'"));
}

Status RunWithoutEnd(const OpContext& context, const Args&) {
  const Workspace::Scope scope(context.workspace);
  context.workspace.Allocate<char>(size_t{1} << 60);
  return OkStatus();
}

TEST(RunBestTest, TooLittleMemoryIsAnError) {
  EXPECT_THAT(Ran({{"greedy", TakesAll, RunWithoutEnd}}, "", 1),
              testing::StartsWith("resource_exhausted: workspace: cannot allocate"));
}

TEST(RunBestTest, AnUnknownNameIsAnError) {
  EXPECT_THAT(Ran(List(), "tensor_cores", 2),
              testing::HasSubstr("not_found: op: no implementation"));
  EXPECT_THAT(Ran(List(), "tensor_cores", 2), testing::HasSubstr("'tensor_cores'"));
}

TEST(RunBestTest, NoneThatAcceptsIsAnError) {
  EXPECT_THAT(Ran({{"fast", TakesEven, RunFast}}, "", 3),
              testing::StartsWith("unsupported: op: no"));
  EXPECT_THAT(Ran({}, "", 3), testing::StartsWith("unsupported: op: no"));
}

}  // namespace
}  // namespace quire::ops
