// api.toml: how this daemon serves. Nothing in it can widen what root allows in broker.toml.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "shared/log.h"
#include "shared/size.h"

namespace joblet::api {

// How hard SQLite tries against a loss of power; what it holds can be rebuilt from the broker's records, but for the history.
enum class Synchronous : std::uint8_t { Off, Normal, Full };

struct ApiConfig {
    // [log]
    log::Level log_level = log::Level::Info;
    // [database]
    Synchronous synchronous = Synchronous::Normal;
    // [history]
    std::uint64_t ended_jobs_per_user = 1000;
    std::uint64_t ended_jobs = 20000;
    // [rpc]
    std::uint64_t max_message_bytes = 4 * kMiB;
    std::uint64_t max_unread_bytes = 4 * kMiB;
    std::uint64_t unread_seconds = 30;
    std::uint64_t calls_per_connection = 128;
    std::uint64_t waits_per_connection = 64;
};

// A missing file gives the defaults. An error is "FILE:LINE: sentence, with what is allowed".
std::expected<ApiConfig, std::string> load_api_config(const std::string& root);
// For tests, and what load_api_config does with the file's text. `path` is for messages only.
std::expected<ApiConfig, std::string> parse_api_config(std::string_view text, const std::string& path);

// The whole configuration as api.toml text, each key with its explanation.
std::string print_api_config(const ApiConfig& config);

} // namespace joblet::api
