// What a stage reports, and the end: when nothing of a job is left, what it held is free again.
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "broker-root/broker/clock.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/kernel/cgroup.h"
#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

constexpr int kFinishTries = 8; // of workers that die or hang; the pauses between them are three seconds in all
constexpr std::chrono::milliseconds kFinishPause{25};
constexpr std::chrono::milliseconds kLongestPause{60'000};

// A group that does not become empty after its pid 1 is gone has a process stuck in the kernel; whoever waits is told by then.
constexpr std::chrono::seconds kPatience{10};

ExitRecord killed_record(const Job& job) {
    ExitRecord record;
    record.magic = kExitMagic;
    record.kind = ExitKind::Killed;
    record.started_ns = job.record.started_ns;
    record.ended_ns = realtime_ns();
    return record;
}

} // namespace

void Jobs::keep(const Job& job) {
    std::vector<int> descriptors;
    for (const Fd* fd : {&job.pidfd, &job.status, &job.mount_namespace}) {
        if (fd->valid()) {
            descriptors.push_back(fd->get());
        }
    }
    if (!descriptors.empty()) {
        p_.supervisor.put(job.record.id, descriptors);
    }
}

void Jobs::watch(const JobPointer& job) {
    if (job->status.valid()) {
        job->status_watch = p_.loop.watch(job->status.get(), EPOLLIN, [this, job](std::uint32_t) { read_status(job); });
    }
    if (job->pidfd.valid()) {
        job->pidfd_watch = p_.loop.watch(job->pidfd.get(), EPOLLIN, [this, job](std::uint32_t) { finish(job); });
        return;
    }
    // Without a pidfd the group tells: everything of the job lives in it
    job->events_watch = p_.loop.watch(job->cgroup_events.get(), EPOLLPRI, [this, job](std::uint32_t) {
        if (const auto populated = kernel::is_populated(job->cgroup_events.get()); populated && !*populated) {
            finish(job);
        }
    });
}

void Jobs::read_status(const JobPointer& job) {
    std::array<std::byte, sizeof(spawner::StageReport)> buffer{};
    while (job->status.valid()) {
        auto received = receive_datagram(job->status.get(), buffer, Wait::No);
        if (!received && received.error() == ReceiveError::WouldBlock) {
            return;
        }
        spawner::StageReport report;
        if (!received || received->size != sizeof report) {
            // Closed, or a pid 1 that talks nonsense: the pidfd and the group say the rest
            if (job->status_watch != 0) {
                p_.loop.forget(job->status_watch);
                job->status_watch = 0;
            }
            job->status.reset();
            return;
        }
        std::memcpy(&report, buffer.data(), sizeof report);
        if (report.type == spawner::StageReportType::Namespace && !job->mount_namespace.valid() && received->descriptors.size() == 1 &&
            ::ioctl(received->descriptors.front().get(), NS_GET_NSTYPE) == CLONE_NEWNS) {
            job->mount_namespace = std::move(received->descriptors.front());
            keep(*job);
        } else if (report.type == spawner::StageReportType::Running && job->state == protocol::JobState::Starting) {
            job->state = protocol::JobState::Running;
            job->underway.open();
            tell(*job);
        } else if (report.type == spawner::StageReportType::Ended && job->exit.kind == ExitKind::None && is_valid(report.exit)) {
            job->exit = report.exit;
        }
    }
}

Task<bool> Jobs::emptied(JobPointer job) {
    for (int round = 0;; ++round) {
        const auto populated = kernel::is_populated(job->cgroup_events.get());
        if (!populated || !*populated) {
            co_return true;
        }
        if (round > 0) {
            log::error(fmt::format("job {} has a process that does not end; what it holds stays in use", to_string(job->record.id)));
            job->settled.open();
        }
        const Gate changed(p_.loop);
        const auto watch = p_.loop.watch(job->cgroup_events.get(), EPOLLPRI, [changed](std::uint32_t) { changed.open(); });
        // The kernel tells of a change at most every 10 ms, and once; the timer also asks again
        const auto timer = p_.loop.after(round == 0 ? std::chrono::milliseconds(kPatience) : std::chrono::milliseconds(kPatience * 6),
                                         [changed] { changed.open(); });
        co_await changed;
        p_.loop.cancel(timer);
        p_.loop.forget(watch);
    }
}

