#include "tests/tables/process_tables.h"

#include <linux/capability.h>

#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>

#include "api-unpriv/filter_table.h"
#include "broker-root/broker/filter_table.h"
#include "broker-root/jobletd/caretaker.h"
#include "broker-root/jobletd/filter_table.h"
#include "broker-root/spawner/filter_table_init.h"
#include "broker-root/spawner/filter_table_job.h"
#include "broker-root/spawner/filter_table_spawner.h"
#include "broker-root/worker/filter_table.h"
#include "cli/filter_table.h"

namespace joblet::testing {

namespace {

std::vector<SyscallRule> rows(std::span<const SyscallRule> table) {
    return {table.begin(), table.end()};
}

std::vector<SyscallRefusal> rows(std::span<const SyscallRefusal> table) {
    return {table.begin(), table.end()};
}

std::vector<SyscallRule> joined(std::span<const SyscallRule> first, std::span<const SyscallRule> second) {
    auto all = rows(first);
    all.insert(all.end(), second.begin(), second.end());
    return all;
}

} // namespace

std::vector<ProcessTable> process_tables() {
    constexpr auto kKill = OtherCalls::KillProcess;
    constexpr auto kRefuse = OtherCalls::FailWithEPERM;
    return {
        {"jobletd",
         "broker-root/jobletd/filter_table.cpp",
         "Installed when all directories and sockets are there. Everything that is ever started inherits it, jobs too, so it has the rows "
         "of all the others, and refuses instead of killing: a job must be told EPERM.",
         rows(jobletd::own_calls()),
         {"joblet-broker", "joblet-closer", "joblet-worker", "joblet-spawner", "pid 1 of a job", "job"},
         jobletd::filter_table(),
         {},
         kRefuse,
         {}},
        {"jobletd-cgroup",
         "broker-root/jobletd/caretaker.cpp",
         "The process of jobletd that removes our cgroup at the end, and has the one capability which that takes.",
         rows(jobletd::caretaker_calls()),
         {},
         rows(jobletd::caretaker_calls()),
         {},
         kKill,
         {}},
        {"joblet-broker",
         "broker-root/broker/filter_table.cpp",
         "Installed before the first request is read.",
         rows(broker::filter_table()),
         {},
         rows(broker::filter_table()),
         {},
         kKill,
         {"jobletd"}},
        {"joblet-closer",
         "broker-root/broker/filter_table.cpp",
         "The process of the broker that closes sockets of clients, with what waits in them, and may take long for that.",
         rows(broker::closer_calls()),
         {},
         rows(broker::closer_calls()),
         {},
         kKill,
         {"jobletd"}},
        {"joblet-worker",
         "broker-root/worker/filter_table.cpp",
         "Installed before the first order is read; its own mount namespace, with device nodes in it, has been made by then.",
         rows(worker::worker_calls()),
         {},
         rows(worker::worker_calls()),
         {},
         kKill,
         {"jobletd"}},
        {"joblet-spawner",
         "broker-root/spawner/filter_table_spawner.cpp",
         "Installed before the first order is read, and holds for the stages that it clones. A job's filter can only be narrower than "
         "this one, so it has all that a job may call, and refuses instead of killing.",
         rows(spawner::stage_calls()),
         {"job"},
         joined(spawner::job_calls(), spawner::stage_calls()),
         {},
         kRefuse,
         {"jobletd", "controls"}},
        {"controls",
         "broker-root/spawner/filter_table_job.cpp",
         "No process of its own: a second filter of spawner, stages and jobs, because one that allows cannot say \"every ioctl but "
         "these\".",
         {},
         {},
         {},
         rows(spawner::refused_controls()),
         OtherCalls::LeaveToAllowlist,
         {"jobletd"}},
        {"pid 1 of a job",
         "broker-root/spawner/filter_table_init.cpp",
         "Installed by the stage when it has forked the command.",
         rows(spawner::init_calls()),
         {},
         rows(spawner::init_calls()),
         {},
         kKill,
         {"jobletd", "controls", "joblet-spawner"}},
        {"job",
         "broker-root/spawner/filter_table_job.cpp",
         "Installed before the command is executed. A number that is not here fails with EPERM, one of a later kernel too.",
         rows(spawner::job_calls()),
         {},
         rows(spawner::job_calls()),
         rows(spawner::job_refusals()),
         kRefuse,
         {"jobletd", "controls", "joblet-spawner"}},
        {"joblet-api",
         "api-unpriv/filter_table.cpp",
         "Installed before the first client is served, in both of its threads. The database is open by then, and no path can be opened "
         "any more. Landlock holds besides, from before the database is opened.",
         rows(api::allowed_calls()),
         {},
         rows(api::allowed_calls()),
         {},
         kKill,
         {"jobletd"}},
        {"rnx",
         "cli/filter_table.cpp",
         "Installed when the command line is read and the files that it names are open: root may run it, and it reads what a daemon sends.",
         rows(cli::filter_table()),
         {},
         rows(cli::filter_table()),
         {},
         kKill,
         {}},
    };
}

const ProcessTable& table_of(std::string_view process) {
    static const auto kTables = process_tables();
    const auto found = std::ranges::find(kTables, process, &ProcessTable::process);
    if (found == kTables.end()) {
        throw std::runtime_error("no process is called " + std::string(process));
    }
    return *found;
}

FilterProgram compiled(const ProcessTable& table) {
    auto program = compile_filter(table.calls, table.refusals, table.others);
    if (!program) {
        throw std::runtime_error(program.error());
    }
    return std::move(*program);
}

const std::vector<ProcessCapabilities>& process_capabilities() {
    static const std::vector<ProcessCapabilities> kTable = {
        {"jobletd",
         {CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_ADMIN, CAP_SYS_CHROOT, CAP_SYS_ADMIN, CAP_MKNOD},
         {CAP_SYS_RESOURCE, CAP_DAC_READ_SEARCH}},
        {"jobletd-cgroup", {CAP_DAC_OVERRIDE}, {}},
        {"joblet-broker", {}, {}},
        {"joblet-closer", {}, {}},
        {"joblet-worker", {CAP_CHOWN, CAP_SYS_CHROOT, CAP_SYS_ADMIN}, {CAP_SYS_RESOURCE, CAP_DAC_READ_SEARCH}},
        {"joblet-spawner", {CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_ADMIN, CAP_SYS_CHROOT, CAP_SYS_ADMIN}, {}},
        {"joblet-api", {}, {}},
        {"pid 1 of a job", {}, {}, false},
        {"job", {}, {}},
    };
    return kTable;
}

std::string_view capability_name(int capability) {
    switch (capability) {
    case CAP_CHOWN:
        return "CHOWN";
    case CAP_DAC_OVERRIDE:
        return "DAC_OVERRIDE";
    case CAP_DAC_READ_SEARCH:
        return "DAC_READ_SEARCH";
    case CAP_SETGID:
        return "SETGID";
    case CAP_SETUID:
        return "SETUID";
    case CAP_SETPCAP:
        return "SETPCAP";
    case CAP_NET_ADMIN:
        return "NET_ADMIN";
    case CAP_SYS_CHROOT:
        return "SYS_CHROOT";
    case CAP_SYS_ADMIN:
        return "SYS_ADMIN";
    case CAP_MKNOD:
        return "MKNOD";
    case CAP_SYS_RESOURCE:
        return "SYS_RESOURCE";
    default:
        throw std::runtime_error("a capability that nothing of ours has");
    }
}

} // namespace joblet::testing
