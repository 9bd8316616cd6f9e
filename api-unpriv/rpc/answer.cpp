#include "api-unpriv/rpc/answer.h"

#include <algorithm>

#include "api-unpriv/rpc/exit_reason.h"
#include "api-unpriv/rpc/limits.h"

namespace joblet::api {

namespace {

constexpr std::uint32_t kPageDefault = 100; // as the schema says
constexpr std::uint32_t kPageMax = 1000;

rpc::VolumeType type_of(protocol::VolumeType type) {
    return type == protocol::VolumeType::Memory ? rpc::VolumeType::MEMORY : rpc::VolumeType::FILESYSTEM;
}
rpc::Backend backend_of(protocol::Backend backend) {
    switch (backend) {
    case protocol::Backend::Image:
        return rpc::Backend::IMAGE;
    case protocol::Backend::Tmpfs:
        return rpc::Backend::TMPFS;
    case protocol::Backend::ProjectQuota:
        return rpc::Backend::PROJECT_QUOTA;
    case protocol::Backend::Btrfs:
        return rpc::Backend::BTRFS;
    case protocol::Backend::Auto:
        break;
    }
    return rpc::Backend::AUTO;
}
rpc::VolumeStatus status_of(protocol::VolumeStatus status) {
    switch (status) {
    case protocol::VolumeStatus::Available:
        return rpc::VolumeStatus::AVAILABLE;
    case protocol::VolumeStatus::InUse:
        return rpc::VolumeStatus::IN_USE;
    case protocol::VolumeStatus::Trashed:
        return rpc::VolumeStatus::TRASHED;
    case protocol::VolumeStatus::Quarantined:
        break;
    }
    return rpc::VolumeStatus::QUARANTINED;
}
rpc::JobState state_of(protocol::JobState state) {
    switch (state) {
    case protocol::JobState::Starting:
        return rpc::JobState::STARTING;
    case protocol::JobState::Running:
        return rpc::JobState::RUNNING;
    case protocol::JobState::Ended:
        break;
    }
    return rpc::JobState::ENDED;
}

void fill_texts(capnp::List<capnp::Text>::Builder out, const std::vector<std::string>& texts) {
    for (unsigned i = 0; i < out.size(); ++i) {
        out.set(i, text(texts[i]));
    }
}

} // namespace

void fill(rpc::Error::Builder out, const Refusal& refusal) {
    // The numbers are the same in both lists
    out.setCode(static_cast<rpc::ErrorCode>(refusal.error.code));
    out.setMessage(text(refusal.error.message));
    out.setHint(text(refusal.error.hint));
    auto fields = out.initFields(static_cast<unsigned>(refusal.fields.size()));
    for (unsigned i = 0; i < fields.size(); ++i) {
        fields[i].setName(text(refusal.fields[i].first));
        fields[i].setValue(text(refusal.fields[i].second));
    }
}
static_assert(static_cast<std::uint32_t>(ErrorCode::InvalidArgument) == static_cast<std::uint32_t>(rpc::ErrorCode::INVALID_ARGUMENT));
static_assert(static_cast<std::uint32_t>(ErrorCode::PermissionDenied) == static_cast<std::uint32_t>(rpc::ErrorCode::PERMISSION_DENIED));
static_assert(static_cast<std::uint32_t>(ErrorCode::Unimplemented) == static_cast<std::uint32_t>(rpc::ErrorCode::UNIMPLEMENTED));
static_assert(static_cast<std::uint32_t>(ErrorCode::Quarantined) == static_cast<std::uint32_t>(rpc::ErrorCode::QUARANTINED));

void fill(rpc::Volume::Builder out, const Volume& volume) {
    const auto& entry = volume.entry;
    out.setId(text(to_string(entry.id)));
    out.setName(text(entry.name.string()));
    out.setOwner(entry.owner_uid);
    out.setType(type_of(entry.type));
    out.setBackend(backend_of(entry.backend));
    out.setStatus(status_of(entry.status));
    out.setSizeBytes(entry.size_bytes);
    out.setInodes(entry.inodes);
    out.setSoftSizeBytes(entry.soft_size_bytes);
    out.setSoftInodes(entry.soft_inodes);
    if (entry.io != protocol::IoLimits{}) {
        fill(out.initIo(), entry.io);
    }
    out.setCreatedNs(entry.created_ns);
    out.setLastUsedNs(entry.last_used_ns);
    if (!entry.current_job.is_none()) {
        out.setCurrentJob(text(to_string(entry.current_job)));
    }
    out.setEnforcement("kernel");
    out.setProtected((entry.flags & protocol::kVolumeProtected) != 0);
    out.setNoSwap((entry.flags & protocol::kVolumeNoSwap) != 0);
    out.setTrashedUntilNs(entry.trashed_until_ns);
    auto labels = out.initLabels(static_cast<unsigned>(volume.labels.size()));
    for (unsigned i = 0; i < labels.size(); ++i) {
        labels[i].setKey(text(volume.labels[i].first));
        labels[i].setValue(text(volume.labels[i].second));
    }
}

void fill(rpc::Exit::Builder out, const ExitRecord& record) {
    // The numbers are the same in both lists
    out.setKind(static_cast<rpc::Exit::Kind>(record.kind));
    out.setCode(static_cast<std::uint8_t>(record.code));
    out.setSignal(static_cast<std::uint8_t>(record.signal));
    out.setStatus(static_cast<std::uint8_t>(exit_status_of(record)));
    out.setReason(text(exit_reason(record)));
    out.setEndedNs(record.ended_ns);
}
static_assert(static_cast<std::uint32_t>(ExitKind::Killed) == static_cast<std::uint32_t>(rpc::Exit::Kind::KILLED));

void fill(rpc::Job::Builder out, const Job& job) {
    if (!job.id.is_none()) { // of a dry run
        out.setId(text(to_string(job.id)));
    }
    out.setName(text(job.name));
    out.setOwner(job.owner_uid);
    out.setState(state_of(job.state));
    out.setStartedNs(job.started_ns);
    if (job.state == protocol::JobState::Ended) {
        fill(out.initExit(), job.exit);
    }
    fill_texts(out.initCommand(static_cast<unsigned>(job.command.size())), job.command);
    out.setBase(text(job.base));
    auto volumes = out.initVolumes(static_cast<unsigned>(job.volumes.size()));
    for (unsigned i = 0; i < volumes.size(); ++i) {
        volumes[i].setVolume(text(to_string(job.volumes[i].id)));
        volumes[i].setName(text(job.volumes[i].name));
        volumes[i].setTarget(text(job.volumes[i].target));
        volumes[i].setReadOnly(job.volumes[i].read_only);
    }
    fill(out.initLimits(), job.limits);
    constexpr std::size_t kHostNameDigits = 12; // of the id, where no name was given
    out.setHostName(text(job.host_name.empty() && !job.id.is_none() ? to_string(job.id).substr(0, kHostNameDigits) : job.host_name));
}

void fill(rpc::World::Builder out, const PlannedWorld& world) {
    auto mounts = out.initMounts(static_cast<unsigned>(world.mounts.size()));
    for (unsigned i = 0; i < mounts.size(); ++i) {
        const auto& mount = world.mounts[i];
        mounts[i].setPath(text(mount.path));
        mounts[i].setKind(text(std::string(mount.kind)));
        mounts[i].setSizeBytes(mount.size_bytes);
        mounts[i].setReadOnly(mount.read_only);
        mounts[i].setVolume(text(mount.volume));
    }
    out.setUidFirst(world.uid_first);
    out.setUidCount(world.uid_count);
    out.setUser(world.options.user);
    out.setGroup(world.options.group);
    out.setHostName(text(world.host_name));
    out.setWorkingDirectory(text(world.spec.working_directory));
    fill_texts(out.initEnvironment(static_cast<unsigned>(world.spec.environment.size())), world.spec.environment);
    fill_texts(out.initCommand(static_cast<unsigned>(world.spec.arguments.size())), world.spec.arguments);
    out.setNetwork(world.options.host_network ? rpc::RunRequest::Network::HOST : rpc::RunRequest::Network::NONE);
    out.setTimeoutNs(world.options.timeout_ns);
    out.setLogMaxBytes(world.log_bytes);
    out.setBase(text(world.base));
    fill(out.initLimits(), world.limits);
}

Outcome<Scope> scope_from(rpc::Scope::Reader scope) {
    switch (scope.which()) {
    case rpc::Scope::OWN:
        return Scope{};
    case rpc::Scope::USER:
        return Scope{Scope::Kind::User, scope.getUser()};
    case rpc::Scope::EVERYBODY:
        return Scope{Scope::Kind::Everybody, 0};
    }
    return std::unexpected(unimplemented("this kind of scope"));
}

Labels labels_from(capnp::List<rpc::Label>::Reader labels) {
    Labels out;
    out.reserve(std::min<std::size_t>(labels.size(), protocol::kLabelsMax));
    for (const auto label : labels) {
        out.emplace_back(view(label.getKey()), view(label.getValue()));
        if (out.size() > protocol::kLabelsMax) {
            break; // each takes at least two bytes: encode_labels refuses so many
        }
    }
    return out;
}

std::size_t page_size_from(rpc::Page::Reader page) {
    return page.getSize() == 0 ? kPageDefault : std::min(page.getSize(), kPageMax);
}

} // namespace joblet::api
