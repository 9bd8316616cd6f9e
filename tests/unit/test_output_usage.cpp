// How full volumes are, as it is shown.
#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "cli/output_usage.h"
#include "cli/table.h"

using namespace joblet::cli;

namespace {

UsageView half_full() {
    UsageView usage;
    usage.id = "00112233445566778899aabbccddeeff";
    usage.name = "data";
    usage.owner = 1000;
    usage.used_bytes = std::uint64_t{512} << 20U;
    usage.size_bytes = std::uint64_t{1} << 30U;
    usage.used_inodes = 12;
    usage.inodes = 65536;
    return usage;
}

UsageView above_soft() {
    auto usage = half_full();
    usage.name = "logs";
    usage.soft_size_bytes = std::uint64_t{100} << 20U;
    usage.soft_inodes = 10;
    usage.grace_ends_ns = 1'700'600'000'000'000'000;
    usage.inodes_grace_ends_ns = 1'700'000'000'000'000'000;
    return usage;
}

} // namespace

TEST_CASE("usage in JSON is a list, in bytes, with null for what is not limited") {
    const auto json = nlohmann::ordered_json::parse(render_usage(std::vector{half_full(), above_soft()}, Format::Json, false, 10U));
    REQUIRE(json.size() == 2);
    CHECK(json[0].dump() == R"({"id":"00112233445566778899aabbccddeeff","name":"data","owner":1000,"used_bytes":536870912,)"
                            R"("size_bytes":1073741824,"soft_size_bytes":null,"used_inodes":12,"inodes":65536,"soft_inodes":null,)"
                            R"("grace_ends":null,"inodes_grace_ends":null})");
    CHECK(json[1]["soft_size_bytes"] == std::uint64_t{100} << 20U);
    CHECK(json[1]["soft_inodes"] == 10);
    CHECK(json[1]["grace_ends"] == "2023-11-21T20:53:20Z");
    CHECK(json[1]["inodes_grace_ends"] == "2023-11-14T22:13:20Z");
    CHECK(render_usage({}, Format::Json, false, std::nullopt) == "[]\n");
    auto unlimited = half_full();
    unlimited.size_bytes = 0;
    unlimited.inodes = 0;
    const auto none = nlohmann::json::parse(render_usage(std::vector{unlimited}, Format::Json, false, std::nullopt));
    CHECK((none[0]["size_bytes"].is_null() && none[0]["inodes"].is_null()));
    const auto yaml = YAML::Load(render_usage(std::vector{above_soft()}, Format::Yaml, false, std::nullopt));
    CHECK(yaml[0]["used_bytes"].as<std::uint64_t>() == 536870912);
}

TEST_CASE("usage for people has sizes, percent, and an end of grace only if there is one") {
    CHECK(render_usage(std::vector{half_full()}, Format::Table, false, 80U) ==
          "NAME  BYTES      SOFT  HARD     FULL  INODES  SOFT  HARD\n"
          "data  512.0 MiB  -     1.0 GiB  50%   12      -     65536\n");
    CHECK(render_usage(std::vector{half_full(), above_soft()}, Format::Table, true, std::nullopt) ==
          "NAME  OWNER  BYTES      SOFT       HARD     FULL  INODES  SOFT  HARD   WRITABLE UNTIL\n"
          "data  1000   512.0 MiB  -          1.0 GiB  50%   12      -     65536  -\n"
          "logs  1000   512.0 MiB  100.0 MiB  1.0 GiB  50%   12      10    65536  2023-11-14T22:13:20Z\n");
    auto usage = above_soft();
    usage.inodes_grace_ends_ns = 0;
    CHECK(render_usage(std::vector{usage}, Format::Table, false, std::nullopt).find("2023-11-21T20:53:20Z") != std::string::npos);
}

TEST_CASE("only what is full is 100%") {
    auto usage = half_full();
    const auto full = [&usage] { return render_usage(std::vector{usage}, Format::Table, false, std::nullopt); };
    usage.used_bytes = usage.size_bytes - 1;
    CHECK(full().find(" 99% ") != std::string::npos);
    usage.used_bytes = usage.size_bytes;
    CHECK(full().find(" 100% ") != std::string::npos);
    usage.used_bytes = usage.size_bytes + (usage.size_bytes / 2);
    CHECK(full().find(" 150% ") != std::string::npos);
    usage.used_bytes = ~std::uint64_t{0};
    usage.size_bytes = ~std::uint64_t{0};
    CHECK(full().find(" 100% ") != std::string::npos);
    usage.size_bytes = 0;
    CHECK(!full().contains('%'));
}

TEST_CASE("no line of usage is wider than the terminal, and nothing in it would be obeyed") {
    auto odd = above_soft();
    odd.name = "\x1b[2J" + std::string(60, 'n');
    for (const unsigned width : {10U, 40U, 80U, 120U}) {
        std::istringstream lines(render_usage(std::vector{half_full(), odd}, Format::Table, true, width));
        for (std::string line; std::getline(lines, line);) {
            CHECK(columns_of(line) <= width);
            CHECK(line.find('\x1b') == std::string::npos);
        }
    }
}
