// The boundary: what joblet-api may say to joblet-broker, and what the broker says back.
//
// One request is one datagram: a trivially copyable struct of fixed size, with an exact number of descriptors of an
// exact kind. Whatever is not exactly that is fatal for the API process that sent it. Every value that decodes is
// meaningful; there is nothing to sanitise later. kRequests is the one table of requests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <type_traits>
#include <variant>

#include "shared/error.h"
#include "shared/exit_record.h"
#include "shared/id.h"
#include "shared/name.h"

namespace joblet::protocol {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kLabelsMax = 4096; // bytes of the label blob, stored unread by the broker
inline constexpr std::size_t kJobVolumesMax = 16;
inline constexpr std::uint64_t kVolumeSizeMin = std::uint64_t{1} << 20U; // 1 MiB
inline constexpr std::uint64_t kVolumeSizeMax = std::uint64_t{1} << 50U; // 1 PiB
// Inodes cost room beside the size that is counted: more than one for each KiB asked for is refused.
inline constexpr std::uint64_t kBytesPerInodeMin = 1024;
inline constexpr std::uint64_t kJobSpecMax = std::uint64_t{2} << 20U; // bytes of the sealed memfd

// Connections are numbered by the broker, from a random epoch; 0 is none (housekeeping).
using ConnectionNumber = std::uint64_t;

enum class RequestType : std::uint32_t {
    CreateVolume = 1,
    DeleteVolume = 2,
    StatVolume = 3,
    ListVolumes = 4,
    StartJob = 5,
    SignalJob = 6,
    ListJobs = 7,
    ReleaseJob = 8,
    CloseConnection = 9,
    RestoreVolume = 10,
    ProtectVolume = 11,
    LabelVolume = 12,
    RenameVolume = 13,
    AttachVolume = 14,
    DetachVolume = 15,
    AdminRead = 16,
    OpenLog = 17,
    ListBases = 18,
};
enum class VolumeType : std::uint32_t { Filesystem = 1, Memory = 2 };
// What holds a volume. Auto is only ever asked for, never stored.
enum class Backend : std::uint32_t { Auto = 0, Image = 1, Tmpfs = 2, Btrfs = 4 };
enum class VolumeStatus : std::uint32_t { Available = 1, InUse = 2, Trashed = 3, Quarantined = 4 };
enum class Access : std::uint32_t { ReadWrite = 0, ReadOnly = 1 };
// Whose power a request uses: the connection's own user, or (only for a uid in the list of admins) everybody's.
enum class Authority : std::uint32_t { User = 0, Admin = 1 };

std::string_view volume_type_name(VolumeType type);       // "filesystem", "memory"
std::string_view backend_name(Backend backend);           // "auto", "image", "tmpfs", "btrfs"
std::string_view volume_status_name(VolumeStatus status); // "available", "in_use", "trashed", "quarantined"

// ---------------------------------------------------------------- requests

struct RequestHeader {
    std::uint32_t version = kVersion;
    RequestType type{};
    std::uint64_t sequence = 0; // of this API process: 1, 2, 3, …; anything else is a repeated or lost datagram
    ConnectionNumber connection = 0;
};

struct CreateVolume {
    static constexpr auto kType = RequestType::CreateVolume;
    RequestHeader header;
    NameText name;
    std::uint64_t size_bytes = 0; // kVolumeSizeMin … kVolumeSizeMax
    std::uint64_t inodes = 0;     // 0: the backend's default for this size; at most size_bytes / kBytesPerInodeMin
    VolumeType type{};
    Backend backend{}; // Auto or one that fits the type
    std::uint32_t labels_size = 0;
    std::uint32_t zero = 0;
    std::array<std::uint8_t, kLabelsMax> labels{}; // beyond labels_size: zero
};
struct DeleteVolume {
    static constexpr auto kType = RequestType::DeleteVolume;
    RequestHeader header;
    VolumeId id;
    Authority authority{};
    std::uint32_t flags = 0; // kDeleteForce, kDeleteNow
};
inline constexpr std::uint32_t kDeleteForce = 1; // detached from the running jobs that have it, first
inline constexpr std::uint32_t kDeleteNow = 2;   // not kept in the trash, also if it is there already
inline constexpr std::uint32_t kDeleteWait = 4;  // answered when its contents are gone, too; with kDeleteNow
struct StatVolume {
    static constexpr auto kType = RequestType::StatVolume;
    RequestHeader header;
    VolumeId id;
};
// Volumes in ascending order of id, beginning after `after` (none: from the start), at most kPageEntries.
struct ListVolumes {
    static constexpr auto kType = RequestType::ListVolumes;
    RequestHeader header;
    VolumeId after;
};
struct JobVolume {
    VolumeId id;
    TargetText target; // empty: only at /volumes/<name>
    Access access{};
    std::uint32_t zero = 0;
};
struct StartJob {
    static constexpr auto kType = RequestType::StartJob;
    RequestHeader header;
    NameText base;                // a base named in broker.toml
    NameText host_name;           // empty: the first twelve digits of the job's id
    std::uint64_t timeout_ns = 0; // SIGTERM after it, SIGKILL ten seconds later; 0: none; at most kTimeoutMax
    std::uint64_t work_bytes = 0; // of /work; 0: as configured; at least kScratchMin
    std::uint64_t tmp_bytes = 0;  // of /tmp; likewise
    std::uint64_t log_bytes = 0;  // the log keeps at most this; only with kStartDetached; 0: as configured; at least kLogMin
    std::uint32_t user = 0;       // inside the job, 0 … 65535
    std::uint32_t group = 0;      // likewise
    std::uint32_t flags = 0;      // kStart…
    std::uint32_t volume_count = 0;
    std::array<JobVolume, kJobVolumesMax> volumes{}; // beyond volume_count: zero. No id and no target twice
};
inline constexpr std::uint32_t kStartDetached = 1;     // output goes to the job's log; nothing waits in the control socket
inline constexpr std::uint32_t kStartHostNetwork = 2;  // where broker.toml allows it
inline constexpr std::uint32_t kStartReadOnlyWork = 4; // /work
inline constexpr std::uint32_t kStartDryRun = 8;       // decide and answer, start nothing
inline constexpr std::uint64_t kTimeoutMax = std::uint64_t{366} * 24 * 3600 * 1'000'000'000; // a year
inline constexpr std::uint64_t kScratchMin = std::uint64_t{64} << 10U;
inline constexpr std::uint64_t kLogMin = std::uint64_t{64} << 10U;
inline constexpr std::uint32_t kInnerIdMax = 65535;
struct SignalJob {
    static constexpr auto kType = RequestType::SignalJob;
    RequestHeader header;
    JobId id;
    std::uint32_t signal = 0; // 1 … 31; SIGKILL ends every process of the job at once
    Authority authority{};
};
struct ListJobs {
    static constexpr auto kType = RequestType::ListJobs;
    RequestHeader header;
    JobId after;
};
// Forget an ended job: its directory with exit record is removed.
struct ReleaseJob {
    static constexpr auto kType = RequestType::ReleaseJob;
    RequestHeader header;
    JobId id;
    Authority authority{};
    std::uint32_t zero = 0;
};
// Out of the trash, its labels and contents as they were.
struct RestoreVolume {
    static constexpr auto kType = RequestType::RestoreVolume;
    RequestHeader header;
    VolumeId id;
    NameText name; // empty: the one it had
};
// A protected volume is deleted by nobody.
struct ProtectVolume {
    static constexpr auto kType = RequestType::ProtectVolume;
    RequestHeader header;
    VolumeId id;
    Authority authority{};
    std::uint32_t is_protected = 0; // 1, or 0 to end it
};
// Replaces all labels.
struct LabelVolume {
    static constexpr auto kType = RequestType::LabelVolume;
    RequestHeader header;
    VolumeId id;
    std::uint32_t labels_size = 0;
    std::uint32_t zero = 0;
    std::array<std::uint8_t, kLabelsMax> labels{}; // beyond labels_size: zero
};
struct RenameVolume {
    static constexpr auto kType = RequestType::RenameVolume;
    RequestHeader header;
    VolumeId id;
    NameText name;
};
// On a running job: the volume appears at /volumes/<name>, and nowhere else.
struct AttachVolume {
    static constexpr auto kType = RequestType::AttachVolume;
    RequestHeader header;
    VolumeId id;
    JobId job;
    Access access{};
    std::uint32_t zero = 0;
};
// Lazily: what the job has open of it stays open, the paths are gone.
struct DetachVolume {
    static constexpr auto kType = RequestType::DetachVolume;
    RequestHeader header;
    VolumeId id;
    JobId job;
};
// Says that the API is about to show what belongs to others, so that it is on record; PermissionDenied unless the client is
// an admin.
struct AdminRead {
    static constexpr auto kType = RequestType::AdminRead;
    RequestHeader header;
    VolumeId id;                 // of one volume; none: a list
    std::uint32_t uid = 0;       // whose volumes are listed; zero with `everybody` or `id`
    std::uint32_t everybody = 0; // 1: all users' are listed
};
// The log of a detached job, also when it has ended: the Reply comes with two descriptors, open for reading, of the files that
// shared/job_log.h describes.
struct OpenLog {
    static constexpr auto kType = RequestType::OpenLog;
    RequestHeader header;
    JobId id;
    Authority authority{};
    std::uint32_t zero = 0;
};
struct ListBases {
    static constexpr auto kType = RequestType::ListBases;
    RequestHeader header;
};
struct CloseConnection {
    static constexpr auto kType = RequestType::CloseConnection;
    RequestHeader header;
};

using Request =
    std::variant<CreateVolume, DeleteVolume, StatVolume, ListVolumes, StartJob, SignalJob, ListJobs, ReleaseJob, CloseConnection,
                 RestoreVolume, ProtectVolume, LabelVolume, RenameVolume, AttachVolume, DetachVolume, AdminRead, OpenLog, ListBases>;

// Who may send a request: a user whose connection is open (the header names it), or the API on its own account
// (connection 0), which sees and touches nothing but what is listed or over. Either: both.
enum class Asker : std::uint8_t { User, Housekeeping, Either };
// In which state of the broker it is answered; in another one the answer is Unavailable.
enum class Phase : std::uint8_t { Always, Serving };
// The descriptor kinds are checked by the receiver before the request is looked at.
// Stdio is not among them: it waits in the control socket, see shared/exit_record.h.
enum class DescriptorKind : std::uint8_t { ControlSocket, SealedMemory };

inline constexpr std::size_t kRequestDescriptorsMax = 2;

struct RequestRow {
    RequestType type;
    std::string_view name;
    std::size_t size; // bytes, exact
    Asker asker;
    Phase phase;
    std::uint8_t descriptor_count; // exact
    std::array<DescriptorKind, kRequestDescriptorsMax> descriptors;
};

// Order of StartJob's descriptors.
enum StartJobDescriptor : std::uint8_t { kControl = 0, kSpec = 1 };

template <class R> constexpr RequestRow plain_row(std::string_view name, Asker asker, Phase phase) {
    return {R::kType, name, sizeof(R), asker, phase, 0, {}};
}
inline constexpr std::array kRequests = {
    plain_row<CreateVolume>("CreateVolume", Asker::User, Phase::Serving),
    plain_row<DeleteVolume>("DeleteVolume", Asker::User, Phase::Serving),
    plain_row<StatVolume>("StatVolume", Asker::Housekeeping, Phase::Serving),
    plain_row<ListVolumes>("ListVolumes", Asker::Housekeeping, Phase::Serving),
    RequestRow{RequestType::StartJob,
               "StartJob",
               sizeof(StartJob),
               Asker::User,
               Phase::Serving,
               2,
               {DescriptorKind::ControlSocket, DescriptorKind::SealedMemory}},
    plain_row<SignalJob>("SignalJob", Asker::User, Phase::Serving),
    plain_row<ListJobs>("ListJobs", Asker::Housekeeping, Phase::Serving),
    plain_row<ReleaseJob>("ReleaseJob", Asker::Either, Phase::Serving),
    plain_row<CloseConnection>("CloseConnection", Asker::User, Phase::Always),
    plain_row<RestoreVolume>("RestoreVolume", Asker::User, Phase::Serving),
    plain_row<ProtectVolume>("ProtectVolume", Asker::User, Phase::Serving),
    plain_row<LabelVolume>("LabelVolume", Asker::User, Phase::Serving),
    plain_row<RenameVolume>("RenameVolume", Asker::User, Phase::Serving),
    plain_row<AttachVolume>("AttachVolume", Asker::User, Phase::Serving),
    plain_row<DetachVolume>("DetachVolume", Asker::User, Phase::Serving),
    plain_row<AdminRead>("AdminRead", Asker::User, Phase::Serving),
    plain_row<OpenLog>("OpenLog", Asker::User, Phase::Serving),
    plain_row<ListBases>("ListBases", Asker::Housekeeping, Phase::Serving),
};
static_assert(kRequests.size() == std::variant_size_v<Request>);

inline constexpr std::size_t kRequestSizeMax = 8192; // receive buffer; every request fits
static_assert([] {
    for (const auto& row : kRequests) {
        if (row.size > kRequestSizeMax) {
            return false;
        }
    }
    return true;
}());

enum class DecodeError : std::uint8_t {
    Size, // shorter than a header, or not the size of its type
    Version,
    Type,
    Descriptors, // not the exact number
    Field,       // a value outside its meaning, or a byte that must be zero and is not
};

// Pure. `descriptor_count` is what came with the datagram; the kinds are looked at by check_descriptors.
std::expected<Request, DecodeError> decode(std::span<const std::byte> bytes, std::size_t descriptor_count);

const RequestRow& row_of(RequestType type); // precondition: a type that decoded
const RequestHeader& header_of(const Request& request);

// ---------------------------------------------------------------- what the broker says

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
    std::uint32_t flags = 0; // kVolumeProtected
};
inline constexpr std::uint32_t kVolumeProtected = 1;

