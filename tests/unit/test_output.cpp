// What rnx shows: keys and values that programs count on, and tables that people can read.
#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "cli/output.h"
#include "cli/table.h"

using namespace joblet;
using namespace joblet::cli;

namespace {

VolumeView example() {
    VolumeView view;
    view.id = "00112233445566778899aabbccddeeff";
    view.name = "data";
    view.type = "filesystem";
    view.size_bytes = std::uint64_t{3} << 29U;
    view.status = "in_use";
    view.created_ns = 1'700'000'000'999'999'999;
    view.last_used_ns = 1'700'000'060'000'000'000;
    view.current_job = "ffeeddccbbaa99887766554433221100";
    view.labels = {{"team", "blue"}};
    view.owner = 1000;
    view.backend = "image";
    view.enforcement = "kernel";
    view.inodes = 1000;
    return view;
}

VolumeView unused(std::string name) {
    auto view = example();
    view.name = std::move(name);
    view.status = "available";
    view.last_used_ns = 0;
    view.current_job.clear();
    view.labels.clear();
    return view;
}

VolumeView trashed(std::string name) {
    auto view = unused(std::move(name));
    view.status = "trashed";
    view.trashed_until_ns = 1'700'600'000'000'000'000;
    return view;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

} // namespace

TEST_CASE("JSON has exactly the promised keys, in their order") {
    const auto json = nlohmann::ordered_json::parse(render_volume(example(), Format::Json));
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) {
        keys.push_back(key);
    }
    CHECK(keys == std::vector<std::string>{"id", "name", "type", "size_bytes", "status", "created_at", "last_used", "current_job_id",
                                           "labels", "owner", "backend", "enforcement", "inodes", "protected", "trashed_until",
                                           "soft_size_bytes", "soft_inodes", "io", "no_swap"});
    CHECK(json["size_bytes"] == std::uint64_t{3} << 29U);
    CHECK(json["created_at"] == "2023-11-14T22:13:20Z");
    CHECK(json["last_used"] == "2023-11-14T22:14:20Z");
    CHECK(json["current_job_id"] == "ffeeddccbbaa99887766554433221100");
    CHECK(json["labels"] == nlohmann::ordered_json{{"team", "blue"}});
    CHECK(json["owner"] == 1000);
    CHECK(json["enforcement"] == "kernel");
    CHECK(json["inodes"] == 1000);
    CHECK(json["protected"] == false);
    auto view = trashed("data");
    view.is_protected = true;
    const auto other = nlohmann::ordered_json::parse(render_volume(view, Format::Json));
    CHECK(other["status"] == "trashed");
    CHECK(other["protected"] == true);
    CHECK(other["trashed_until"] == "2023-11-21T20:53:20Z");
}

TEST_CASE("what there is not is null, and labels are an object all the same") {
    const auto json = nlohmann::json::parse(render_volume(unused("data"), Format::Json));
    CHECK(json["last_used"].is_null());
    CHECK(json["current_job_id"].is_null());
    CHECK(json["trashed_until"].is_null());
    CHECK(json["labels"] == nlohmann::json::object());
    CHECK(json["soft_size_bytes"].is_null());
    CHECK(json["soft_inodes"].is_null());
    CHECK(json["io"]["read_bytes"].is_null());
    CHECK(json["no_swap"].is_null());
}

TEST_CASE("limits of a volume are in JSON as numbers, and for people with their units") {
    auto view = unused("data");
    view.soft_size_bytes = std::uint64_t{1} << 30U;
    view.soft_inodes = 800;
    view.io = {.read_bytes = 0, .write_bytes = 10485760, .read_operations = 0, .write_operations = 100};
    const auto json = nlohmann::ordered_json::parse(render_volume(view, Format::Json));
    CHECK(json["soft_size_bytes"] == std::uint64_t{1} << 30U);
    CHECK(json["soft_inodes"] == 800);
    CHECK(json["io"].dump() == R"({"read_bytes":null,"write_bytes":10485760,"read_operations":null,"write_operations":100})");
    const auto text = render_volume(view, Format::Table);
    for (const char* line : {"Soft size      1.0 GiB (1073741824 bytes)\n", "Soft inodes    800\n", "Jobs read      not limited\n",
                             "Jobs write     10.0 MiB/s, 100 operations/s\n"}) {
        CHECK(text.find(line) != std::string::npos);
    }
    CHECK(text.find("Swap") == std::string::npos);
    CHECK(render_volume(unused("data"), Format::Table).find("Soft size      none\n") != std::string::npos);
}

