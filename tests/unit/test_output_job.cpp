// How jobs, worlds and bases are shown.
#include <doctest/doctest.h>

#include <string>
#include <tuple>
#include <vector>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "cli/output_job.h"

using namespace joblet::cli;

using Json = nlohmann::ordered_json;

namespace {

JobView running() {
    JobView job;
    job.id = "06365ce2f601cb14ec17a3885361d722";
    job.name = "train";
    job.owner = 1000;
    job.state = "running";
    job.started_ns = 1'700'000'000'000'000'000;
    job.command = {"sh", "-c", "echo it's"};
    job.base = "minimal";
    job.volumes = {{.volume = "00112233445566778899aabbccddeeff", .name = "data", .target = "/data", .read_only = true}};
    job.host_name = "box";
    return job;
}

JobView killed() {
    auto job = running();
    job.name.clear();
    job.state = "ended";
    job.exit =
        ExitView{.code = std::nullopt, .signal = 9, .status = 137, .reason = "killed by SIGKILL", .ended_ns = 1'700'000'060'000'000'000};
    return job;
}

LimitsView full_limits() {
    LimitsView limits;
    limits.memory_bytes = std::uint64_t{512} << 20U;
    limits.processes = 100;
    limits.cpu_milli = 1500;
    limits.io = {.read_bytes = 4096, .write_bytes = 0, .read_operations = 0, .write_operations = 50};
    limits.devices = {"8:0", "7:3"};
    limits.controllers = {"cpu", "io", "memory", "pids"};
    return limits;
}

std::vector<std::string> keys_of(const Json& json) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : json.items()) {
        keys.push_back(key);
    }
    return keys;
}

} // namespace

TEST_CASE("JSON of a job has exactly the promised keys, in their order") {
    const auto json = Json::parse(render_job(running(), Format::Json));
    CHECK(keys_of(json) == std::vector<std::string>{"id", "name", "owner", "state", "started_at", "exit", "command", "base", "volumes",
                                                    "host_name", "limits"});
    CHECK(json["exit"].is_null());
    CHECK(json["command"] == Json{"sh", "-c", "echo it's"});
    CHECK(keys_of(json["volumes"][0]) == std::vector<std::string>{"volume", "name", "target", "read_only"});
    const auto ended = Json::parse(render_job(killed(), Format::Json));
    CHECK(ended["name"].is_null());
    CHECK(ended["exit"] ==
          Json{{"code", nullptr}, {"signal", 9}, {"reason", "killed by SIGKILL"}, {"status", 137}, {"ended_at", "2023-11-14T22:14:20Z"}});
    auto job = killed();
    job.exit = ExitView{.code = 0, .signal = std::nullopt, .status = 0, .reason = "exited with code 0", .ended_ns = 0};
    CHECK(Json::parse(render_job(job, Format::Json))["exit"]["code"] == 0);
}

TEST_CASE("limits of a job are what the kernel holds, and null or \"not limited\" where it holds nothing") {
    auto job = running();
    CHECK(Json::parse(render_job(job, Format::Json))["limits"].is_null());
    CHECK(render_job(job, Format::Table).find("Memory") == std::string::npos);
    job.limits = full_limits();
    CHECK(Json::parse(render_job(job, Format::Json))["limits"].dump() ==
          R"({"memory_bytes":536870912,"swap_bytes":0,"processes":100,"cpus":1.5,)"
          R"("io":{"read_bytes":4096,"write_bytes":null,"read_operations":null,"write_operations":50},)"
          R"("devices":["8:0","7:3"],"controllers":["cpu","io","memory","pids"]})");
    CHECK(render_job(job, Format::Table)
              .ends_with("Memory         512.0 MiB\n"
                         "Swap           none\n"
                         "Processes      100\n"
                         "CPUs           1.5\n"
                         "Reads          4.0 KiB/s\n"
                         "Writes         50 operations/s\n"
                         "Devices        8:0, 7:3\n"
                         "Controllers    cpu, io, memory, pids\n"));
    CHECK(YAML::Load(render_job(job, Format::Yaml))["limits"]["cpus"].Scalar() == "1.5");
    // No controller of memory: swap is not held either
    job.limits = LimitsView{};
    CHECK(Json::parse(render_job(job, Format::Json))["limits"]["swap_bytes"].is_null());
    CHECK(Json::parse(render_job(job, Format::Json))["limits"]["controllers"] == Json::array());
    CHECK(render_job(job, Format::Table)
              .ends_with("Memory         not limited\n"
                         "Swap           not limited\n"
                         "Processes      not limited\n"
                         "CPUs           not limited\n"
                         "Reads          not limited\n"
                         "Writes         not limited\n"
                         "Devices        -\n"
                         "Controllers    -\n"));
}

TEST_CASE("parts of a CPU are told to the thousandth") {
    auto job = running();
    for (const auto& [milli, text, number] : {std::tuple{10, "0.01", "0.01"},
                                              {999, "0.999", "0.999"},
                                              {1000, "1", "1.0"},
                                              {2250, "2.25", "2.25"},
                                              {1000000, "1000", "1000.0"}}) {
        job.limits = full_limits();
        job.limits->cpu_milli = static_cast<std::uint64_t>(milli);
        CHECK(render_job(job, Format::Table).find("CPUs           " + std::string(text) + "\n") != std::string::npos);
        CHECK(Json::parse(render_job(job, Format::Json))["limits"]["cpus"].dump() == number);
    }
}

