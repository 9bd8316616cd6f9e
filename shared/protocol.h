// The boundary: what joblet-api may say to joblet-broker. What the broker says back is in protocol_messages.h.
//
// One request is one datagram: a trivially copyable struct of fixed size, and never a descriptor. Whatever is not exactly that is
// fatal for the API process that sent it. Every value that decodes is meaningful; there is nothing to sanitise later.
// kRequests is the one table of requests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <type_traits>
#include <variant>

#include "shared/protocol_types.h"

namespace joblet::protocol {

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
    std::uint64_t size_bytes = 0;      // kVolumeSizeMin … kVolumeSizeMax
    std::uint64_t inodes = 0;          // 0: the backend's default for this size; at most size_bytes / kBytesPerInodeMin
    std::uint64_t soft_size_bytes = 0; // 0: none; below size_bytes. ProjectQuota only
    std::uint64_t soft_inodes = 0;     // 0: none; below inodes if that is not 0. ProjectQuota only
    IoLimits io;                       // of a job that has it and asks for nothing else; not with Memory
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
    NameText base;                  // a base named in broker.toml
    NameText host_name;             // empty: the first twelve digits of the job's id
    std::uint64_t timeout_ns = 0;   // SIGTERM after it, SIGKILL ten seconds later; 0: none; at most kTimeoutMax
    std::uint64_t work_bytes = 0;   // of /work; 0: as configured; at least kScratchMin
    std::uint64_t tmp_bytes = 0;    // of /tmp; likewise
    std::uint64_t log_bytes = 0;    // the log keeps at most this; only with kStartDetached; 0: as configured; at least kLogMin
    std::uint64_t memory_bytes = 0; // 0: as configured; at least kMemoryMin
    std::uint64_t swap_bytes = 0;   // besides it; 0: none
    std::uint64_t processes = 0;    // threads count; 0: as configured
    std::uint64_t cpu_milli = 0;    // thousandths of one CPU; 0: as configured; at least kCpuMilliMin
    std::uint64_t channel = 0; // sequence of this connection's CreateChannel; used up by it, refused or not. 0: with kStartDryRun alone
    IoLimits io;               // 0: the lowest that any of its volumes has
    std::uint32_t user = 0;    // inside the job, 0 … 65535
    std::uint32_t group = 0;   // likewise
    std::uint32_t flags = 0;   // kStart…
    std::uint32_t volume_count = 0;
    std::array<JobVolume, kJobVolumesMax> volumes{}; // beyond volume_count: zero. No id and no target twice
};
inline constexpr std::uint32_t kStartDetached = 1;     // output goes to the job's log; nobody looks into the control socket
inline constexpr std::uint32_t kStartHostNetwork = 2;  // where broker.toml allows it
inline constexpr std::uint32_t kStartReadOnlyWork = 4; // /work
inline constexpr std::uint32_t kStartDryRun = 8;       // decide and answer, start nothing
inline constexpr std::uint64_t kTimeoutMax = std::uint64_t{366} * 24 * 3600 * 1'000'000'000; // a year
inline constexpr std::uint64_t kScratchMin = std::uint64_t{64} << 10U;
inline constexpr std::uint64_t kLogMin = std::uint64_t{64} << 10U;
inline constexpr std::uint32_t kInnerIdMax = 65535;
inline constexpr std::uint64_t kMemoryMin = std::uint64_t{4} << 20U; // the first process alone has half of that
inline constexpr std::uint64_t kCpuMilliMin = 10;
inline constexpr std::uint64_t kCpuMilliMax = 1'000'000;
inline constexpr std::uint64_t kProcessesMin = 2; // the job's first process is ours
inline constexpr std::uint64_t kProcessesMax = 4'194'304;
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
// 0 leaves as it is. Grows while attached; shrinks only where nothing can be lost.
struct ResizeVolume {
    static constexpr auto kType = RequestType::ResizeVolume;
    RequestHeader header;
    VolumeId id;
    std::uint64_t size_bytes = 0;      // 0, or as in CreateVolume
    std::uint64_t inodes = 0;          // 0, or at least 1
    std::uint64_t soft_size_bytes = 0; // kNoSoftLimit: none from now on
    std::uint64_t soft_inodes = 0;     // likewise
};
inline constexpr std::uint64_t kNoSoftLimit = ~std::uint64_t{0};
// What is used of a volume, as the kernel counts it now.
struct MeasureVolume {
    static constexpr auto kType = RequestType::MeasureVolume;
    RequestHeader header;
    VolumeId id;
    Authority authority{};
    std::uint32_t zero = 0;
};
// What this host can hold; and, with Authority::Admin, where store, records and kernel differ.
struct HostReport {
    static constexpr auto kType = RequestType::HostReport;
    RequestHeader header;
    Authority authority{};
    std::uint32_t zero = 0;
};
// What one job will be started with: the Reply comes with two descriptors (ChannelDescriptor). The broker makes both, so that it
// receives none: whoever closes a file of somebody else's may have to wait for it. StartJob names it by the sequence of this.
struct CreateChannel {
    static constexpr auto kType = RequestType::CreateChannel;
    RequestHeader header;
    std::uint64_t replaces = 0; // a channel of this connection that is not needed any more, if it is still there; 0: none
};
inline constexpr std::size_t kChannelsMax = 256; // that one connection has and no job was started with
struct CloseConnection {
    static constexpr auto kType = RequestType::CloseConnection;
    RequestHeader header;
};

