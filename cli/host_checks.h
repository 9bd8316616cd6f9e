// What rnx itself finds out about a host, from texts that everybody can read. Pure: host_texts.h reads them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/output_doctor.h"

namespace joblet::cli {

struct FileText {
    std::string text;
    int problem = 0; // errno: it could not be read
};

// The daemons as they are seen from outside.
struct DaemonTexts {
    pid_t supervisor = 0;           // who listens at the API's socket; 0: nobody does, or not in this pid namespace
    FileText children;              // as /proc/PID/task/PID/children; unread without `supervisor`
    std::vector<FileText> statuses; // /proc/PID/status of each of them
};

struct HostTexts {
    std::string kernel_release; // as uname -r
    FileText namespaces;        // names in /proc/self/ns, one in a line
    FileText passwd;            // /etc/passwd
    FileText subuid;            // /etc/subuid
    FileText subgid;            // /etc/subgid
    FileText enforce;           // /sys/fs/selinux/enforce
    DaemonTexts daemons;
};

// Host uids of jobs: `count` slots of kSlotIds from `first`. What is in volumes belongs to kForeignFirst and following.
struct SlotRange {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

CheckView check_kernel(std::string_view release);
CheckView check_namespaces(const FileText& names);
// nullopt: the daemon did not say.
CheckView check_uids(const HostTexts& texts, const std::optional<SlotRange>& slots);
// One for each kind of process that is confined in the same way.
std::vector<CheckView> check_filters(const DaemonTexts& daemons);
CheckView check_selinux(const FileText& enforce);
CheckView check_audit();

// All of these.
std::vector<CheckView> check_host(const HostTexts& texts, const std::optional<SlotRange>& slots);

} // namespace joblet::cli
