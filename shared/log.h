// Log lines on stderr: "2026-01-02T03:04:05.678Z joblet-broker[123] warning: text". Thin over spdlog, so that one file
// carries it and the rest needs only these functions. Any thread may call them.
#pragma once

#include <cstdint>
#include <string_view>

namespace joblet::log {

// Before the filter goes on: reads what the C library wants to know about time.
void start(std::string_view program);

// Lines below it are dropped. Info unless set.
enum class Level : std::uint8_t { Info, Warning, Error };
void set_level(Level level);

void info(std::string_view text);
void warning(std::string_view text);
void error(std::string_view text);

} // namespace joblet::log
