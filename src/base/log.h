// Log lines on standard error: time, level, message. Thread-safe. The library behind it stays in
// log.cc.
#pragma once

#include <string_view>

namespace quire {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

// Lines below `level` are dropped, for the whole process. The default is kInfo.
void SetLogLevel(LogLevel level);

void LogDebug(std::string_view message);
void LogInfo(std::string_view message);
void LogWarning(std::string_view message);
void LogError(std::string_view message);

}  // namespace quire
