#include "broker-root/broker/host_report.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include <fmt/format.h>

#include "shared/log.h"

namespace joblet::broker {

namespace {

using protocol::Backend;
using protocol::Difference;
using protocol::DifferenceKind;
using worker::Finding;
using worker::FindingKind;

// In the order of HostFacts::backends.
constexpr std::array kBackends = {Backend::ProjectQuota, Backend::Btrfs, Backend::Image, Backend::Tmpfs};
static_assert(kBackends.size() == protocol::kBackendsMax);

// What a quota may hold beyond the size: directories, and blocks of the file system's that say where the others are.
std::uint64_t quota_margin(std::uint64_t size_bytes) {
    return size_bytes / 512 + (std::uint64_t{256} << 10U);
}

using RawId = std::array<std::uint8_t, 16>;

Difference difference(DifferenceKind kind, const RawId& id, std::uint64_t there = 0, std::uint64_t expected = 0) {
    Difference out;
    out.id = id;
    out.kind = kind;
    out.there = there;
    out.expected = expected;
    return out;
}

} // namespace

struct HostReporter::Beliefs {
    struct OfVolume {
        Backend backend{};
        std::uint32_t project_id = 0;
        std::uint64_t size_bytes = 0;
        bool is_held = false;

        bool operator==(const OfVolume&) const = default;
    };
    std::map<RawId, OfVolume> volumes; // in volumes/
    std::set<RawId> settled;           // of these, nothing is being done to them
    std::set<RawId> trash;
    std::set<RawId> alive; // jobs
    std::set<RawId> known; // jobs, ended ones too
    std::set<std::uint32_t> projects;
    bool is_busy = false; // something is being made or tried: staging is not empty for a reason
};

HostReporter::Beliefs HostReporter::beliefs() const {
    Beliefs out;
    for (const auto& [id, volume] : p_.registry.all()) {
        if (volume.trashed) {
            out.trash.insert(id.bytes);
            continue;
        }
        const worker::VolumeRecord& record = volume.record;
        out.volumes.emplace(id.bytes, Beliefs::OfVolume{record.backend, record.project_id, record.size_bytes, !volume.holders.empty()});
        if (!volume.change) {
            out.settled.insert(id.bytes);
        }
    }
    for (const auto& [id, job] : p_.jobs.all()) {
        out.known.insert(id.bytes);
        out.is_busy = out.is_busy || job->is_system();
        if (job->state == protocol::JobState::Running && !job->finishing) {
            out.alive.insert(id.bytes);
        }
    }
    out.projects = p_.volumes.project_ids();
    return out;
}

// Settled: it has been mounted, and is not being unmounted.
bool HostReporter::has(JobId job, VolumeId volume) const {
    const auto found = p_.jobs.all().find(job);
    if (found == p_.jobs.all().end()) {
        return false;
    }
    const Job& one = *found->second;
    return one.state == protocol::JobState::Running && !one.finishing && !one.change &&
           std::ranges::any_of(one.volumes, [volume](const AttachedVolume& attached) { return attached.id == volume; });
}

Task<std::vector<Difference>> HostReporter::unmounted() {
    std::vector<std::pair<JobId, VolumeId>> attached;
    for (const auto& [id, job] : p_.jobs.all()) {
        for (const auto& volume : job->volumes) {
            attached.emplace_back(id, volume.id);
        }
    }
    std::vector<Difference> out;
    for (const auto& [job, id] : attached) {
        const Volume* volume = p_.registry.find(id);
        Fd mounts = p_.jobs.mounts_of(job);
        if (volume == nullptr || !mounts.valid() || !has(job, id)) {
            continue;
        }
        worker::MeasureVolume order;
        order.record = volume->record;
        std::vector<Fd> descriptors;
        descriptors.push_back(std::move(mounts));
        const WorkerReply reply = co_await p_.workers.order(order, std::move(descriptors));
        if (!reply.ok() && reply.answer.step == Step::MeasureVolume && reply.answer.sys_errno == ENOENT && has(job, id)) {
            out.push_back(difference(DifferenceKind::NotMounted, id.bytes));
        }
    }
    co_return out;
}

Task<std::expected<std::vector<Difference>, Failure>> HostReporter::survey() {
    std::vector<Finding> findings;
    const Beliefs before = beliefs();
    const auto groups = p_.jobs.groups();
    const WorkerReply reply = co_await p_.workers.order(worker::Survey{}, {}, [&findings](std::span<const std::byte> bytes) {
        worker::Surveyed part;
        if (bytes.size() == sizeof part) {
            std::memcpy(&part, bytes.data(), sizeof part);
            const auto found = std::span(part.findings).first(std::min<std::size_t>(part.answer.count, part.findings.size()));
            findings.insert(findings.end(), found.begin(), found.end());
        }
    });
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    if (!groups) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::Survey, groups.error()});
    }
    std::vector<Difference> out = co_await unmounted();
    const Beliefs after = beliefs();
    const auto is_known_job = [&](const RawId& id) { return before.known.contains(id) || after.known.contains(id); };
    const bool is_busy = before.is_busy || after.is_busy;

    std::set<RawId> seen;
    for (const Finding& finding : findings) {
        const RawId& id = finding.id;
        switch (finding.kind) {
        case FindingKind::Volume: {
            seen.insert(id);
            const auto then = before.volumes.find(id);
            const auto now = after.volumes.find(id);
            if (then == before.volumes.end() && now == after.volumes.end()) {
                out.push_back(difference(DifferenceKind::UnknownVolume, id));
                break;
            }
            if (then == before.volumes.end() || now == after.volumes.end() || !(then->second == now->second) ||
                !before.settled.contains(id) || !after.settled.contains(id)) {
                break; // changed while it was looked at
            }
            const auto& volume = now->second;
            if ((finding.flags & worker::kFindingDamaged) != 0) {
                out.push_back(difference(DifferenceKind::DamagedVolume, id));
            }
            if ((finding.flags & worker::kFindingAttached) != 0 && !volume.is_held) {
                out.push_back(difference(DifferenceKind::HeldByNobody, id));
            }
            if (volume.backend == Backend::ProjectQuota && finding.project_id != volume.project_id) {
                out.push_back(difference(DifferenceKind::ProjectDiffers, id, finding.project_id, volume.project_id));
            } else if (volume.backend == Backend::ProjectQuota &&
                       (finding.bytes < volume.size_bytes || finding.bytes > volume.size_bytes + quota_margin(volume.size_bytes))) {
                out.push_back(difference(DifferenceKind::QuotaDiffers, id, finding.bytes, volume.size_bytes));
            }
            break;
        }
        case FindingKind::Trash: {
            VolumeId volume;
            volume.bytes = id;
            if (!before.trash.contains(id) && !after.trash.contains(id) && !before.volumes.contains(id) && !is_busy &&
                !p_.volumes.goes(volume)) {
                out.push_back(difference(DifferenceKind::UnknownTrash, id));
            }
            break;
        }
        case FindingKind::Staging:
            if (!is_busy && !before.volumes.contains(id) && !after.volumes.contains(id)) {
                out.push_back(difference(DifferenceKind::LeftInStaging, id));
            }
            break;
        case FindingKind::QuotaRow:
            if (!before.projects.contains(finding.project_id) && !after.projects.contains(finding.project_id)) {
                out.push_back(difference(DifferenceKind::QuotaWithoutVolume, {}, finding.project_id));
            }
            break;
        case FindingKind::RunningJob:
            if (!is_known_job(id)) {
                out.push_back(difference(DifferenceKind::UnknownRunningJob, id));
            }
            break;
        case FindingKind::EndedJob:
            if (!is_known_job(id)) {
                out.push_back(difference(DifferenceKind::UnknownEndedJob, id));
            }
            break;
        }
    }
    for (const auto& [id, volume] : before.volumes) {
        if (!seen.contains(id) && after.settled.contains(id)) {
            out.push_back(difference(DifferenceKind::MissingVolume, id));
        }
    }
    std::set<RawId> with_group;
    for (const auto& name : *groups) {
        if (const auto id = parse_id<JobId>(name)) {
            with_group.insert(id->bytes);
            if (!is_known_job(id->bytes)) {
                out.push_back(difference(DifferenceKind::GroupWithoutJob, id->bytes));
            }
        }
    }
    for (const auto& id : before.alive) {
        if (after.alive.contains(id) && !with_group.contains(id)) {
            out.push_back(difference(DifferenceKind::JobWithoutGroup, id));
        }
    }
    std::map<std::uint32_t, JobId> slots;
    for (const auto& [id, job] : p_.jobs.all()) {
        if (job->state == protocol::JobState::Running && job->holds_slot && !slots.emplace(job->record.slot, id).second) {
            out.push_back(difference(DifferenceKind::SharedSlot, id.bytes, job->record.slot));
        }
    }
    co_return out;
}