TEST_CASE("of a volume in memory is told whether it can be in swap") {
    auto view = unused("cache");
    view.no_swap = true;
    CHECK(nlohmann::json::parse(render_volume(view, Format::Json))["no_swap"] == true);
    CHECK(render_volume(view, Format::Table).find("Swap           never\n") != std::string::npos);
    view.no_swap = false;
    CHECK(nlohmann::json::parse(render_volume(view, Format::Json))["no_swap"] == false);
    CHECK(render_volume(view, Format::Table).find("Swap           possible\n") != std::string::npos);
}

TEST_CASE("an empty list is [] in JSON and YAML, and only titles in a table") {
    CHECK(render_list({}, Format::Json, {}, std::nullopt) == "[]\n");
    CHECK(render_list({}, Format::Yaml, {}, std::nullopt) == "[]\n");
    CHECK(lines_of(render_list({}, Format::Table, {}, std::nullopt)).size() == 1);
    CHECK(render_volumes({}, Format::Json) == "[]\n");
    CHECK(render_names({}, Format::Json) == "[]\n");
}

TEST_CASE("YAML says what JSON says, also for names that look like other things") {
    for (const std::string name : {"data", "no", "null", "1e3", "0755", "true", "1.0", "Y"}) {
        CAPTURE(name);
        const auto view = unused(name);
        const auto yaml = YAML::Load(render_list(std::vector{view, example()}, Format::Yaml, {}, std::nullopt));
        REQUIRE(yaml.IsSequence());
        REQUIRE(yaml.size() == 2);
        CHECK(yaml[0]["name"].as<std::string>() == name);
        CHECK(yaml[0]["name"].Tag() == "!"); // quoted: a text, whatever it looks like
        CHECK(yaml[0]["last_used"].IsNull());
        CHECK(yaml[0]["labels"].IsMap());
        CHECK(yaml[1]["size_bytes"].as<std::uint64_t>() == std::uint64_t{3} << 29U);
        CHECK(yaml[1]["owner"].as<unsigned>() == 1000);
        CHECK(yaml[1]["labels"]["team"].as<std::string>() == "blue");
        CHECK(yaml[1]["protected"].as<bool>() == false);
        CHECK(yaml[1]["protected"].Scalar() == "false");
        CHECK(yaml[1].size() == 19);
    }
}

TEST_CASE("a table has sizes for people, the job, and labels") {
    CHECK(render_list(std::vector{example(), unused("b")}, Format::Table, {}, std::nullopt) ==
          "NAME  TYPE        SIZE     STATUS     JOB           CREATED               LABELS\n"
          "data  filesystem  1.5 GiB  in_use     ffeeddccbbaa  2023-11-14T22:13:20Z  team=blue\n"
          "b     filesystem  1.5 GiB  available  -             2023-11-14T22:13:20Z  -\n");
    auto view = example();
    view.labels = {{"a", ""}, {"b", "x y"}};
    CHECK(lines_of(render_list(std::vector{view}, Format::Table, {}, std::nullopt))[1].ends_with("Z  a=,b=x y"));
}

TEST_CASE("a table has owners where they differ, and of trash when it is gone") {
    CHECK(render_list(std::vector{example()}, Format::Table, {.owners = true}, std::nullopt) ==
          "NAME  OWNER  TYPE        SIZE     STATUS  JOB           CREATED               LABELS\n"
          "data  1000   filesystem  1.5 GiB  in_use  ffeeddccbbaa  2023-11-14T22:13:20Z  team=blue\n");
    CHECK(render_list(std::vector{trashed("data")}, Format::Table, {.trash = true}, std::nullopt) ==
          "NAME  TYPE        SIZE     STATUS   TRASHED UNTIL         CREATED               LABELS\n"
          "data  filesystem  1.5 GiB  trashed  2023-11-21T20:53:20Z  2023-11-14T22:13:20Z  -\n");
}

