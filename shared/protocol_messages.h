// The boundary's other direction: what joblet-broker says to joblet-api. Shapes as in protocol.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <variant>

#include "shared/protocol.h"

namespace joblet::protocol {

struct VolumeEntry {
    VolumeId id;
    NameText name;
    std::uint64_t size_bytes = 0;
    std::uint64_t inodes = 0;
    std::int64_t created_ns = 0;       // CLOCK_REALTIME
    std::int64_t last_used_ns = 0;     // 0: never
    std::int64_t trashed_until_ns = 0; // CLOCK_REALTIME, if Trashed: deleted for good after it; otherwise 0
    JobId current_job;                 // none if not attached (of several readers: one)
    std::uint32_t owner_uid = 0;
    VolumeType type{};
    Backend backend{};
    VolumeStatus status{};
    std::uint32_t labels_size = 0;
    std::uint32_t flags = 0;           // kVolume…
    std::uint64_t soft_size_bytes = 0; // 0: none
    std::uint64_t soft_inodes = 0;
    IoLimits io;
};
inline constexpr std::uint32_t kVolumeProtected = 1;
inline constexpr std::uint32_t kVolumeNoSwap = 2; // Memory: the kernel keeps it out of swap

enum class JobState : std::uint32_t { Starting = 1, Running = 2, Ended = 3 };

// What the kernel holds a job to; 0: no such limit.
struct JobLimits {
    std::uint64_t memory_bytes = 0;
    std::uint64_t swap_bytes = 0; // counts only with kControllerMemory, where 0 means none at all
    std::uint64_t processes = 0;
    std::uint64_t cpu_milli = 0;
    IoLimits io;                   // on each of `devices`
    std::uint32_t controllers = 0; // that hold anything of this
    std::uint32_t device_count = 0;
    std::array<Device, kDevicesMax> devices{};
};

struct JobEntry {
    JobId id;
    std::int64_t started_ns = 0; // CLOCK_REALTIME
    ExitRecord exit;             // all zero unless ended
    std::uint32_t owner_uid = 0;
    JobState state{};
    std::uint32_t volume_count = 0;
    std::uint32_t zero = 0;
    std::array<VolumeId, kJobVolumesMax> volumes{};
    JobLimits limits;
};

enum class MessageType : std::uint32_t {
    Reply = 1,         // to a request, by sequence
    Connection = 2,    // a client, with its socket
    VolumeChanged = 3, // also for a volume that is new
    VolumeGone = 4,
    JobChanged = 5, // started, or ended
};

struct Reply {
    static constexpr auto kType = MessageType::Reply;
    MessageType type = kType;
    RequestType request{};
    std::uint64_t sequence = 0;
    ErrorCode code = ErrorCode::Ok;
    Step step = Step::None;
    std::int32_t sys_errno = 0; // 0: no kernel call failed
    std::uint32_t flags = 0;    // kReplyExisted
    // LimitExceeded and OutOfSpace: the limit's value, what is used, what was asked (which limit: `which`, see LimitKind)
    std::uint32_t which = 0;
    std::uint32_t count = 0; // entries that follow in `volumes` or `jobs`
    std::uint64_t limit = 0;
    std::uint64_t used = 0;
    std::uint64_t asked = 0;
    VolumeId volume; // the subject: created, conflicting or in use
    JobId job;       // started, or the one that holds the volume
};
inline constexpr std::uint32_t kReplyExisted = 1; // CreateVolume: the same volume was there already
inline constexpr std::uint32_t kReplyMore = 2;    // a list goes on after the last entry

enum class LimitKind : std::uint32_t {
    None = 0,
    VolumeSize = 1,
    VolumesPerUser = 2,
    BytesPerUser = 3,
    JobsPerUser = 4,
    Slots = 5,
    AttachedMemoryPerUser = 6,
    AttachedMemoryOfHost = 7,
    VolumesPerJob = 8,
    WorkSize = 9,
    TmpSize = 10,
    LogSize = 11,
    Memory = 12,
    Processes = 13,
    Cpus = 14,
    VolumeUsage = 15, // what a volume holds already: a smaller size is refused
    ChannelsPerConnection = 16,
};

inline constexpr std::size_t kPageEntries = 16;
struct VolumePage { // reply to ListVolumes
    Reply reply;
    std::array<VolumeEntry, kPageEntries> volumes{};
    // Of each entry in turn, labels_size bytes, nothing between; a page ends early when the next do not fit. Beyond: zero.
    std::array<std::uint8_t, 2 * kLabelsMax> labels{};
};
struct VolumeDetail { // reply to StatVolume
    Reply reply;
    VolumeEntry volume;
    std::array<std::uint8_t, kLabelsMax> labels{};
};
struct JobPage { // reply to ListJobs
    Reply reply;
    std::array<JobEntry, kPageEntries> jobs{};
};
enum class ProcKind : std::uint32_t { Pids = 0, Masked = 1 }; // only the job's processes; or all of proc but its dangerous parts
struct JobWorld {                                             // reply to StartJob: what the job has, or (dry run) would have
    Reply reply;
    std::uint64_t work_bytes = 0;
    std::uint64_t tmp_bytes = 0;
    std::uint64_t shm_bytes = 0;
    std::uint64_t log_bytes = 0;  // 0: no log
    std::uint32_t slot_first = 0; // host uid and gid of the job's 0
    std::uint32_t slot_ids = 0;   // how many follow it
    ProcKind proc{};
    std::uint32_t zero = 0;
    JobLimits limits; // a dry run knows no loop device yet
};
inline constexpr std::size_t kBasesMax = 64; // in broker.toml
struct BaseEntry {
    NameText name;
    ProcKind proc{};
    std::uint32_t is_usable = 0; // 0: refused when the daemons started; the log says why
};
struct BaseList { // reply to ListBases; reply.count entries, by name
    Reply reply;
    std::array<BaseEntry, kBasesMax> bases{};
};
// As the kernel counts now; a limit is what it holds, which may be more than was asked (btrfs: room for its tree). 0: no limit.
struct Usage {
    std::uint64_t bytes = 0;
    std::uint64_t bytes_limit = 0;
    std::uint64_t bytes_soft = 0;
    std::uint64_t inodes = 0;
    std::uint64_t inodes_limit = 0;
    std::uint64_t inodes_soft = 0;
    std::int64_t bytes_grace_ns = 0; // CLOCK_REALTIME: above the soft limit, when it becomes a hard one; 0: it is not above
    std::int64_t inodes_grace_ns = 0;
};
struct VolumeMeasure { // reply to MeasureVolume
    Reply reply;
    Usage usage;
};

struct BackendReport {
    Backend backend{};
    ErrorCode code{};           // Ok: a volume was made and its limit held against a job that wrote beyond it
    Step step{};                // otherwise what failed
    std::int32_t sys_errno = 0; // and how
};
enum class DifferenceKind : std::uint32_t {
    UnknownVolume = 1,      // id: a directory in volumes/ that no record in memory has
    MissingVolume = 2,      // id: a record whose directory is gone
    DamagedVolume = 3,      // id: what its record promises is not there
    HeldByNobody = 4,       // id: attached, as the kernel says, and no job has it
    UnknownTrash = 5,       // id: in trash/
    LeftInStaging = 6,      // id
    QuotaWithoutVolume = 7, // there: project id
    QuotaDiffers = 8,       // id; there: bytes the kernel holds it to, expected: bytes
    ProjectDiffers = 9,     // id; there: project id of its directory, expected
    GroupWithoutJob = 10,   // id of the job that had it
    JobWithoutGroup = 11,   // id
    UnknownRunningJob = 12, // id: a record in /run/joblet/jobs
    UnknownEndedJob = 13,   // id: a directory in /opt/joblet/jobs
    SharedSlot = 14,        // id: a job in the slot of another one; there: its number
    NotMounted = 15,        // id: of a volume that a running job has, as its record says
};
inline constexpr std::uint32_t kDifferenceKindCount = 16;
struct Difference {
    std::array<std::uint8_t, 16> id{}; // of a volume or job
    DifferenceKind kind{};
    std::uint32_t zero = 0;
    std::uint64_t there = 0;
    std::uint64_t expected = 0;
};
inline constexpr std::size_t kBackendsMax = 4;
inline constexpr std::size_t kDifferencesMax = 128;
struct HostFacts { // reply to HostReport; reply.count differences; kReplyMore: there are others
    Reply reply;
    std::array<BackendReport, kBackendsMax> backends{}; // project quota, btrfs, image, tmpfs
    std::uint32_t chosen_backend = 0;                   // Backend that "auto" takes here
    std::uint32_t store_magic = 0;                      // f_type of the store's file system, as statfs(2)
    std::uint32_t controllers = 0;                      // kController…: that hold limits of jobs
    std::uint32_t required_controllers = 0;             // by broker.toml
    std::uint32_t flags = 0;                            // kHost…
    std::uint32_t slot_first = 0;                       // host uid
    std::uint32_t slot_count = 0;                       // of 65536 uids each
    std::uint32_t device_count = 0;
    std::uint64_t audit_records = 0; // number of the last one
    std::int32_t audit_errno = 0;    // why none can be written; 0: they are
    std::uint32_t zero = 0;
    std::array<Device, kStoreDevicesMax> devices{}; // whole, below the store; none: they are not known, and io limits refused
    std::array<Difference, kDifferencesMax> differences{};
};
inline constexpr std::uint32_t kHostSurveyed = 1;   // differences were looked for
inline constexpr std::uint32_t kHostNoSwap = 2;     // memory volumes stay out of swap
inline constexpr std::uint32_t kHostOnlineGrow = 4; // images can be grown while they are attached
// Every other request is answered by a bare Reply.

// Why a connection is for nothing but to tell its client so: the broker takes no request in its name.
enum class ConnectionRefusal : std::uint32_t { None = 0, NotOnTheLists = 1, TooMany = 2 };
struct Connection { // with one descriptor: the accepted socket
    static constexpr auto kType = MessageType::Connection;
    MessageType type = kType;
    std::uint32_t uid = 0;
    ConnectionNumber number = 0;
    std::uint32_t gid = 0;
    std::uint32_t pid = 0;
    std::uint32_t admin = 0; // 1: may ask with Authority::Admin
    ConnectionRefusal refusal = ConnectionRefusal::None;
    std::uint64_t allowed = 0; // TooMany: connections that this user may have, and has
};
struct VolumeChanged {
    static constexpr auto kType = MessageType::VolumeChanged;
    MessageType type = kType;
    std::uint32_t zero = 0;
    VolumeEntry volume;
    std::array<std::uint8_t, kLabelsMax> labels{};
};
struct VolumeGone {
    static constexpr auto kType = MessageType::VolumeGone;
    MessageType type = kType;
    std::uint32_t zero = 0;
    VolumeId id;
};
struct JobChanged {
    static constexpr auto kType = MessageType::JobChanged;
    MessageType type = kType;
    std::uint32_t zero = 0;
    JobEntry job;
};

using Message = std::variant<Reply, VolumePage, VolumeDetail, JobPage, JobWorld, BaseList, VolumeMeasure, HostFacts, Connection,
                             VolumeChanged, VolumeGone, JobChanged>;
inline constexpr std::size_t kMessageSizeMax = 16384;
static_assert(sizeof(JobPage) <= kMessageSizeMax && sizeof(VolumePage) <= kMessageSizeMax && sizeof(VolumeDetail) <= kMessageSizeMax &&
              sizeof(BaseList) <= kMessageSizeMax && sizeof(HostFacts) <= kMessageSizeMax);

inline constexpr std::size_t kLogDescriptors = 2; // of a Reply to OpenLog that is Ok
// Of a Reply to CreateChannel that is Ok: the user's end of the job's control socket (shared/exit_record.h), and memory for the JobSpec
// (shared/job_spec.h).
enum ChannelDescriptor : std::uint8_t { kUsersEnd = 0, kSpecMemory = 1, kChannelDescriptors = 2 };

// Pure; the API's side. A broker that sends what does not decode is not ours: the API ends.
std::expected<Message, DecodeError> decode_message(std::span<const std::byte> bytes, std::size_t descriptor_count);

} // namespace joblet::protocol
