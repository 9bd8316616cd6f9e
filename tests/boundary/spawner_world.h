// What the tests of the spawner share: a spawner with a slot, volumes of the host's, a look at a process.
#pragma once

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "broker-root/kernel/mount.h"
#include "broker-root/layout.h"
#include "tests/boundary/spawner_harness.h"

namespace joblet::testing {

namespace fs = std::filesystem;
using nlohmann::json;
using worker::JobKind;

inline JobOptions run_of(std::vector<std::string> arguments) {
    JobOptions options;
    options.spec.arguments = std::move(arguments);
    return options;
}

inline JobOptions guest(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "/guest/joblet-guest");
    return run_of(std::move(arguments));
}

// A spawner with one slot
struct World {
    SpawnerProcess spawner;
    Slot slot = make_slot(spawner);

    TestJob start(JobOptions options) {
        return TestJob(spawner, slot, std::move(options));
    }
    ExitRecord end_of(JobOptions options) {
        auto job = start(std::move(options));
        job.read_output();
        REQUIRE(job.finish());
        const auto record = job.agreed();
        REQUIRE(record);
        return *record;
    }
    json report_of(JobOptions options) {
        auto job = start(std::move(options));
        const std::string text = job.read_output();
        REQUIRE(job.finish());
        REQUIRE(job.agreed());
        INFO(text);
        CHECK(job.agreed()->kind == ExitKind::Exited);
        CHECK(job.agreed()->code == 0);
        return json::parse(text);
    }
};

inline std::string status_field(pid_t pid, const std::string& key) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(key + ":")) {
            const auto begin = line.find_first_not_of(" \t", key.size() + 1);
            return begin == std::string::npos ? "" : line.substr(begin);
        }
    }
    return {};
}

// A directory of the host's, outside /tmp, gone at the end
struct HostDirectory {
    fs::path path = "/var/lib/joblet-test-" + std::to_string(::getpid());
    HostDirectory() {
        fs::create_directory(path);
    }
    ~HostDirectory() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

inline TestVolume foreign_volume(const HostDirectory& host, const Slot& slot, int user_namespace, std::string target = "") {
    const fs::path path = host.path / "volume";
    fs::create_directory(path);
    REQUIRE(::chown(path.c_str(), kForeignFirst, kForeignFirst) == 0);
    REQUIRE(::chmod(path.c_str(), 0700) == 0);
    auto mount = kernel::clone_mount(AT_FDCWD, path.c_str());
    REQUIRE(mount);
    REQUIRE(kernel::set_attributes(mount->get(), kernel::Attributes::NoSuidNoDev));
    REQUIRE(kernel::idmap_mount(mount->get(), user_namespace < 0 ? slot.volume.get() : user_namespace));
    return {"data", std::move(target), std::move(*mount)};
}

} // namespace joblet::testing
