#include "broker-root/worker/survey.h"

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "broker-root/kernel/quota.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/backends/project_quota.h"
#include "broker-root/worker/volume_files.h"

namespace joblet::worker {
namespace {

using Tell = std::function<void(const Finding&)>;

// Names in `directory` that are ids; T is VolumeId or JobId, which are written alike.
template <class T> Outcome<void> for_each_id(const Fd& directory, const std::function<void(const T&)>& what) {
    const auto names = kernel::list_directory(directory.get());
    if (!names) {
        return failed(Step::Survey, names.error());
    }
    for (const auto& name : *names) {
        if (const auto id = parse_id<T>(name)) {
            what(*id);
        }
    }
    return {};
}

template <class T> Outcome<void> tell_ids(const Fd& directory, FindingKind kind, const Tell& tell) {
    return for_each_id<T>(directory, [&](const T& id) { tell({.id = id.bytes, .kind = kind}); });
}

// Every row of ours, whoever made it. Where limits do not hold there is none that counts.
Outcome<void> tell_quota_rows(const Fd& store, const Tell& tell) {
    if (!kernel::check_project_limits_hold(store.get())) {
        return {};
    }
    for (std::uint32_t from = kProjectFirst; from <= kProjectLast;) {
        const auto row = kernel::next_project_quota(store.get(), from);
        if (!row) {
            return failed(Step::Survey, row.error());
        }
        if (!*row || (*row)->id > kProjectLast) {
            break;
        }
        const auto& [id, quota] = **row;
        if (id < from) { // it would go round for ever
            return failed(Step::Survey, EBADMSG);
        }
        tell({.kind = FindingKind::QuotaRow, .project_id = id, .bytes = quota.limits.bytes});
        from = id + 1;
    }
    return {};
}

} // namespace

std::optional<Finding> Store::look_over(const VolumeId& id) const {
    Finding out{.id = id.bytes, .kind = FindingKind::Volume, .flags = kFindingDamaged};
    const auto directory = open_volume(own_.volumes, id);
    if (!directory) {
        return directory.error() == ENOENT ? std::nullopt : std::optional(out); // gone since it was listed
    }
    const auto record = record_in(directory->get(), id);
    if (!record) {
        return out;
    }
    const auto& backend = backend_of(record->backend);
    out.flags = backend.is_intact(directory->get(), *record) ? 0 : kFindingDamaged;
    if (const auto claimed = backend.claim(directory->get()); !claimed && claimed.error() == EWOULDBLOCK) {
        out.flags |= kFindingAttached;
    }
    if (record->backend == protocol::Backend::ProjectQuota) {
        out.project_id = project_id_in(directory->get()).value_or(0);
        const bool hold = kernel::check_project_limits_hold(directory->get()).has_value();
        const auto quota = hold && out.project_id != 0 ? kernel::project_quota(directory->get(), out.project_id) : kernel::ProjectQuota{};
        out.bytes = quota ? quota->limits.bytes : 0;
    }
    return out;
}

Outcome<void> survey(const OwnNamespace& own, const Store& store, const Tell& tell) {
    auto told = for_each_id<VolumeId>(own.volumes, [&](const VolumeId& id) {
        if (const auto finding = store.look_over(id)) {
            tell(*finding);
        }
    });
    if (told) {
        told = tell_ids<VolumeId>(own.trash, FindingKind::Trash, tell);
    }
    if (told) {
        told = tell_ids<VolumeId>(own.staging, FindingKind::Staging, tell);
    }
    if (told) {
        told = tell_quota_rows(own.volumes, tell);
    }
    if (told) {
        told = tell_ids<JobId>(own.running_jobs, FindingKind::RunningJob, tell);
    }
    if (told) {
        told = tell_ids<JobId>(own.ended_jobs, FindingKind::EndedJob, tell);
    }
    return told;
}

} // namespace joblet::worker
