// What the broker orders of the spawner, and what a stage reports to the broker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <variant>

#include "broker-root/worker/orders.h"
#include "shared/error.h"
#include "shared/exit_record.h"
#include "shared/id.h"
#include "shared/name.h"

namespace joblet::spawner {

enum class OrderType : std::uint32_t { MakeSlot = 1, Launch = 2 };

struct OrderHeader {
    OrderType type{};
    std::uint32_t zero = 0;
    std::uint64_t sequence = 0;
};
// Answer: two user namespaces. J maps 0 … 65535 to the slot, for the job; V maps the foreign range to the slot, for
// idmapped mounts. They cannot be one (launch.md: using J for the idmap gives wrong owners silently).
struct MakeSlot {
    static constexpr auto kType = OrderType::MakeSlot;
    OrderHeader header;
    std::uint32_t slot_first = 0; // host uid
    std::uint32_t zero = 0;
};
struct MountPoint {
    NameText name;     // moved to /volumes/<name>
    TargetText target; // and cloned to here, unless empty
};
// Clones a stage into the cgroup and answers at once with its pidfd; the rest is between the stage and the broker.
struct Launch {
    static constexpr auto kType = OrderType::Launch;
    OrderHeader header;
    NameText host_name;
    std::uint64_t timeout_ns = 0; // of CLOCK_MONOTONIC, from the fork of the command; 0: none; at most protocol::kTimeoutMax
    std::uint64_t log_bytes = 0;  // with kLaunchDetached: what both log files may hold together, at least protocol::kLogMin; else 0
    worker::JobKind kind{};
    std::uint32_t flags = 0; // kLaunch…
    // Inside, 0 … 65535; a system job has 0. The job's process takes them, without further groups, before it gives up its
    // capabilities. Its terminal, the pipes of its log and the root of /work are given to them, too. Not so /tmp and /dev/shm, which
    // are everybody's (01777), its volumes, and /work if it is read-only: whoever makes that one lets everybody read it.
    std::uint32_t user = 0;
    std::uint32_t group = 0;
    std::uint32_t volume_count = 0;
    std::uint32_t label_owner = 0; // whose SELinux categories it runs with: the job's owner; of a system job, its volume's
    std::array<MountPoint, protocol::kJobVolumesMax> volumes{};
};
inline constexpr std::uint32_t kLaunchDetached = 1; // stdin is /dev/null, stdout and stderr go to the log; the control socket is not read
// Stays in the host's network namespace, and so reaches the host's abstract AF_UNIX sockets, too: they belong to that namespace, not
// to a file system, and ask nobody for permission unless their servers do. Not for a system job.
inline constexpr std::uint32_t kLaunchHostNetwork = 2;
inline constexpr std::uint32_t kLaunchMaskedProc = 4; // all of proc, with its dangerous parts masked (proc_masks.h)

// Descriptors of Launch, with kLaunchDetached two log files (see shared/job_log.h), then one detached mount for each volume.
// Stdio is not among them: it waits in the control socket as a ControlHello, see shared/exit_record.h.
enum LaunchDescriptor : std::uint8_t {
    kLaunchTemplate = 0,
    kLaunchUserNamespace = 1, // J
    kLaunchCgroup = 2,        // O_PATH directory
    kLaunchExitRecord = 3,
    kLaunchSpec = 4,    // memfd, see shared/job_spec.h
    kLaunchControl = 5, // rnx's socket; a system job has one nobody writes to after the hello
    kLaunchStatus = 6,  // the broker's socket: StageReport out, ControlRequest in
    kLaunchVolumesMount = 7,
    kLaunchWorkMount = 8,
    kLaunchTmpMount = 9,
    kLaunchShmMount = 10,
    kLaunchPtsMount = 11,
    kLaunchFixed = 12,
};
inline constexpr std::size_t kLaunchLogFiles = 2;
// Where the volumes' descriptors begin.
std::size_t first_volume_of(const Launch& order);

using Order = std::variant<MakeSlot, Launch>;
inline constexpr std::size_t kOrderSizeMax = 8192;
static_assert(sizeof(Launch) <= kOrderSizeMax);

// Pure: exact size, exact number of descriptors, known enums, texts well formed. An error is EBADMSG.
std::expected<Order, int> decode_order(std::span<const std::byte> bytes, std::size_t descriptor_count);

struct Answer { // MakeSlot: two descriptors (J, V). Launch: one (pidfd)
    OrderType type{};
    ErrorCode code = ErrorCode::Ok;
    std::uint64_t sequence = 0;
    Step step = Step::None;
    std::int32_t sys_errno = 0;
};

// Stage to broker, on kLaunchStatus. `Namespace` comes with one descriptor, the job's mount namespace, and before the
// stage has given up its power; `Running` when the command was executed; `Ended` with the exit record, after the record was
// written to the file and before rnx is told: who has seen the exit, can count on the broker knowing.
enum class StageReportType : std::uint32_t { Namespace = 1, Running = 2, Ended = 3 };
struct StageReport {
    StageReportType type{};
    std::uint32_t zero = 0;
    ExitRecord exit; // Ended
};

} // namespace joblet::spawner