Task<protocol::HostFacts> HostReporter::report(protocol::HostReport request, Client client) {
    protocol::HostFacts facts;
    const bool wants_survey = request.authority == protocol::Authority::Admin;
    if (wants_survey && !client.admin) {
        facts.reply = refusal(ErrorCode::PermissionDenied);
        co_return facts;
    }
    for (std::size_t i = 0; i < kBackends.size(); ++i) {
        facts.backends[i] = co_await p_.volumes.report_on(kBackends[i]);
    }
    facts.chosen_backend = static_cast<std::uint32_t>(co_await p_.volumes.best_backend());
    facts.store_magic = p_.host.store_magic;
    facts.controllers = p_.host.controllers;
    facts.required_controllers = p_.config.required_controllers;
    facts.flags = p_.host.flags;
    facts.slot_first = p_.config.slot_first;
    facts.slot_count = p_.config.slot_count;
    facts.devices = p_.host.devices;
    facts.device_count = p_.host.device_count;
    facts.audit_records = p_.audit.last();
    facts.audit_errno = p_.audit.failure();
    if (!wants_survey) {
        co_return facts;
    }
    log::info(fmt::format("admin {} compares store, records and kernel", client.uid));
    while (surveying_) {
        const Gate over = *surveying_;
        co_await over;
    }
    const Gate over(p_.loop);
    surveying_ = over;
    const auto differences = co_await survey();
    surveying_.reset();
    over.open();
    if (!differences) {
        facts.reply = refusal(differences.error());
        co_return facts;
    }
    facts.flags |= protocol::kHostSurveyed;
    facts.reply.count = static_cast<std::uint32_t>(std::min(differences->size(), facts.differences.size()));
    facts.reply.flags = differences->size() > facts.differences.size() ? protocol::kReplyMore : 0;
    std::copy_n(differences->begin(), facts.reply.count, facts.differences.begin());
    co_return facts;
}

} // namespace joblet::broker