using Request = std::variant<CreateVolume, DeleteVolume, StatVolume, ListVolumes, StartJob, SignalJob, ListJobs, ReleaseJob,
                             CloseConnection, RestoreVolume, ProtectVolume, LabelVolume, RenameVolume, AttachVolume, DetachVolume,
                             AdminRead, OpenLog, ListBases, ResizeVolume, MeasureVolume, HostReport, CreateChannel>;

// Who may send a request: a user whose connection is open (the header names it), or the API on its own account
// (connection 0), which sees and touches nothing but what is listed or over. Either: both.
enum class Asker : std::uint8_t { User, Housekeeping, Either };
// In which state of the broker it is answered; in another one the answer is Unavailable.
enum class Phase : std::uint8_t { Always, Serving };

struct RequestRow {
    RequestType type;
    std::string_view name;
    std::size_t size; // bytes, exact
    Asker asker;
    Phase phase;
};

template <class R> constexpr RequestRow make_row(std::string_view name, Asker asker, Phase phase) {
    return {R::kType, name, sizeof(R), asker, phase};
}
inline constexpr std::array kRequests = {
    make_row<CreateVolume>("CreateVolume", Asker::User, Phase::Serving),
    make_row<DeleteVolume>("DeleteVolume", Asker::User, Phase::Serving),
    make_row<StatVolume>("StatVolume", Asker::Housekeeping, Phase::Serving),
    make_row<ListVolumes>("ListVolumes", Asker::Housekeeping, Phase::Serving),
    make_row<StartJob>("StartJob", Asker::User, Phase::Serving),
    make_row<SignalJob>("SignalJob", Asker::User, Phase::Serving),
    make_row<ListJobs>("ListJobs", Asker::Housekeeping, Phase::Serving),
    make_row<ReleaseJob>("ReleaseJob", Asker::Either, Phase::Serving),
    make_row<CloseConnection>("CloseConnection", Asker::User, Phase::Always),
    make_row<RestoreVolume>("RestoreVolume", Asker::User, Phase::Serving),
    make_row<ProtectVolume>("ProtectVolume", Asker::User, Phase::Serving),
    make_row<LabelVolume>("LabelVolume", Asker::User, Phase::Serving),
    make_row<RenameVolume>("RenameVolume", Asker::User, Phase::Serving),
    make_row<AttachVolume>("AttachVolume", Asker::User, Phase::Serving),
    make_row<DetachVolume>("DetachVolume", Asker::User, Phase::Serving),
    make_row<AdminRead>("AdminRead", Asker::User, Phase::Serving),
    make_row<OpenLog>("OpenLog", Asker::User, Phase::Serving),
    make_row<ListBases>("ListBases", Asker::Housekeeping, Phase::Serving),
    make_row<ResizeVolume>("ResizeVolume", Asker::User, Phase::Serving),
    make_row<MeasureVolume>("MeasureVolume", Asker::User, Phase::Serving),
    make_row<HostReport>("HostReport", Asker::User, Phase::Serving),
    make_row<CreateChannel>("CreateChannel", Asker::User, Phase::Serving),
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
    Descriptors, // of a message: not the exact number
    Field,       // a value outside its meaning, or a byte that must be zero and is not
};

// Pure.
std::expected<Request, DecodeError> decode(std::span<const std::byte> bytes);

const RequestRow& row_of(RequestType type); // precondition: a type that decoded
const RequestHeader& header_of(const Request& request);

} // namespace joblet::protocol