TEST_CASE("YAML of jobs says what JSON says") {
    const auto yaml = YAML::Load(render_jobs(std::vector{running(), killed()}, Format::Yaml));
    REQUIRE(yaml.size() == 2);
    CHECK(yaml[0]["volumes"][0]["read_only"].as<bool>());
    CHECK(yaml[0]["exit"].IsNull());
    CHECK(yaml[1]["exit"]["status"].as<unsigned>() == 137);
    CHECK(yaml[1]["command"][2].as<std::string>() == "echo it's");
}

TEST_CASE("a table of jobs has what one looks for, and fits the terminal") {
    CHECK(render_job_list(std::vector{running(), killed()}, Format::Table, false, std::nullopt) ==
          "ID            NAME   STATE    STARTED               EXIT  COMMAND\n"
          "06365ce2f601  train  running  2023-11-14T22:13:20Z  -     sh -c 'echo it'\\''s'\n"
          "06365ce2f601  -      ended    2023-11-14T22:13:20Z  137   sh -c 'echo it'\\''s'\n");
    CHECK(render_job_list(std::vector{running()}, Format::Table, true, 64U) ==
          "ID            NAME   OWNER  STATE    STARTED       EXIT  COMMAND\n"
          "06365ce2f601  train  1000   running  2023-11-14T…  -     sh -c …\n");
    CHECK(render_job_list({}, Format::Json, false, std::nullopt) == "[]\n");
}

TEST_CASE("a job in full says how it ended and what it has") {
    const auto text = render_job(killed(), Format::Table);
    for (const char* line :
         {"Name           -\n", "Exit status    137 (killed by SIGKILL)\n", "Volume         data at /data, read-only\n"}) {
        CHECK(text.find(line) != std::string::npos);
    }
    CHECK(render_job(running(), Format::Table).find("Exit status") == std::string::npos);
}

TEST_CASE("words are shown as one would type them, and nothing that a terminal would obey") {
    CHECK(shell_words(std::vector<std::string>{"a", "", "b c", "d'e", "--x=y"}) == "a '' 'b c' 'd'\\''e' --x=y");
    auto job = running();
    job.command = {"\x1b[2J"};
    CHECK(render_job_list(std::vector{job}, Format::Table, false, std::nullopt).find('\x1b') == std::string::npos);
    CHECK(render_job(job, Format::Table).find('\x1b') == std::string::npos);
}

TEST_CASE("exit statuses are one in a line, or a list") {
    CHECK(render_statuses(std::vector<unsigned>{0, 137}, Format::Table) == "0\n137\n");
    CHECK(Json::parse(render_statuses(std::vector<unsigned>{0, 137}, Format::Json)) == Json{0, 137});
}

TEST_CASE("a world is a block for people, and an object for programs") {
    WorldView world;
    world.mounts = {{.path = "/", .kind = "base", .size_bytes = 0, .read_only = true, .volume = ""},
                    {.path = "/work", .kind = "memory", .size_bytes = 1048576, .read_only = false, .volume = ""},
                    {.path = "/volumes/data", .kind = "volume", .size_bytes = 0, .read_only = false, .volume = "data"}};
    world.uid_first = 200000;
    world.uid_count = 65536;
    world.working_directory = "/work";
    world.environment = {"HOME=/work"};
    world.command = {"sh"};
    world.timeout_ns = 7'200'000'000'000;
    world.base = "minimal";
    CHECK(render_world(world, Format::Table) == "Command        sh\n"
                                                "Directory      /work\n"
                                                "Base           minimal\n"
                                                "User           0:0 inside; on the host 200000 and the 65536 from there on\n"
                                                "Host name      the first digits of its id\n"
                                                "Network        none\n"
                                                "Timeout        2h\n"
                                                "Log            none\n"
                                                "Environment    HOME=/work\n"
                                                "\n"
                                                "MOUNT          WHAT\n"
                                                "/              base, read-only\n"
                                                "/work          memory, 1.0 MiB\n"
                                                "/volumes/data  volume data\n");
    const auto json = Json::parse(render_world(world, Format::Json));
    CHECK(json["timeout_seconds"] == 7200);
    CHECK(json["limits"].is_null());
    world.limits = full_limits();
    CHECK(Json::parse(render_world(world, Format::Json))["limits"]["processes"] == 100);
    CHECK(render_world(world, Format::Table).find("Environment    HOME=/work\nMemory         512.0 MiB\n") != std::string::npos);
    CHECK(json["log_max_bytes"].is_null());
    CHECK(json["mounts"][1]["size_bytes"] == 1048576);
    CHECK(json["mounts"][2]["volume"] == "data");
}

TEST_CASE("a base that cannot be used says where to look") {
    const std::vector<BaseView> bases = {{"minimal", "pids", true}, {"debian", "masked", false}};
    CHECK(render_bases(bases, Format::Table, std::nullopt) == "NAME     PROC    USABLE\n"
                                                              "minimal  pids    yes\n"
                                                              "debian   masked  no: the daemon's log says why\n");
    CHECK(Json::parse(render_bases(bases, Format::Json, std::nullopt))[1] ==
          Json{{"name", "debian"}, {"proc", "masked"}, {"usable", false}});
}