Task<ExitRecord> Jobs::recorded_exit(JobPointer job) {
    ExitRecord out = killed_record(*job);
    const JobId id = job->record.id;
    co_await p_.workers.order(worker::LoadJobs{}, {}, [&out, id](std::span<const std::byte> bytes) {
        worker::JobsLoaded part;
        if (bytes.size() != sizeof part) {
            return;
        }
        std::memcpy(&part, bytes.data(), sizeof part);
        for (const auto& loaded : std::span(part.jobs).first(std::min<std::size_t>(part.answer.count, part.jobs.size()))) {
            if (loaded.record.id == id && is_valid(loaded.exit)) {
                out = loaded.exit;
            }
        }
    });
    co_return out;
}

void Jobs::kill_group(const Job& job) {
    if (const auto killed = kernel::kill_cgroup(job.cgroup.get()); !killed) {
        log::error(fmt::format("the processes of job {} could not be killed: {}", to_string(job.record.id), std::strerror(killed.error())));
    }
}

void Jobs::remove_group(JobId id) {
    if (const auto removed = kernel::remove_cgroup(cgroups_.get(), hex_digits(id.bytes).data()); !removed) {
        log::error(fmt::format("the cgroup of job {} could not be removed: {}", to_string(id), std::strerror(removed.error())));
    }
}

Detached Jobs::finish(JobPointer job) {
    if (std::exchange(job->finishing, true)) {
        co_return;
    }
    const bool had_status = job->launched_here || job->status.valid();
    read_status(job);
    for (auto* watch : {&job->pidfd_watch, &job->status_watch, &job->events_watch}) {
        if (*watch != 0) {
            p_.loop.forget(std::exchange(*watch, 0));
        }
    }
    if (job->exit.kind == ExitKind::None) {
        // No word over the socket: killed, unless there never was a socket to this broker
        // (Not with ?:, of which g++ 12 also carries out the operand that waits when the other one is chosen)
        if (had_status) {
            job->exit = killed_record(*job);
        } else {
            job->exit = co_await recorded_exit(job);
        }
    }
    const bool was_killed = job->exit.kind == ExitKind::Killed || (job->exit.kind == ExitKind::Signaled && job->exit.signal == SIGKILL);
    if (was_killed && job->cgroup.valid() && kernel::memory_kills(job->cgroup.get()) != 0) {
        job->exit.flags |= kExitOutOfMemory;
    }
    job->state = protocol::JobState::Ended;
    job->underway.open();
    tell(*job);
    while (job->change) {
        const Gate over = *job->change;
        co_await over;
    }

    if (job->cgroup_events.valid()) {
        co_await emptied(job);
    }
    const JobId id = job->record.id;
    if (!job->has_log()) { // whose files stay until somebody removes the job
        worker::ReleaseJob release;
        release.id = id;
        co_await p_.workers.order(release);
    }
    worker::FinishJob finish_order;
    finish_order.id = id;
    std::vector<Fd> held;
    for (Fd* fd : {&job->mount_namespace, &job->pidfd, &job->status}) {
        if (fd->valid()) {
            held.push_back(std::move(*fd));
        }
    }
    p_.supervisor.drop(id); // before the worker's answer: jobletd's copy would keep the mounts
    WorkerReply finished = co_await p_.workers.order(finish_order, std::move(held));
    // With a lost worker went what it held; the next one looks at what is still in use, as each does
    auto pause = kFinishPause;
    for (int tries = 1; finished.lost && tries < kFinishTries; ++tries, pause *= 2) {
        const Gate over(p_.loop);
        p_.loop.after(pause, [over] { over.open(); });
        co_await over;
        finished = co_await p_.workers.order(finish_order);
    }
    // Somebody has a descriptor of it open, or an unmount takes its time
    const bool is_mounted = !finished.lost && finished.answer.code == ErrorCode::InUse;
    if (!finished.ok()) {
        log::error(fmt::format("job {} could not be cleared away: {}", to_string(id), step_phrase(finished.answer.step)));
    }
    job->cgroup.reset();
    job->cgroup_events.reset();
    remove_group(id);
    p_.registry.release_memory(job->record.owner_uid, job->record.detached_memory);
    for (const auto& attached : job->volumes) {
        p_.registry.detach(attached.id, id);
        if (Volume* volume = p_.registry.find(attached.id)) {
            // Nobody knows what became of its mount: nobody may have it before an operator has looked
            volume->quarantined = volume->quarantined || (!finished.ok() && !is_mounted);
            volume->still_mounted += is_mounted ? 1 : 0;
            volume->record.last_used_ns = std::max(volume->record.last_used_ns, job->exit.ended_ns);
            volume->record_is_stale = true;
            p_.news.volume_changed(*volume);
        }
    }
    if (!job->is_system()) { // whose slot belongs to the operation that ordered it
        if (job->holds_slot) {
            p_.slots.give_back(job->record.slot);
        }
        ended_.push_back(id);
        forget_oldest_ended();
    } else {
        jobs_.erase(id);
    }
    record_end(*job);
    job->settled.open();
    if (is_mounted) {
        wait_for_unmount(job);
    }
}

