#include "tests/system/members.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/tables/process_tables.h"

namespace joblet::testing {

namespace fs = std::filesystem;

namespace {

enum class Group : std::uint8_t { Jobletd, Daemons, Job };

// Programs name themselves; whatever else lives in a job's group is its command or was started by it. There the name of the spawner
// is that of a stage which has just been cloned.
std::string kind_of(const std::string& name, Group group) {
    if (name == "joblet-init") {
        return "pid 1 of a job";
    }
    if (group == Group::Job) {
        return name == "joblet-stage" || name == "joblet-spawner" ? "" : "job";
    }
    if (name == "jobletd" && group != Group::Jobletd) {
        return ""; // cloned, and about to become another
    }
    static const auto kTables = process_tables();
    return std::ranges::find(kTables, name, &ProcessTable::process) != kTables.end() ? name : "";
}

std::string finished(const std::string& process, const std::map<std::string, std::string>& status) {
    if (process.empty()) {
        return {};
    }
    const auto found = status.find("Seccomp_filters");
    const auto expected = table_of(process).inherited.size() + 1;
    return found != status.end() && found->second == std::to_string(expected) ? process : std::string();
}

// Daemons are jobletd's children, but for the one of the broker's; what else lives in their groups was cloned by one of them and is
// about to become something else.
void add(std::vector<Member>& out, pid_t pid, Group group, pid_t jobletd) {
    auto status = status_of(pid);
    if (!status.contains("Seccomp_filters")) {
        return; // gone, or a zombie
    }
    const bool is_on_its_way = group == Group::Daemons && status["PPid"] != std::to_string(jobletd) && status["Name"] != "joblet-closer";
    auto process = is_on_its_way ? std::string() : finished(kind_of(status["Name"], group), status);
    if (!process.empty()) {
        // The kernel writes its capabilities first and its filters last, and it may have finished in between
        status = status_of(pid);
        if (!status.contains("Seccomp_filters")) {
            return;
        }
        if (finished(kind_of(status["Name"], group), status) != process) {
            process.clear();
        }
    }
    out.push_back({pid, std::move(process), std::move(status)});
}

} // namespace

std::map<std::string, std::string> status_of(pid_t pid) {
    std::map<std::string, std::string> out;
    std::istringstream in(read_file("/proc/" + std::to_string(pid) + "/status"));
    for (std::string line; std::getline(in, line);) {
        const auto colon = line.find(":\t");
        if (colon != std::string::npos) {
            out[line.substr(0, colon)] = line.substr(colon + 2);
        }
    }
    return out;
}

std::vector<Member> members_of(const Installation& here) {
    std::vector<Member> out;
    add(out, here.jobletd(), Group::Jobletd, here.jobletd());
    for (const pid_t pid : here.daemons("jobletd-cgroup")) {
        add(out, pid, Group::Daemons, here.jobletd());
    }
    std::error_code error; // a group may go while it is looked at
    for (fs::recursive_directory_iterator entry(here.cgroup(), error), end; entry != end; entry.increment(error)) {
        if (error || entry->path().filename() != "cgroup.procs") {
            continue;
        }
        const auto group = entry->path().string().starts_with(here.cgroup() + "/jobs/") ? Group::Job : Group::Daemons;
        std::istringstream pids(read_file(entry->path()));
        for (pid_t pid = 0; pids >> pid;) {
            if (pid != 0 && pid != here.jobletd()) {
                add(out, pid, group, here.jobletd());
            }
        }
    }
    return out;
}

} // namespace joblet::testing
