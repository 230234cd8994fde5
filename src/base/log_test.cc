#include "base/log.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace quire {
namespace {

// In a process of its own, so that the level of the others stays.
[[noreturn]] void LogAllAt(LogLevel level) {
  SetLogLevel(level);
  LogDebug("debug line");
  LogInfo("info line {}");  // braces mean nothing
  LogWarning("warning line");
  LogError("error line");
  std::exit(0);
}

TEST(LogDeathTest, LinesGoToStandardError) {
  EXPECT_EXIT(LogAllAt(LogLevel::kDebug), testing::ExitedWithCode(0),
              "debug line.*\n.*info line \\{\\}.*\n.*warning line.*\n.*error line");
}

TEST(LogDeathTest, LinesBelowTheLevelAreDropped) {
  EXPECT_EXIT(LogAllAt(LogLevel::kError), testing::ExitedWithCode(0), "^[^\n]*error line\n$");
  EXPECT_EXIT(LogAllAt(LogLevel::kOff), testing::ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace quire
