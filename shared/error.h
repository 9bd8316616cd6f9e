// What can go wrong, as a number that crosses the boundary and as what people read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace joblet {

// Stable: the values are part of the public interface (schema/joblet.capnp has the same list).
enum class ErrorCode : std::uint32_t {
    Ok = 0,
    InvalidArgument = 1,  // malformed: the caller must change the request
    NotFound = 2,         // no such volume or job, or not the caller's
    Conflict = 3,         // the name is taken by something different
    InUse = 4,            // attached to a running job
    PermissionDenied = 5, // the caller may not do this
    LimitExceeded = 6,    // root's limits: the limit, what is used and what was asked are given
    OutOfSpace = 7,       // the store has no room
    Unsupported = 8,      // this host cannot hold what was asked
    Unimplemented = 9,    // declared, not built
    Unavailable = 10,     // a daemon is restarting, or was too slow: try again
    Internal = 11,        // a kernel call failed that should not: see the log
    Quarantined = 12,     // the volume's state is unknown after a failure; an operator must look
};
inline constexpr std::uint32_t kErrorCodeCount = 13;

// The name in JSON and logs, for example "IN_USE". Unknown values give "INTERNAL".
std::string_view error_code_name(ErrorCode code);

// For the unprivileged side: one sentence, and what to do about it (may be empty).
struct Error {
    ErrorCode code = ErrorCode::Internal;
    std::string message;
    std::string hint;
};

// The step of a privileged operation that failed. Crosses the boundary as a number; the API makes a sentence of it.
enum class Step : std::uint32_t {
    None = 0,
    CheckRequest,
    LoadRecords,
    MakeStaging,
    MakeImage,
    AllocateImage,
    MakeFilesystem,
    CheckUsableSize,
    WriteRecord,
    CommitVolume,
    MoveToTrash,
    EmptyTrash,
    OpenVolume,
    AttachLoop,
    MountVolume,
    IdmapVolume,
    MountTmpfs,
    MountDevpts,
    BuildTemplate,
    MakeJobDirectory,
    MakeSlot,
    MakeCgroup,
    CloneStage,
    EnterTemplate,
    MoveMounts,
    MountProc,
    EnterCgroupNamespace,
    BringLoopbackUp,
    SetHostName,
    CheckRoot,
    CheckStdio,
    PlaceDescriptors,
    JoinUserNamespace,
    SetIds,
    ChangeDirectory,
    ReadJobSpec,
    ForkJob,
    DropCapabilities,
    InstallFilter,
    Exec,
    MakeSubvolume,
    LimitSubvolume,
    RestoreFromTrash,
    WriteLabels,
    AttachVolume,
    DetachVolume,
    DeleteContents,
    OpenTerminal,
    OpenLog,
    MaskProc,
    SetQuota,      // project id and limits of a directory
    MeasureVolume, // what is used of it
    ResizeVolume,
    ResizeFilesystem, // of an image, by a system job
    CopyImage,
    HoldLimit,      // a volume let more be written than it should
    SetMemoryLimit, // these four: in the job's cgroup
    SetProcessLimit,
    SetCpuLimit,
    SetIoLimit,
    FindDevices, // whole block devices behind a volume
    Survey,      // of store and kernel
    WriteAudit,  // the record without which nothing is done
};
inline constexpr std::uint32_t kStepCount = static_cast<std::uint32_t>(Step::WriteAudit) + 1;
// What was being done, as a phrase that follows "could not": "attach the loop device".
std::string_view step_phrase(Step step);

// For the privileged side: no text, no allocation.
struct Failure {
    ErrorCode code = ErrorCode::Internal;
    Step step = Step::None;
    int sys_errno = 0;
};

} // namespace joblet
