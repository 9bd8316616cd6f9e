#include "tests/system/systemd_service.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>

namespace joblet::testing {

namespace fs = std::filesystem;

namespace {

constexpr seconds kLimit(60);

void must(const Words& words) {
    const auto outcome = run({words}, kLimit);
    if (outcome.status != 0) {
        throw std::runtime_error(fmt::format("{} gave {}: {}", fmt::join(words, " "), outcome.status, outcome.err));
    }
}

// The words of README.md.
void install() {
    if (fs::exists("/usr/local/lib/systemd/system/joblet.service")) {
        return;
    }
    must({"/usr/bin/cmake", "--install", fs::path(JOBLET_BINARIES).parent_path()});
    must({"/usr/bin/systemd-sysusers"});
    must({"/usr/bin/systemd-tmpfiles", "--create", "joblet.conf"});
    must({"/usr/bin/systemctl", "daemon-reload"});
    const auto enabled = systemctl({"enable", kService});
    if (enabled.status != 0) {
        throw std::runtime_error(enabled.err);
    }
}

std::vector<std::string> processes_of_ours() {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const auto name = read_file(entry.path() / "comm");
        if (name.starts_with("joblet")) {
            out.push_back(name);
        }
    }
    return out;
}

} // namespace

Outcome systemctl(Words words) {
    words.insert(words.begin(), {"/usr/bin/systemctl", "--no-pager"});
    auto outcome = run({words}, kLimit);
    if (outcome.status != 0) {
        outcome.err += journal();
    }
    return outcome;
}

std::string journal() {
    return run({{"/usr/bin/journalctl", "--no-pager", "--output=cat", "--lines=40", "--unit=joblet*"}}, kLimit).out;
}

std::string property(const std::string& unit, const std::string& name) {
    const auto shown = run({{"/usr/bin/systemctl", "show", "--value", "--property=" + name, unit}}, kLimit);
    REQUIRE_MESSAGE(shown.status == 0, shown.err);
    return shown.out.substr(0, shown.out.find_last_not_of('\n') + 1);
}

SystemdService::SystemdService() {
    install();
    const auto started = systemctl({"start", kService});
    if (started.status != 0) {
        throw std::runtime_error(started.err);
    }
}

SystemdService::~SystemdService() {
    // The daemons first, as the one needs the other
    const auto stopped = systemctl({"stop", kKeeper});
    CHECK_MESSAGE(stopped.status == 0, stopped.err);
    CHECK(property(kService, "ActiveState") == "inactive");
    CHECK(property(kKeeper, "ActiveState") == "inactive");
    CHECK(processes_of_ours().empty());
    CHECK_FALSE(fs::exists(kServiceGroup));
    CHECK_FALSE(fs::exists(kKeeperGroup));
    CHECK_FALSE(fs::exists("/run/joblet/api.sock"));
    CHECK(becomes_true([] { return run({{"/usr/sbin/losetup", "--list", "--noheadings"}}).out.empty(); }));
    CHECK(read_file("/proc/self/mountinfo").find("joblet") == std::string::npos);
}

Command SystemdService::rnx(Words words, uid_t uid) const {
    Command command;
    command.words = {"/usr/local/bin/rnx"};
    command.words.insert(command.words.end(), words.begin(), words.end());
    command.uid = uid;
    return command;
}

json SystemdService::json_of(Words words, uid_t uid) const {
    words.insert(words.end(), {"--format", "json"});
    const auto outcome = run_rnx(words, uid);
    if (outcome.status != 0) {
        throw std::runtime_error(fmt::format("rnx {} gave {}: {}", fmt::join(words, " "), outcome.status, outcome.err));
    }
    return json::parse(outcome.out);
}

void SystemdService::create(const std::string& name, const std::string& size) const {
    const auto outcome = run_rnx({"volume", "create", name, "--size=" + size});
    REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
}

Command SystemdService::shell_command(Words options, const std::string& script) const {
    Words words = {"run"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "sh", "-c", script});
    return rnx(std::move(words));
}

std::string SystemdService::start_job(Words options, const std::string& script) const {
    options.insert(options.begin(), "--detach");
    const auto outcome = shell(std::move(options), script);
    REQUIRE_MESSAGE(outcome.status == 0, outcome.err);
    return outcome.out.substr(0, outcome.out.find('\n'));
}

json SystemdService::job(const std::string& id) const {
    return json_of({"job", "inspect", id});
}

std::string SystemdService::group_file(const std::string& id, const std::string& file) const {
    const auto text = read_file(fmt::format("{}/jobs/{}/{}", kKeeperGroup, id, file));
    return text.substr(0, text.find_last_not_of('\n') + 1);
}

} // namespace joblet::testing
