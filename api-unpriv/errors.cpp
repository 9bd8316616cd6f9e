#include "api-unpriv/errors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "api-unpriv/host/missing.h"
#include "shared/size.h"

namespace joblet::api {

namespace {

using protocol::LimitKind;
using protocol::Reply;

enum class Unit : std::uint8_t { Bytes, Count, Thousandths };
struct LimitRow {
    LimitKind kind;
    std::string_view key;  // in broker.toml, unless it is fixed
    std::string_view what; // follows "the limit of"
    Unit unit;
};
constexpr std::array kLimits = {
    LimitRow{LimitKind::VolumeSize, "limits.largest_volume", "the size of one volume", Unit::Bytes},
    LimitRow{LimitKind::VolumesPerUser, "limits.volumes", "volumes per user", Unit::Count},
    LimitRow{LimitKind::BytesPerUser, "limits.total_size", "the total size of a user's volumes", Unit::Bytes},
    LimitRow{LimitKind::JobsPerUser, "limits.running_jobs", "running jobs per user", Unit::Count},
    LimitRow{LimitKind::AttachedMemoryPerUser, "limits.memory_size", "the size of a user's memory volumes in jobs", Unit::Bytes},
    LimitRow{LimitKind::AttachedMemoryOfHost, "volumes.memory_budget", "the size of all memory volumes in jobs on this host", Unit::Bytes},
    LimitRow{LimitKind::Slots, "slots.count", "jobs alive on this host", Unit::Count},
    LimitRow{LimitKind::WorkSize, "jobs.work_size_max", "the size of a job's /work", Unit::Bytes},
    LimitRow{LimitKind::TmpSize, "jobs.tmp_size_max", "the size of a job's /tmp", Unit::Bytes},
    LimitRow{LimitKind::LogSize, "jobs.log_size_max", "the size of a job's log", Unit::Bytes},
    LimitRow{LimitKind::ChannelsPerConnection, "channels_per_connection", "jobs on their way on one connection", Unit::Count}, // likewise
    LimitRow{LimitKind::VolumesPerJob, "volumes_per_job", "volumes per job", Unit::Count}, // nobody can set it
    LimitRow{LimitKind::Memory, "jobs.memory_max", "the memory of a job", Unit::Bytes},
    LimitRow{LimitKind::Processes, "jobs.processes_max", "the number of processes of a job", Unit::Count},
    LimitRow{LimitKind::Cpus, "jobs.cpus_max", "the number of CPUs of a job", Unit::Thousandths},
};

std::string amount(std::uint64_t value, Unit unit) {
    constexpr double kThousand = 1000;
    switch (unit) {
    case Unit::Bytes:
        return format_size(value);
    case Unit::Thousandths:
        return fmt::format("{:g}", static_cast<double>(value) / kThousand);
    case Unit::Count:
        break;
    }
    return std::to_string(value);
}

void add_amounts(Refusal& refusal, const Reply& reply) {
    refusal.fields.emplace_back("limit", std::to_string(reply.limit));
    refusal.fields.emplace_back("used", std::to_string(reply.used));
    refusal.fields.emplace_back("asked", std::to_string(reply.asked));
}

// What it holds stands against a smaller limit: of inodes, if that is how many were asked for.
Refusal holds_more(const Reply& reply, const Subject& subject) {
    const bool counts_inodes = subject.inodes_asked != 0 && reply.asked == subject.inodes_asked;
    const auto shown = [&](std::uint64_t value) { return counts_inodes ? fmt::format("{} inodes", value) : format_size(value); };
    Refusal refusal{{ErrorCode::LimitExceeded,
                     fmt::format("cannot {}: it holds {} already, so it cannot be made smaller than that; {} asked for", subject.doing,
                                 shown(reply.used), shown(reply.asked)),
                     "ask for more, or remove files from it first"},
                    {{"limit_name", "volume_usage"}}}; // nobody can set it
    add_amounts(refusal, reply);
    return refusal;
}

Refusal limit_exceeded(const Reply& reply, const Subject& subject) {
    if (reply.which == static_cast<std::uint32_t>(LimitKind::VolumeUsage)) {
        return holds_more(reply, subject);
    }
    Refusal refusal{{ErrorCode::LimitExceeded, {}, "ask for less, remove what is not needed, or ask this host's administrator"}, {}};
    for (const auto& row : kLimits) {
        if (static_cast<std::uint32_t>(row.kind) == reply.which) {
            refusal.error.message = fmt::format("cannot {}: {} is limited to {}; {} used, {} asked for", subject.doing, row.what,
                                                amount(reply.limit, row.unit), amount(reply.used, row.unit), amount(reply.asked, row.unit));
            refusal.fields.emplace_back("limit_name", row.key);
            add_amounts(refusal, reply);
            return refusal;
        }
    }
    refusal.error.message = fmt::format("cannot {}: a limit of this host is reached: {}; {} used, {} asked for", subject.doing, reply.limit,
                                        reply.used, reply.asked);
    add_amounts(refusal, reply);
    return refusal;
}

Refusal out_of_space(const Reply& reply, const Subject& subject) {
    Refusal refusal{{ErrorCode::OutOfSpace, fmt::format("cannot {}: the store has no room for it", subject.doing),
                     "remove volumes that are not needed, or ask this host's administrator for more room"},
                    {}};
    if (reply.asked != 0) {
        refusal.error.message +=
            fmt::format("; {} asked for, {} of {} used", format_size(reply.asked), format_size(reply.used), format_size(reply.limit));
        add_amounts(refusal, reply);
    }
    return refusal;
}

std::string volume_called(const Reply& reply, const Subject& subject) {
    if (!subject.volume_name.empty()) {
        return fmt::format("volume \"{}\"", subject.volume_name);
    }
    return reply.volume.is_none() ? std::string("the volume") : fmt::format("volume {}", to_string(reply.volume));
}

Refusal in_use(const Reply& reply, const Subject& subject) {
    Refusal refusal{{ErrorCode::InUse, {}, {}}, {}};
    std::vector<JobId> jobs = subject.jobs;
    if (!reply.job.is_none() && std::ranges::find(jobs, reply.job) == jobs.end()) {
        jobs.insert(jobs.begin(), reply.job);
    }
    if (subject.about_job && reply.volume.is_none()) {
        refusal.error.message = fmt::format("cannot {}: the job has not ended", subject.doing);
        refusal.error.hint = "stop it first";
    } else if (jobs.empty()) {
        refusal.error.message = fmt::format("cannot {}: {} is in use", subject.doing, volume_called(reply, subject));
        refusal.error.hint = "try again when what uses it is done";
    } else {
        std::vector<std::string> ids;
        for (const auto& job : jobs) {
            refusal.fields.emplace_back("job", ids.emplace_back(to_string(job)));
        }
        refusal.error.message = fmt::format("cannot {}: {} is in use by {} {}", subject.doing, volume_called(reply, subject),
                                            ids.size() == 1 ? "job" : "jobs", fmt::join(ids, ", "));
        refusal.error.hint = ids.size() == 1 ? "wait for the job to end, or stop it" : "wait for the jobs to end, or stop them";
    }
    return refusal;
}

Refusal not_found(const Reply& reply, const Subject& subject) {
    if (!reply.job.is_none() && !subject.asked_job.empty()) {
        return no_such_job(subject.asked_job);
    }
    return subject.about_job ? no_such_job(subject.asked) : no_such_volume(subject.asked);
}

Refusal not_permitted(const Reply& reply, const Subject& subject) {
    if (reply.request == protocol::RequestType::DeleteVolume) {
        return {{ErrorCode::PermissionDenied, fmt::format("{} is protected", volume_called(reply, subject)), "end the protection first"},
                {}};
    }
    if (reply.request == protocol::RequestType::AdminRead) {
        return not_an_admin();
    }
    if (reply.request == protocol::RequestType::StartJob) { // what a user may not have, whoever he is
        return {{ErrorCode::PermissionDenied, "the network of the host is not allowed for jobs here",
                 "broker.toml, section [jobs], host_network"},
                {}};
    }
    return {{ErrorCode::PermissionDenied, fmt::format("cannot {}: it is not permitted", subject.doing), {}}, {}};
}

Refusal conflict(const Reply& reply, const Subject& subject) {
    const auto refusal = [&](std::string_view why, std::string_view hint) {
        return Refusal{{ErrorCode::Conflict, fmt::format("cannot {}: {}", subject.doing, why), std::string(hint)}, {}};
    };
    switch (reply.request) {
    case protocol::RequestType::RestoreVolume:
        return refusal("the name is taken", "restore it under another name, with --as");
    case protocol::RequestType::RenameVolume:
        return refusal("the name is taken", "choose another name");
    case protocol::RequestType::AttachVolume:
        return refusal("the job has it already, or another volume of that name", "detach that one first");
    case protocol::RequestType::DeleteVolume:
        return in_trash_already(subject.volume_name);
    case protocol::RequestType::ResizeVolume:
        return in_trash(subject.volume_name);
    default:
        return refusal(fmt::format("{} exists and is different", volume_called(reply, subject)),
                       "choose another name, or ask for exactly what is there");
    }
}

std::string bases_there(const std::vector<std::string>& usable) {
    return usable.empty() ? std::string("this host has no base that can be used; see broker.toml, section [bases]")
                          : fmt::format("this host has: {}", fmt::join(usable, ", "));
}

Refusal failed(const Reply& reply, const Subject& subject) {
    Refusal refusal{{reply.code, fmt::format("cannot {}: could not {}", subject.doing, step_phrase(reply.step)), {}}, {}};
    if (reply.sys_errno != 0) {
        const char* text = ::strerrordesc_np(reply.sys_errno);
        refusal.error.message += fmt::format(": {}", text != nullptr ? text : "unknown error");
        refusal.fields.emplace_back("errno", errno_name(reply.sys_errno));
    }
    refusal.fields.emplace_back("step", step_phrase(reply.step));
    return refusal;
}

// Without a record of it nothing is done.
Refusal not_on_record(const Reply& reply, const Subject& subject) {
    Refusal refusal = failed(reply, subject);
    refusal.error.code = ErrorCode::Unavailable;
    refusal.error.hint = "this host's administrator must make room for the audit log; running jobs go on, and rnx doctor says more";
    return refusal;
}

Refusal unsupported(const Reply& reply, const Subject& subject) {
    Refusal refusal = failed(reply, subject);
    if (const auto missing = missing_controller(reply.step, reply.sys_errno)) {
        refusal.error.message = fmt::format("cannot {}: this host's kernel cannot hold {} (controller {} is not enabled for joblet)",
                                            subject.doing, missing->limit, missing->controller);
    }
    refusal.error.hint = what_is_missing(reply.step, reply.sys_errno);
    return refusal;
}

} // namespace

std::string printable(std::string_view text) {
    constexpr std::size_t kShown = 80;
    std::string out;
    for (const char c : text.substr(0, kShown)) {
        out += c >= ' ' && c <= '~' ? c : '?';
    }
    return text.size() > kShown ? out + "..." : out;
}

Refusal invalid(std::string_view field, std::string message, std::string hint) {
    return {{ErrorCode::InvalidArgument, std::move(message), std::move(hint)}, {{"field", std::string(field)}}};
}

Refusal no_such_volume(std::string_view asked) {
    return {{ErrorCode::NotFound, fmt::format("there is no volume \"{}\"", printable(asked)), "list the volumes to see their names"}, {}};
}

Refusal no_such_job(std::string_view asked) {
    return {{ErrorCode::NotFound, fmt::format("there is no job \"{}\"", printable(asked)), "list the jobs to see their ids"}, {}};
}

Refusal not_an_admin() {
    return {{ErrorCode::PermissionDenied, "only root and the admins of this host may see or manage what belongs to other users",
             "admins are listed in broker.toml"},
            {}};
}

Refusal no_such_base(std::string_view asked, const std::vector<std::string>& usable) {
    return {{ErrorCode::NotFound, fmt::format("there is no base \"{}\"", printable(asked)), bases_there(usable)}, {}};
}

Refusal base_refused(std::string_view asked, const std::vector<std::string>& usable) {
    return {{ErrorCode::Unsupported, fmt::format("base \"{}\" was refused when the service started; its log says why", printable(asked)),
             bases_there(usable)},
            {}};
}

Refusal no_log(std::string_view asked) {
    return {{ErrorCode::NotFound, fmt::format("job {} has no log: only detached jobs have one", printable(asked)),
             "start it with --detach to have its output kept"},
            {}};
}

Refusal log_gone(std::string_view asked) {
    return {{ErrorCode::NotFound, fmt::format("the log of job {} is gone", printable(asked)),
             "the service keeps the logs of the newest ended jobs only"},
            {}};
}

Refusal only_own(std::string_view doing) {
    return {{ErrorCode::PermissionDenied, fmt::format("even root and the admins of this host {} only volumes of their own", doing),
             "the volume's owner can do it"},
            {}};
}

Refusal in_trash(std::string_view volume_name) {
    return {{ErrorCode::Conflict, fmt::format("volume \"{}\" is in the trash", volume_name), "restore it first"}, {}};
}

Refusal in_trash_already(std::string_view volume_name) {
    return {{ErrorCode::Conflict, fmt::format("volume \"{}\" is in the trash already", volume_name),
             "delete it with --now to have it gone for good"},
            {}};
}

Refusal unimplemented(std::string_view what) {
    return {{ErrorCode::Unimplemented, fmt::format("{} is not available in this version", what), {}}, {}};
}

Refusal unavailable() {
    return {{ErrorCode::Unavailable, "the storage service is busy or restarting", "try again in a moment"}, {}};
}

Refusal too_many(std::string_view key, std::uint64_t limit, std::string_view of_what) {
    return {{ErrorCode::LimitExceeded, fmt::format("there are more than {} {} at once", limit, of_what),
             "wait for some of them to finish before asking for more"},
            {{"limit_name", std::string(key)}, {"limit", std::to_string(limit)}}};
}

std::optional<Refusal> refusal_from(const protocol::Connection& connection) {
    switch (connection.refusal) {
    case protocol::ConnectionRefusal::None:
        return std::nullopt;
    case protocol::ConnectionRefusal::NotOnTheLists:
        return Refusal{
            {ErrorCode::PermissionDenied, "you may not use this daemon", "root decides in broker.toml, section [socket], who may connect"},
            {}};
    case protocol::ConnectionRefusal::TooMany:
        return Refusal{{ErrorCode::LimitExceeded,
                        fmt::format("you have {} connections to this daemon, and may have {}: this would be one more", connection.allowed,
                                    connection.allowed),
                        "end some of the programs that are connected, or ask root for more (limits.connections)"},
                       {{"limit_name", "limits.connections"},
                        {"limit", std::to_string(connection.allowed)},
                        {"used", std::to_string(connection.allowed)},
                        {"asked", "1"}}};
    }
    return std::nullopt;
}

Refusal refusal_from(const Reply& reply, const Subject& subject) {
    Refusal refusal;
    switch (reply.code) {
    case ErrorCode::LimitExceeded:
        refusal = limit_exceeded(reply, subject);
        break;
    case ErrorCode::OutOfSpace:
        refusal = out_of_space(reply, subject);
        break;
    case ErrorCode::InUse:
        refusal = in_use(reply, subject);
        break;
    case ErrorCode::NotFound:
        refusal = not_found(reply, subject);
        break;
    case ErrorCode::Unavailable:
        refusal = reply.step == Step::WriteAudit ? not_on_record(reply, subject) : unavailable();
        break;
    case ErrorCode::Quarantined:
        refusal = {{ErrorCode::Quarantined,
                    fmt::format("cannot {}: the state of {} is unknown after a failure", subject.doing, volume_called(reply, subject)),
                    "this host's administrator must look at it; the log of the service says what happened"},
                   {}};
        break;
    case ErrorCode::PermissionDenied:
        refusal = not_permitted(reply, subject);
        break;
    case ErrorCode::Conflict:
        refusal = conflict(reply, subject);
        break;
    case ErrorCode::Unimplemented:
        refusal = {{ErrorCode::Unimplemented, fmt::format("cannot {}: it is not available in this version", subject.doing), {}}, {}};
        break;
    case ErrorCode::Unsupported:
        refusal = unsupported(reply, subject);
        break;
    case ErrorCode::InvalidArgument:
        refusal = failed(reply, subject);
        break;
    case ErrorCode::Internal:
    case ErrorCode::Ok:
        refusal = failed(reply, subject);
        refusal.error.code = ErrorCode::Internal;
        refusal.error.hint = "the log of the service has more; this host's administrator can read it";
        break;
    }
    if (!reply.volume.is_none() && reply.code != ErrorCode::NotFound) {
        refusal.fields.emplace_back("volume", to_string(reply.volume));
    }
    return refusal;
}

std::string errno_name(int error) {
    const char* name = ::strerrorname_np(error);
    return name != nullptr ? std::string(name) : std::to_string(error);
}

} // namespace joblet::api
