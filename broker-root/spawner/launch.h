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
    worker::JobKind kind{};
    std::uint32_t volume_count = 0;
    std::array<MountPoint, protocol::kJobVolumesMax> volumes{};
};
// Descriptors of Launch, then one detached mount for each volume.
// Stdio is not among them: it waits in the control socket as a ControlHello, see shared/exit_record.h.
enum LaunchDescriptor : std::uint8_t {
    kLaunchTemplate = 0,
    kLaunchUserNamespace = 1, // J
    kLaunchCgroup = 2,        // O_PATH directory
    kLaunchExitRecord = 3,
    kLaunchSpec = 4,    // sealed memfd, see shared/job_spec.h
    kLaunchControl = 5, // rnx's socket; a system job has one nobody writes to after the hello
    kLaunchStatus = 6,  // the broker's socket: StageReport out, ControlRequest in
    kLaunchVolumesMount = 7,
    kLaunchWorkMount = 8,
    kLaunchTmpMount = 9,
    kLaunchShmMount = 10,
    kLaunchPtsMount = 11,
    kLaunchFixed = 12,
};

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
