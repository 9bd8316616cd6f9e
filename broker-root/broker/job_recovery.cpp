// After a restart: the jobs that an earlier broker started are found again, and go on or are cleared away.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/broker/jobs.h"
#include "broker-root/kernel/cgroup.h"
#include "shared/log.h"

namespace joblet::broker {

Task<std::expected<void, Failure>> Jobs::load() {
    std::vector<StoredJob> stored = co_await p_.supervisor.get_all();
    std::vector<worker::LoadedJob> loaded;
    worker::LoadJobs order;
    order.remove_leftovers = 1; // no job is being prepared yet
    const WorkerReply reply = co_await p_.workers.order(order, {}, [&loaded](std::span<const std::byte> bytes) {
        worker::JobsLoaded part;
        if (bytes.size() == sizeof part) {
            std::memcpy(&part, bytes.data(), sizeof part);
            const auto entries = std::span(part.jobs).first(std::min<std::size_t>(part.answer.count, part.jobs.size()));
            loaded.insert(loaded.end(), entries.begin(), entries.end());
        }
    });
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    // The oldest first, as they came to their end while a broker lived
    std::ranges::sort(loaded, {}, [](const worker::LoadedJob& job) { return job.record.started_ns; });
    std::vector<JobPointer> system_jobs;
    for (const auto& one : loaded) {
        if (one.ended != 0) {
            load_ended(one);
            continue;
        }
        const auto& record = one.record;
        const auto& exit = one.exit;
        auto job = std::make_shared<Job>(p_.loop);
        job->record = record;
        job->exit = exit;
        for (std::size_t i = 0; i < std::min<std::size_t>(record.volume_count, record.volumes.size()); ++i) {
            job->volumes.push_back({record.volumes[i], record.access[i]});
        }
        if (auto group = kernel::open_cgroup(cgroups_.get(), hex_digits(record.id.bytes).data())) {
            job->cgroup = std::move(*group);
            if (auto events = kernel::open_cgroup_events(job->cgroup.get())) {
                job->cgroup_events = std::move(*events);
            }
        }
        const auto kept = std::ranges::find(stored, record.id, &StoredJob::id);
        if (kept != stored.end() && kept->descriptors.size() >= 2) {
            job->pidfd = std::move(kept->descriptors[0]);
            job->status = std::move(kept->descriptors[1]);
            if (kept->descriptors.size() == 3) {
                job->mount_namespace = std::move(kept->descriptors[2]);
            }
        }
        job->holds_slot = record.magic == worker::kJobRecordMagic && p_.slots.take_exactly(record.slot);
        if (!job->holds_slot) {
            log::warning(fmt::format("job {} lives in a slot that is outside the configuration or taken, or has no readable record",
                                     to_string(record.id)));
        }
        jobs_.emplace(record.id, job);
        if (job->is_system()) {
            system_jobs.push_back(job);
        }
    }
    for (const auto& left : stored) {
        if (!jobs_.contains(left.id)) {
            p_.supervisor.drop(left.id);
        }
    }
    for (const auto& job : system_jobs) {
        if (job->cgroup.valid()) {
            kill_group(*job);
        }
        finish(job);
        const Gate settled = job->settled;
        co_await settled;
        if (job->holds_slot) {
            p_.slots.give_back(job->record.slot);
        }
    }
    forget_oldest_ended();
    co_return co_await load_bases();
}

// A detached job that ended before this broker was there: it has a log.
void Jobs::load_ended(const worker::LoadedJob& loaded) {
    auto job = std::make_shared<Job>(p_.loop);
    job->record = loaded.record;
    job->exit = loaded.exit;
    if (!is_valid(job->exit)) { // killed, or it went down with the host
        job->exit = {};
        job->exit.magic = kExitMagic;
        job->exit.kind = ExitKind::Killed;
        job->exit.started_ns = loaded.record.started_ns;
    }
    job->state = protocol::JobState::Ended;
    job->finishing = true;
    job->underway.open();
    job->settled.open();
    for (std::size_t i = 0; i < std::min<std::size_t>(loaded.record.volume_count, loaded.record.volumes.size()); ++i) {
        job->volumes.push_back({loaded.record.volumes[i], loaded.record.access[i]});
    }
    ended_.push_back(loaded.record.id);
    jobs_.emplace(loaded.record.id, job);
}

Task<std::expected<void, Failure>> Jobs::load_bases() {
    const WorkerReply reply = co_await p_.workers.order(worker::LoadBases{}, {}, [this](std::span<const std::byte> bytes) {
        worker::BasesLoaded loaded;
        if (bytes.size() != sizeof loaded) {
            return;
        }
        std::memcpy(&loaded, bytes.data(), sizeof loaded);
        for (const auto& base : std::span(loaded.bases).first(std::min<std::size_t>(loaded.answer.count, loaded.bases.size()))) {
            if (base.is_usable != 0) {
                usable_bases_.insert(base.name.string());
            }
        }
    });
    if (!reply.ok()) {
        co_return std::unexpected(reply.failure());
    }
    co_return std::expected<void, Failure>();
}

void Jobs::resume() {
    const auto jobs = jobs_; // finish() changes the map
    for (const auto& [id, job] : jobs) {
        if (job->state == protocol::JobState::Ended) {
            continue;
        }
        for (const auto& attached : job->volumes) {
            p_.registry.attach(attached.id, {id, attached.access});
            if (Volume* volume = p_.registry.find(attached.id); volume != nullptr && volume->record.last_used_ns < job->record.started_ns) {
                volume->record.last_used_ns = job->record.started_ns; // not yet written when the earlier broker ended
                volume->record_is_stale = true;
            }
        }
        p_.registry.hold_memory(job->record.owner_uid, job->record.detached_memory);
        job->state = protocol::JobState::Running;
        job->underway.open();
        const auto populated = job->cgroup_events.valid() ? kernel::is_populated(job->cgroup_events.get()) : kernel::Result<bool>(false);
        if (populated && *populated) {
            job->exit = {};
            watch(job);
        } else {
            finish(job);
        }
    }
}

} // namespace joblet::broker