Detached Jobs::wait_for_unmount(JobPointer job) {
    worker::FinishJob order;
    order.id = job->record.id;
    order.at_once = 1; // the workers are everybody's
    WorkerReply finished;
    std::chrono::milliseconds pause{1000};
    do {
        const Gate over(p_.loop);
        p_.loop.after(pause, [over] { over.open(); });
        co_await over;
        pause = std::min(2 * pause, kLongestPause);
        finished = co_await p_.workers.order(order);
    } while (finished.lost || finished.answer.code == ErrorCode::InUse);
    for (const auto& attached : job->volumes) {
        if (Volume* volume = p_.registry.find(attached.id)) {
            --volume->still_mounted;
            volume->quarantined = volume->quarantined || !finished.ok();
            p_.news.volume_changed(*volume);
        }
    }
}

void Jobs::record_end(const Job& job) {
    if (job.is_system()) { // a part of the operation that ordered it
        return;
    }
    auto fields = AuditFields("job_end").add("job", job.record.id).add("uid", job.record.owner_uid);
    if (job.exit.kind == ExitKind::Exited) {
        fields.add("code", static_cast<std::uint64_t>(job.exit.code));
    } else {
        fields.add("signal", static_cast<std::uint64_t>(job.exit.kind == ExitKind::Signaled ? job.exit.signal : SIGKILL));
    }
    (void)p_.news.on_record(fields); // it has ended, whether that can be written or not
}

void Jobs::release_dead() {
    const auto jobs = jobs_; // finish() changes the map
    for (const auto& [id, job] : jobs) {
        // One whose first process is not cloned yet has an empty group, too
        if (job->finishing || (job->pidfd_watch == 0 && job->events_watch == 0)) {
            continue;
        }
        if (const auto populated = kernel::is_populated(job->cgroup_events.get()); populated && !*populated) {
            finish(job);
        }
    }
}

void Jobs::forget_oldest_ended() {
    while (ended_.size() > p_.config.ended_jobs_kept) {
        const JobId id = ended_.front();
        ended_.pop_front();
        const auto oldest = jobs_.extract(id);
        if (!oldest.empty() && oldest.mapped()->has_log()) {
            remove_files(id);
        }
    }
}

} // namespace joblet::broker
