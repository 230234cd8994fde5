#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace quire {

namespace {

// The one logger: log lines are for the process, not for an engine, so it is the process's.
spdlog::logger& Logger() {
  static spdlog::logger logger = [] {
    spdlog::logger made("quire", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made.set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    return made;
  }();
  return logger;
}

}  // namespace

void SetLogLevel(LogLevel level) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                   spdlog::level::warn, spdlog::level::err,
                                                   spdlog::level::off};
  Logger().set_level(kLevels[static_cast<int>(level)]);
}

void LogDebug(std::string_view message) {
  Logger().debug("{}", message);
}
void LogInfo(std::string_view message) {
  Logger().info("{}", message);
}
void LogWarning(std::string_view message) {
  Logger().warn("{}", message);
}
void LogError(std::string_view message) {
  Logger().error("{}", message);
}

}  // namespace quire
