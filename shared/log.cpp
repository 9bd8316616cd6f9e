#include "shared/log.h"

#include <ctime>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace joblet::log {

void start(std::string_view program) {
    ::tzset(); // the C library reads /etc/localtime once, also for UTC; later no file may be opened
    auto logger = spdlog::stderr_logger_mt(std::string(program));
    logger->set_formatter(
        std::make_unique<spdlog::pattern_formatter>("%Y-%m-%dT%H:%M:%S.%eZ %n[%P] %l: %v", spdlog::pattern_time_type::utc));
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
}

void set_level(Level level) {
    spdlog::set_level(level == Level::Error ? spdlog::level::err : level == Level::Warning ? spdlog::level::warn : spdlog::level::info);
}

void info(std::string_view text) {
    spdlog::info("{}", text);
}
void warning(std::string_view text) {
    spdlog::warn("{}", text);
}
void error(std::string_view text) {
    spdlog::error("{}", text);
}

} // namespace joblet::log
