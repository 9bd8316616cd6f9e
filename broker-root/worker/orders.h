// What the broker orders of a worker: everything that touches a disk or makes a mount. One order at a time; a worker obeys
// only the broker, and trusts what it says; it still decodes strictly, because a bug must stop and not be carried out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <variant>

#include "shared/error.h"
#include "shared/exit_record.h"
#include "shared/id.h"
#include "shared/name.h"
#include "shared/protocol_messages.h"

namespace joblet::worker {

// The truth about a volume, as on disk: volumes/<id>/record. Fixed size, no padding; `checksum` is BLAKE2b-128 of all that
// comes before it (libsodium crypto_generichash, no key).
struct VolumeRecord {
    std::array<char, 8> magic{}; // kVolumeRecordMagic
    std::uint32_t version = 0;   // kVolumeRecordVersion; a newer one is not touched
    std::uint32_t size = 0;      // sizeof(VolumeRecord) of that version
    VolumeId id;
    NameText name;
    std::uint64_t size_bytes = 0;  // usable, as asked
    std::uint64_t inodes = 0;      // as asked; 0: default
    std::uint64_t image_bytes = 0; // Image: length of the file, which a crash in a resize may leave longer
    std::uint64_t generation = 0;  // counts changes of the record
    std::int64_t created_ns = 0;   // CLOCK_REALTIME
    std::int64_t last_used_ns = 0; // 0: never
    std::uint32_t owner_uid = 0;
    std::uint32_t project_id = 0; // ProjectQuota: kProjectFirst … kProjectLast; otherwise 0
    protocol::VolumeType type{};
    protocol::Backend backend{};
    std::uint32_t flags = 0; // protocol::kVolumeProtected
    std::uint32_t zero = 0;
    std::int64_t trashed_until_ns = 0;       // CLOCK_REALTIME; counts only in trash/, where 0 means: goes at once
    std::uint64_t soft_size_bytes = 0;       // ProjectQuota; 0: none
    std::uint64_t soft_inodes = 0;           // likewise
    protocol::IoLimits io;                   // of jobs that have it and ask for nothing else
    std::array<std::uint8_t, 72> reserved{}; // zero
    std::array<std::uint8_t, 16> checksum{};
};
inline constexpr std::array<char, 8> kVolumeRecordMagic = {'J', 'O', 'B', 'V', 'O', 'L', 'R', '\n'};
inline constexpr std::uint32_t kVolumeRecordVersion = 1;
// Project ids that are ours: others on the same file system (containers, directories of an administrator) begin at the other end.
inline constexpr std::uint32_t kProjectFirst = 0x4A000000;
inline constexpr std::uint32_t kProjectLast = 0x4AFFFFFF;

// What may be alive after a restart: /run/joblet/jobs/<id>, written before the clone. Same rules.
struct JobRecord {
    std::array<char, 8> magic{}; // kJobRecordMagic
    std::uint32_t version = 0;
    std::uint32_t size = 0;
    JobId id;
    std::int64_t started_ns = 0;
    std::uint32_t owner_uid = 0;
    std::uint32_t slot = 0;
    std::uint32_t volume_count = 0;
    std::uint32_t kind = 0; // JobKind
    // Bytes of memory volumes that were detached from it while it ran, and that it may still hold open.
    std::uint64_t detached_memory = 0;
    std::uint32_t flags = 0; // kJobHasLog
    std::uint32_t zero = 0;
    std::array<VolumeId, protocol::kJobVolumesMax> volumes{};
    std::array<protocol::Access, protocol::kJobVolumesMax> access{};
    std::array<TargetText, protocol::kJobVolumesMax> targets{}; // where it is mounted besides /volumes/<name>, if anywhere
    protocol::JobLimits limits;                                 // as the kernel was told
    std::array<std::uint8_t, 16> checksum{};
};
inline constexpr std::array<char, 8> kJobRecordMagic = {'J', 'O', 'B', 'R', 'U', 'N', 'R', '\n'};
inline constexpr std::uint32_t kJobRecordVersion = 2;

enum class JobKind : std::uint32_t { User = 0, System = 1 };
// Detached: its directory in /opt/joblet/jobs holds a copy of this record, and the log, and stays after its end until ReleaseJob.
inline constexpr std::uint32_t kJobHasLog = 1;

enum class OrderType : std::uint32_t {
    LoadVolumes = 1,
    LoadJobs = 2,
    StageVolume = 3,
    CommitVolume = 4,
    DiscardStaging = 5,
    UpdateRecord = 6,
    TrashVolume = 7,
    EmptyTrash = 8,
    PrepareJob = 9,
    FinishJob = 10,
    ReleaseJob = 11,
    RestoreVolume = 12,
    SetLabels = 13,
    AttachVolume = 14,
    DetachVolume = 15,
    OpenLog = 16,
    LoadBases = 17,
    MeasureVolume = 18,
    ResizeVolume = 19,
    OpenImage = 20,
    CommitResize = 21,
    Survey = 22,
    SyncFile = 23,
};

struct OrderHeader {
    OrderType type{};
    std::uint32_t zero = 0;
    std::uint64_t sequence = 0; // comes back in the answer
};

using Labels = std::array<std::uint8_t, protocol::kLabelsMax>;

// At start. Answered by any number of VolumesLoaded, the last with `more` = 0: what lies in volumes/ and, with status Trashed,
// in trash/ (whose contents are not looked at). A directory without a readable record of a version we know gives an
// entry with only `id` and status Quarantined (volumes/) or Trashed (trash/: without any record, so that it goes at once;
// what has a record of another version is left alone and not reported). Also removes what a crash left in staging, and finds
// out what the store and this kernel can do.
struct LoadVolumes {
    static constexpr auto kType = OrderType::LoadVolumes;
    OrderHeader header;
};
// JobsLoaded likewise, with what /run/joblet/jobs holds; and, with `ended` = 1, what /opt/joblet/jobs holds besides with a
// record of its own (a log). A directory there that has neither is what a crash of the host left, or that of a job which another
// worker is just preparing: removed only with `remove_leftovers`, at start.
struct LoadJobs {
    static constexpr auto kType = OrderType::LoadJobs;
    OrderHeader header;
    std::uint32_t remove_leftovers = 0; // 0 or 1
    std::uint32_t zero = 0;
};
// Make staging/<id> (0700). Image: make the file, image_bytes long, preallocated (ENOSPC if the store has no room),
// owned by host uid and gid `slot_first` with mode 0600, and answer with one descriptor, open for reading and writing: the
// stdin of mkfs. Tmpfs: nothing to make, no descriptor. ProjectQuota: the directory, its project id and limits before its owner; EEXIST if
// the kernel has anything under that id already: the broker takes another one. `image_is_larger`: of a volume that is
// being resized, whose image_bytes may be more than its size needs.
struct StageVolume {
    static constexpr auto kType = OrderType::StageVolume;
    OrderHeader header;
    VolumeRecord record; // checksum not yet set
    std::uint32_t slot_first = 0;
    std::uint32_t image_is_larger = 0;
};
// Image: take the file back (root, 0600), mount it for a moment and check that what is usable is at least size_bytes. Then
// record and labels, fsync, rename into volumes/, fsync. After the answer it survives a crash. `into_trash`: renamed into trash/
// instead, a volume that nobody is to have (a backend is being tried).
struct CommitVolume {
    static constexpr auto kType = OrderType::CommitVolume;
    OrderHeader header;
    VolumeRecord record;
    std::uint32_t labels_size = 0;
    std::uint32_t into_trash = 0;
    Labels labels{}; // labels_size of it, then zero
};
struct DiscardStaging {
    static constexpr auto kType = OrderType::DiscardStaging;
    OrderHeader header;
    VolumeId id;
};
// Replaces volumes/<id>/record: written beside it, renamed over it. `durable`: fsync before the answer.
struct UpdateRecord {
    static constexpr auto kType = OrderType::UpdateRecord;
    OrderHeader header;
    VolumeRecord record;
    std::uint32_t durable = 0;
    std::uint32_t zero = 0;
};
// Writes the record if it says another trashed_until_ns than the one on disk, renames into trash/, fsync: after the answer the
// volume is in the trash, also after a crash. InUse if the kernel says that it is attached, unless `forced`.
struct TrashVolume {
    static constexpr auto kType = OrderType::TrashVolume;
    OrderHeader header;
    VolumeRecord record;
    std::uint32_t forced = 0;
    std::uint32_t zero = 0;
};
// Back: the record, which may have a new name, is written in trash/, then renamed into volumes/. It still says trashed_until_ns,
// so that a crash between the two changes nothing; in volumes/ that counts for nothing.
struct RestoreVolume {
    static constexpr auto kType = OrderType::RestoreVolume;
    OrderHeader header;
    VolumeRecord record;
};
// Replaces volumes/<id>/labels, durably.
struct SetLabels {
    static constexpr auto kType = OrderType::SetLabels;
    OrderHeader header;
    VolumeId id;
    std::uint32_t labels_size = 0;
    std::uint32_t zero = 0;
    Labels labels{};
};
// Removes trash/<id>: what the backend made, labels, record, directory, in this order and nothing else. sys_errno ENOTEMPTY if a
// subvolume lies in the volume: its contents must be deleted from inside first.
struct EmptyTrash {
    static constexpr auto kType = OrderType::EmptyTrash;
    OrderHeader header;
    VolumeId id;
};

struct MountVolume {
    VolumeId id;
    NameText name;     // appears at /volumes/<name>
    TargetText target; // and here, unless empty
    std::uint64_t size_bytes = 0;
    std::uint64_t inodes = 0;
    protocol::Backend backend{};
    protocol::Access access{};
};
// Everything a stage needs, in the order of PreparedDescriptor. One descriptor comes with it: user namespace V of the slot.
// Makes /opt/joblet/jobs/<id> with an empty exit record, and /run/joblet/jobs/<id>.
struct PrepareJob {
    static constexpr auto kType = OrderType::PrepareJob;
    OrderHeader header;
    JobRecord record;             // id, owner, slot, kind, volumes
    NameText base;                // kSystemBase for system jobs
    std::uint64_t work_bytes = 0; // /work
    std::uint64_t tmp_bytes = 0;  // /tmp
    std::uint64_t shm_bytes = 0;  // /dev/shm
    std::uint32_t slot_first = 0; // host uid of the job's 0
    std::uint32_t flags = 0;      // kPrepareReadOnlyWork
    std::uint32_t volume_count = 0;
    std::uint32_t volume_owner = 0; // of a system job, whose own owner is root: its SELinux categories are those of this user
    std::array<MountVolume, protocol::kJobVolumesMax> volumes{};
};
inline constexpr std::uint32_t kPrepareReadOnlyWork = 1;
// The base of system jobs: the host's /usr, read-only, and nothing else. Users cannot name it (it fails is_valid_name).
// A system job's volumes are opened in trash/, whatever their records call them: it is there to delete their contents.
inline constexpr std::string_view kSystemBase = "@system";

// Answer to PrepareJob: a Mounted, and these descriptors, with kJobHasLog two log files (empty, O_RDWR, root's, 0600), then one detached
// mount for each volume (idmapped, nosuid, nodev, and read-only where asked), in the order of the request.
enum PreparedDescriptor : std::uint8_t {
    kTemplate = 0,     // mount namespace, its root pivoted and read-only, a mount point for everything below
    kExitRecord = 1,   // regular file, O_RDWR|O_APPEND
    kVolumesMount = 2, // tmpfs of host root's, 0755, holding a directory for each volume: /volumes
    kWorkMount = 3,    // tmpfs of the slot's, 0700: /work
    kTmpMount = 4,     // tmpfs of the slot's, 1777: /tmp
    kShmMount = 5,     // tmpfs of the slot's, 1777: /dev/shm
    kPtsMount = 6,     // devpts instance of the slot's: /dev/pts
    kPreparedFixed = 7,
};

// Two descriptors: V of the job's slot, and the job's mount namespace. Writes the job's record first, so that after a crash
// nobody else gets what the job may have; then mounts the volume at /volumes/<name> there. On failure the record is as before. Answered by
// a Mounted.
struct AttachVolume {
    static constexpr auto kType = OrderType::AttachVolume;
    OrderHeader header;
    JobRecord record; // as it is to be
    MountVolume volume;
    std::uint32_t slot_first = 0;
    std::uint32_t zero = 0;
};
// One descriptor: the job's mount namespace. Unmounts (lazily) /volumes/<name> and the target, and then writes the job's record.
// What is not mounted is no error.
struct DetachVolume {
    static constexpr auto kType = OrderType::DetachVolume;
    OrderHeader header;
    JobRecord record; // as it is to be
    NameText name;
    TargetText target; // may be empty
};

// After the job's end: removes /run/joblet/jobs/<id> and closes the descriptors that come with it (any
// number; the mount namespace among them), which unmounts its volumes; answers when loop devices and mounts are gone. InUse, and the
// record stays: they are not, after some seconds, or with `at_once` now.
struct FinishJob {
    static constexpr auto kType = OrderType::FinishJob;
    OrderHeader header;
    JobId id;
    std::uint32_t at_once = 0; // 0 or 1
    std::uint32_t zero = 0;
};
// Two descriptors, O_RDONLY: the log files of /opt/joblet/jobs/<id>. NotFound if it has none.
struct OpenLog {
    static constexpr auto kType = OrderType::OpenLog;
    OrderHeader header;
    JobId id;
};
// What is used of a volume, as the kernel counts; nothing is walked. Answered by VolumeMeasured. No descriptor, or one: the mount
// namespace of a job that has the volume at /volumes/<name>. Without it an image is mounted for a moment, read-only, and a
// memory volume is empty.
struct MeasureVolume {
    static constexpr auto kType = OrderType::MeasureVolume;
    OrderHeader header;
    VolumeRecord record;
    std::uint32_t in_trash = 0;
    std::uint32_t zero = 0;
};
// The record as it is to be (the one on disk says how it is): the limit is set, checked against what is used, and then the record
// is written durably. No descriptor, or one: the mount namespace of a job that has it.
// ProjectQuota and btrfs: what is used beyond a new limit is LimitExceeded, with VolumeMeasured::usage, and nothing is changed.
// Tmpfs: with a namespace the mount there is changed, too. Image: only with a namespace, only to more bytes; Unsupported with EPERM
// where the worker may not ask for it (kHostOnlineGrow).
struct ResizeVolume {
    static constexpr auto kType = OrderType::ResizeVolume;
    OrderHeader header;
    VolumeRecord record;
};
// An image that no job has, open for reading: InUse if the kernel says that it is attached. While the descriptor is open nothing can
// attach it for writing. For the system job that copies it into a new one in staging (StageVolume of the same id).
struct OpenImage {
    static constexpr auto kType = OrderType::OpenImage;
    OrderHeader header;
    VolumeRecord record;
};
// The resized copy in staging/<id> takes the place of volumes/<id>/image: taken back and checked as in CommitVolume, fsync, then
// renamed and the record written, in that order if it is larger and in the other if it is smaller, so that a crash between
// leaves a file that is longer than the record says.
struct CommitResize {
    static constexpr auto kType = OrderType::CommitResize;
    OrderHeader header;
    VolumeRecord record;
};
// Everything that store and kernel have, for a comparison with what the broker has in memory. Answered by any number of Surveyed.
struct Survey {
    static constexpr auto kType = OrderType::Survey;
    OrderHeader header;
};
// At start: BasesLoaded, each base of broker.toml by name.
struct LoadBases {
    static constexpr auto kType = OrderType::LoadBases;
    OrderHeader header;
};
// Removes /opt/joblet/jobs/<id>: exit record, log and record.
struct ReleaseJob {
    static constexpr auto kType = OrderType::ReleaseJob;
    OrderHeader header;
    JobId id;
};
// fsync(2) of the file that comes with it: the broker does not wait for disks.
struct SyncFile {
    static constexpr auto kType = OrderType::SyncFile;
    OrderHeader header;
};

using Order = std::variant<LoadVolumes, LoadJobs, StageVolume, CommitVolume, DiscardStaging, UpdateRecord, TrashVolume, EmptyTrash,
                           PrepareJob, FinishJob, ReleaseJob, RestoreVolume, SetLabels, AttachVolume, DetachVolume, OpenLog, LoadBases,
                           MeasureVolume, ResizeVolume, OpenImage, CommitResize, Survey, SyncFile>;
inline constexpr std::size_t kOrderSizeMax = 8192;

// Pure: exact size for its type, known enums, zero where it must be zero, texts well formed. An error is EBADMSG.
std::expected<Order, int> decode_order(std::span<const std::byte> bytes);

// Every answer begins with it.
struct Answer {
    OrderType type{};
    ErrorCode code = ErrorCode::Ok;
    std::uint64_t sequence = 0;
    Step step = Step::None;
    std::int32_t sys_errno = 0;
    std::uint32_t more = 0;  // another answer to the same order follows
    std::uint32_t count = 0; // entries below
};
struct LoadedVolume {
    VolumeRecord record;
    protocol::VolumeStatus status{};
    std::uint32_t labels_size = 0;
    Labels labels{};
};
inline constexpr std::size_t kVolumesPerAnswer = 4;
struct VolumesLoaded {
    Answer answer;
    // Whether the store holds btrfs volumes: 0 yes; ENOTTY it is no btrfs, ENOTCONN quotas are off there; otherwise what failed.
    std::int32_t btrfs_errno = 0;
    // And project quotas: 0 yes; ENOTTY or EOPNOTSUPP the file system has none, ESRCH they are off there (mount with prjquota),
    // ENOSYS the kernel lacks quotactl_fd.
    std::int32_t quota_errno = 0;
    std::uint32_t store_magic = 0; // f_type of the store
    std::uint32_t flags = 0;       // protocol::kHostNoSwap, kHostOnlineGrow
    std::uint32_t device_count = 0;
    std::uint32_t zero = 0;
    std::array<protocol::Device, protocol::kStoreDevicesMax> devices{}; // whole ones behind the store; none: could not be found
    std::array<LoadedVolume, kVolumesPerAnswer> volumes{};
};
inline constexpr std::size_t kJobsPerAnswer = 8;
struct LoadedJob {
    JobRecord record;
    ExitRecord exit; // what the job's exit record holds; all zero if nothing
    std::uint32_t ended = 0;
    std::uint32_t zero = 0;
};
struct JobsLoaded {
    Answer answer;
    std::array<LoadedJob, kJobsPerAnswer> jobs{};
};
struct LoadedBase {
    NameText name;
    std::uint32_t is_usable = 0;
    std::uint32_t zero = 0;
};
struct BasesLoaded {
    Answer answer;
    std::array<LoadedBase, protocol::kBasesMax> bases{};
};
// Answer to PrepareJob and AttachVolume.
struct Mounted {
    Answer answer;
    std::uint32_t device_count = 0; // loop devices of the images among the volumes
    std::uint32_t zero = 0;
    std::array<protocol::Device, protocol::kJobVolumesMax> devices{};
};
// Answer to MeasureVolume and ResizeVolume.
struct VolumeMeasured {
    Answer answer;
    protocol::Usage usage; // of ResizeVolume: with LimitExceeded, what stands against it
};
enum class FindingKind : std::uint32_t {
    Volume = 1,     // id, in volumes/
    Trash = 2,      // id
    Staging = 3,    // id
    QuotaRow = 4,   // project_id (of ours) has limits or usage; bytes: its limit
    RunningJob = 5, // id: a record in /run/joblet/jobs
    EndedJob = 6,   // id: a directory in /opt/joblet/jobs
};
struct Finding {
    std::array<std::uint8_t, 16> id{};
    FindingKind kind{};
    std::uint32_t flags = 0;      // of a Volume: kFinding…
    std::uint32_t project_id = 0; // of a Volume with project quota, as its directory has it; of a QuotaRow
    std::uint32_t zero = 0;
    std::uint64_t bytes = 0; // ProjectQuota: what the kernel holds it to
};
inline constexpr std::uint32_t kFindingDamaged = 1;  // what its record promises is not there
inline constexpr std::uint32_t kFindingAttached = 2; // an image that the kernel has attached
inline constexpr std::size_t kFindingsPerAnswer = 256;
struct Surveyed {
    Answer answer;
    std::array<Finding, kFindingsPerAnswer> findings{};
};
// Every other order is answered by a bare Answer.
inline constexpr std::size_t kAnswerSizeMax = 32768;
static_assert(sizeof(VolumesLoaded) <= kAnswerSizeMax && sizeof(JobsLoaded) <= kAnswerSizeMax && sizeof(Surveyed) <= kAnswerSizeMax &&
              sizeof(PrepareJob) <= kOrderSizeMax);

} // namespace joblet::worker
