#include "tests/system/vm_parts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include <fmt/format.h>

namespace joblet::testing {

Installation::Options vm_options(StoreMount::Kind kind, const std::string& broker_toml, const std::string& where) {
    Installation::Options options;
    options.arguments = {"--enable-controllers"};
    options.broker_toml = broker_toml;
    options.store = {kind, where};
    return options;
}

StoreMount::Kind quota_kind() {
    const char* const wanted = std::getenv("JOBLET_TEST_STORE");
    return wanted != nullptr && std::string_view(wanted) == "ext4" ? StoreMount::Kind::Ext4Quota : StoreMount::Kind::XfsQuota;
}

bool is_about(std::uint64_t bytes, std::uint64_t asked) {
    constexpr std::uint64_t kOwn = 131072 + 4096; // and whole blocks
    return bytes >= asked && bytes <= asked + asked / 1024 + kOwn;
}

bool is_about_inodes(std::uint64_t inodes, std::uint64_t asked) {
    return inodes >= asked && inodes <= asked + 2;
}

bool says(const Outcome& outcome, std::string_view word) {
    return outcome.err.find(word) != std::string::npos || outcome.out.find(word) != std::string::npos;
}

std::string id_of(const Installation& here, const std::string& name, uid_t uid) {
    return here.json_of({"volume", "inspect", name}, uid)["id"];
}

json usage_of(const Installation& here, const std::string& name, uid_t uid) {
    const json all = here.json_of({"volume", "usage", name}, uid);
    REQUIRE(all.size() == 1);
    return all[0];
}

std::uint64_t size_of(const Installation& here, const std::string& name) {
    return here.json_of({"volume", "inspect", name})["size_bytes"].get<std::uint64_t>();
}

std::uint32_t project_of(const Installation& here, const std::string& volume_id) {
    const auto listed = run({{"/usr/bin/lsattr", "-pd", here.state() + "/volumes/" + volume_id + "/project"}});
    REQUIRE_MESSAGE(listed.status == 0, listed.err);
    return static_cast<std::uint32_t>(std::stoul(listed.out));
}

QuotaRow quota_row(const Installation& here, std::uint32_t project) {
    // "#1241513984 -- USED SOFT HARD USED SOFT HARD"; with -p a time limit is a number, and always there
    const auto report = run({{"/usr/sbin/repquota", "-P", "-n", "-p", here.state()}});
    REQUIRE_MESSAGE(report.status == 0, report.err);
    const auto name = fmt::format("#{} ", project);
    std::istringstream lines(report.out);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(name)) {
            std::istringstream words(line);
            std::string word;
            QuotaRow row;
            std::uint64_t skipped = 0;
            words >> word >> word >> row.used_kib >> row.soft_kib >> row.hard_kib >> skipped >> row.used_inodes >> skipped >>
                row.hard_inodes;
            REQUIRE_MESSAGE(!words.fail(), line);
            return row;
        }
    }
    return {};
}

json doctor(const Installation& here) {
    const auto outcome = here.run_rnx({"doctor", "--format=json"}, 0, seconds(60));
    REQUIRE_MESSAGE((outcome.status == 0 || outcome.status == 1), outcome.err);
    return json::parse(outcome.out);
}

bool check_ok(const json& report, const std::string& subject) {
    const auto found = std::ranges::find_if(report["checks"], [&subject](const json& one) { return one["subject"] == subject; });
    REQUIRE_MESSAGE(found != report["checks"].end(), subject);
    return (*found)["ok"];
}

std::string only_job(const Installation& here) {
    const auto groups = here.job_groups();
    REQUIRE(groups.size() == 1);
    return groups.front();
}

std::string group_file(const Installation& here, const std::string& job, const std::string& file) {
    const std::string text = read_file(here.cgroup() + "/jobs/" + job + "/" + file);
    return text.substr(0, text.find_last_not_of('\n') + 1);
}

void bring_guest(const Installation& here, uid_t uid) {
    here.create("tools", "16MiB", "filesystem", uid);
    auto command = here.shell_command({"-v", "tools:/tools"}, "cat >/tools/guest && chmod 755 /tools /tools/guest", uid);
    command.input = read_file(binary("joblet-guest"));
    REQUIRE(run(command).status == 0);
}

} // namespace joblet::testing
