#include <doctest/doctest.h>

#include "api-unpriv/config.h"

using namespace joblet;
using namespace joblet::api;

namespace {
std::string error_of(std::string_view text) {
    const auto config = parse_api_config(text, "/etc/joblet/api.toml");
    return config ? std::string() : config.error();
}
bool mentions(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}
} // namespace

TEST_CASE("an empty api.toml gives the defaults") {
    const auto config = parse_api_config("", "api.toml");
    REQUIRE(config);
    CHECK(config->max_message_bytes == 4 * kMiB);
    CHECK(config->calls_per_connection == 128);
    CHECK(config->synchronous == Synchronous::Normal);
}

TEST_CASE("a missing api.toml gives the defaults") {
    CHECK(load_api_config("/nonexistent-root"));
}

TEST_CASE("what --print-config prints is read back as the same configuration") {
    ApiConfig config;
    config.log_level = log::Level::Warning;
    config.synchronous = Synchronous::Full;
    config.ended_jobs = 7;
    config.max_message_bytes = 65537; // not a whole number of any unit
    config.unread_seconds = 3;
    const auto back = parse_api_config(print_api_config(config), "api.toml");
    REQUIRE_MESSAGE(back, error_of(print_api_config(config)));
    CHECK(back->log_level == log::Level::Warning);
    CHECK(back->synchronous == Synchronous::Full);
    CHECK(back->ended_jobs == 7);
    CHECK(back->max_message_bytes == 65537);
    CHECK(back->unread_seconds == 3);
    CHECK(print_api_config(*back) == print_api_config(config));
}

TEST_CASE("a bad key or value names file, line and what is allowed") {
    struct Row {
        std::string_view text;
        std::string_view line;
        std::string_view allowed;
    };
    constexpr Row kRows[] = {
        {"[log]\nlevel = \"loud\"\n", "api.toml:2: ", "\"info\" or \"warning\" or \"error\""},
        {"[log]\nlevel = 3\n", "api.toml:2: ", "\"info\" or \"warning\" or \"error\""},
        {"[log]\n\nvolume = 1\n", "api.toml:3: ", "level"},
        {"[nosuch]\na = 1\n", "api.toml:1: ", "log, database, history, rpc"},
        {"log = 1\n", "api.toml:1: ", "log, database, history, rpc"},
        {"[rpc]\ncalls_per_connection = 0\n", "api.toml:2: ", "a whole number from 1 to 4096"},
        {"[rpc]\ncalls_per_connection = -1\n", "api.toml:2: ", "a whole number from 1 to 4096"},
        {"[rpc]\ncalls_per_connection = \"9\"\n", "api.toml:2: ", "a whole number from 1 to 4096"},
        {"[rpc]\ncalls_per_connection = 1.5\n", "api.toml:2: ", "a whole number from 1 to 4096"},
        {"[rpc]\nmax_message = 65536\n", "api.toml:2: ", "a size in quotes"},
        {"[rpc]\nmax_message = \"1 parsec\"\n", "api.toml:2: ", "a size in quotes"},
        {"[rpc]\nmax_message = \"1KiB\"\n", "api.toml:2: ", "from 64.0 KiB to 64.0 MiB"},
        {"[database\n", "api.toml:", "KEY = VALUE"},
        {"[log]\nlevel = \"info\"\nlevel = \"error\"\n", "api.toml:3: ", "KEY = VALUE"},
    };
    for (const auto& row : kRows) {
        CAPTURE(row.text);
        const auto error = error_of(row.text);
        CAPTURE(error);
        CHECK(mentions(error, row.line));
        CHECK(mentions(error, row.allowed));
    }
}