enum class JobState : std::uint32_t { Starting = 1, Running = 2, Ended = 3 };

struct JobEntry {
    JobId id;
    std::int64_t started_ns = 0; // CLOCK_REALTIME
    ExitRecord exit;             // all zero unless ended
    std::uint32_t owner_uid = 0;
    JobState state{};
    std::uint32_t volume_count = 0;
    std::uint32_t zero = 0;
    std::array<VolumeId, kJobVolumesMax> volumes{};
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
    LogSize = 11
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
// Every other request is answered by a bare Reply.

struct Connection { // with one descriptor: the accepted socket
    static constexpr auto kType = MessageType::Connection;
    MessageType type = kType;
    std::uint32_t uid = 0;
    ConnectionNumber number = 0;
    std::uint32_t gid = 0;
    std::uint32_t pid = 0;
    std::uint32_t admin = 0; // 1: may ask with Authority::Admin
    std::uint32_t zero = 0;
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

using Message =
    std::variant<Reply, VolumePage, VolumeDetail, JobPage, JobWorld, BaseList, Connection, VolumeChanged, VolumeGone, JobChanged>;
inline constexpr std::size_t kMessageSizeMax = 16384;
static_assert(sizeof(JobPage) <= kMessageSizeMax && sizeof(VolumePage) <= kMessageSizeMax && sizeof(VolumeDetail) <= kMessageSizeMax &&
              sizeof(BaseList) <= kMessageSizeMax);

inline constexpr std::size_t kLogDescriptors = 2; // of a Reply to OpenLog that is Ok

// Pure; the API's side. A broker that sends what does not decode is not ours: the API ends.
std::expected<Message, DecodeError> decode_message(std::span<const std::byte> bytes, std::size_t descriptor_count);

} // namespace joblet::protocol
