// The units of packaging/systemd say the same as the code.
#include <doctest/doctest.h>

#include <linux/capability.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "broker-root/jobletd/arguments.h"
#include "broker-root/jobletd/services.h"

namespace joblet::jobletd {
namespace {

// Values of all lines of that key, one after the other.
std::string setting(const std::string& unit, const std::string& key) {
    std::ifstream file(std::string(JOBLET_SOURCE) + "/packaging/systemd/" + unit);
    REQUIRE(file);
    std::string out;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(key + "=")) {
            out += (out.empty() ? "" : " ") + line.substr(key.size() + 1);
        }
    }
    return out;
}

std::vector<std::string> words_of(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> out;
    for (std::string word; in >> word;) {
        out.push_back(word);
    }
    return out;
}

Arguments command_line_of(const std::string& unit) {
    const auto words = words_of(setting(unit, "ExecStart"));
    REQUIRE(words.size() > 1);
    CHECK(words.front() == "jobletd"); // systemd finds it where it was installed: in /usr/local/sbin or /usr/sbin
    std::vector<const char*> arguments;
    for (std::size_t i = 1; i < words.size(); ++i) {
        arguments.push_back(words[i].c_str());
    }
    const auto parsed = parse_arguments(arguments, "/");
    REQUIRE_MESSAGE(parsed, parsed.error());
    return *parsed;
}

TEST_CASE("packaging: the service may have the capabilities that jobletd hands on, and no other") {
    const std::map<std::string, int> numbers = {
        {"CAP_CHOWN", CAP_CHOWN},           {"CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH},
        {"CAP_MKNOD", CAP_MKNOD},           {"CAP_NET_ADMIN", CAP_NET_ADMIN},
        {"CAP_SETGID", CAP_SETGID},         {"CAP_SETPCAP", CAP_SETPCAP},
        {"CAP_SETUID", CAP_SETUID},         {"CAP_SYS_ADMIN", CAP_SYS_ADMIN},
        {"CAP_SYS_CHROOT", CAP_SYS_CHROOT}, {"CAP_SYS_RESOURCE", CAP_SYS_RESOURCE},
    };
    CapabilityMask mask = 0;
    for (const auto& word : words_of(setting("joblet.service", "CapabilityBoundingSet"))) {
        CAPTURE(word);
        REQUIRE(numbers.contains(word));
        mask |= bit(numbers.at(word));
    }
    CHECK(mask == (kHandedOn | kOnDemand));
    CHECK(setting("joblet-jobs.service", "CapabilityBoundingSet") == "CAP_SETPCAP"); // to give up what there is not
}

TEST_CASE("packaging: jobs are in the group that the other unit keeps") {
    CHECK(command_line_of("joblet-jobs.service").action == Action::KeepJobsCgroup);
    const auto service = command_line_of("joblet.service");
    CHECK(service.action == Action::Run);
    CHECK(service.jobs_cgroup == setting("joblet-jobs.service", "Slice") + "/joblet-jobs.service/jobs");
    CHECK(setting("joblet.service", "BindsTo") == "joblet-jobs.service");
    CHECK(words_of(setting("joblet-jobs.service", "Delegate")) == std::vector<std::string>{"cpu", "io", "memory", "pids"});
}

} // namespace
} // namespace joblet::jobletd