TEST_CASE("no line of a table is wider than the terminal") {
    auto labelled = example();
    labelled.labels = {{"k", std::string(100, 'v')}, {"l", "\xe6\xbc\xa2\xe5\xad\x97"}};
    const std::vector volumes = {labelled, unused(std::string(63, 'n')), trashed("x")};
    for (const TableLook look : {TableLook{}, TableLook{.owners = true, .trash = true}, TableLook{.owners = true}}) {
        for (unsigned width = 1; width < 300; ++width) {
            CAPTURE(width);
            const auto lines = lines_of(render_list(volumes, Format::Table, look, width));
            REQUIRE(lines.size() == 4);
            for (const auto& line : lines) {
                CHECK(columns_of(line) <= width);
            }
        }
    }
    // Labels give way first, and names stay whole as long as they can
    const auto lines = lines_of(render_list(std::vector{labelled}, Format::Table, {}, 80U));
    CHECK(lines[1] == "data  filesystem  1.5 GiB  in_use  ffeeddccbbaa  2023-11-14T22:13:20Z  k=vvvvvv…");
    // Where there is no terminal, nothing is cut
    CHECK(render_list(volumes, Format::Table, {}, std::nullopt).find(std::string(100, 'v')) != std::string::npos);
    CHECK(render_list(volumes, Format::Json, {}, 10U).find(std::string(100, 'v')) != std::string::npos);
}

TEST_CASE("a volume in full says who holds it, its protection and its trash") {
    auto view = trashed("data");
    view.is_protected = true;
    view.labels = {{"team", "blue"}};
    view.inodes = 0;
    const auto text = render_volume(view, Format::Table);
    for (const char* line : {"Name           data\n", "Size           1.5 GiB (1610612736 bytes)\n", "Inodes         as the backend does\n",
                             "Protected      yes\n", "Trashed until  2023-11-21T20:53:20Z\n", "Label          team=blue\n"}) {
        CHECK(text.find(line) != std::string::npos);
    }
    CHECK(render_volume(unused("data"), Format::Table).find("Trashed until  -\n") != std::string::npos);
}

TEST_CASE("nothing that a terminal would obey is shown") {
    CHECK(printable("a\x1b[31m\tb\nc\x7f\xc2\x9b") == "a?[31m?b?c??");
    CHECK(printable("caf\xc3\xa9") == "caf\xc3\xa9");
    auto view = example();
    view.labels = {{"k", "\x1b]0;title\x07\xc2\x9b"}};
    for (const auto format : {Format::Table, Format::Json, Format::Yaml}) {
        const auto text = render_volume(view, format);
        CHECK(std::ranges::none_of(text, [](char c) { return c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == '\x7f'); }));
        CHECK(text.find("\xc2\x9b") == std::string::npos);
    }
    // The same for what a daemon says, and for bytes that are not UTF-8
    CHECK(render_error({ErrorCode::Internal, "a\x1b[2Jb", ""}, Format::Table) == "rnx: a?[2Jb\n");
    CHECK_NOTHROW(render_error({ErrorCode::Internal, "\xff\xfe", ""}, Format::Json));
}

TEST_CASE("an error is a sentence and a hint, or one JSON object on one line") {
    const Error error{ErrorCode::InUse, "the volume \"data\" is in use", "stop the job"};
    CHECK(render_error(error, Format::Table) == "rnx: the volume \"data\" is in use\nhint: stop the job\n");
    CHECK(render_error(error, Format::Yaml) == render_error(error, Format::Table));
    const auto text = render_error(error, Format::Json);
    CHECK(lines_of(text).size() == 1);
    const auto json = nlohmann::json::parse(text);
    CHECK(json == nlohmann::json{{"error", {{"code", "IN_USE"}, {"message", "the volume \"data\" is in use"}, {"hint", "stop the job"}}}});
}

TEST_CASE("times are RFC 3339 in UTC, rounded down to seconds") {
    CHECK(rfc3339(0) == "1970-01-01T00:00:00Z");
    CHECK(rfc3339(951'782'400'000'000'000) == "2000-02-29T00:00:00Z");
    CHECK(rfc3339(4'102'444'799'999'999'999) == "2099-12-31T23:59:59Z");
    CHECK(rfc3339(-1) == "1969-12-31T23:59:59Z");
}

TEST_CASE("the version shows both sides, or why there is only one") {
    CHECK(render_version({"1.2.3", "1.2.4", ""}, Format::Table) == "client: 1.2.3\nserver: 1.2.4\n");
    CHECK(render_version({"1.2.3", std::nullopt, "no daemon"}, Format::Table) == "client: 1.2.3\nserver: not reachable (no daemon)\n");
    CHECK(nlohmann::json::parse(render_version({"1.2.3", std::nullopt, "x"}, Format::Json)) ==
          nlohmann::json{{"client", "1.2.3"}, {"server", nullptr}});
}
