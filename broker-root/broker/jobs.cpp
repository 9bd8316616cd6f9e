#include "broker-root/broker/jobs.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

#include "broker-root/kernel/cgroup.h"
#include "shared/datagram.h"
#include "shared/job_spec.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

// A group that does not become empty after its pid 1 is gone has a process stuck in the kernel; whoever waits is told by then.
constexpr std::chrono::seconds kPatience{10};
constexpr std::size_t kHostNameDigits = 12; // as container engines show ids

std::int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

Fd duplicate(int fd) {
    return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

worker::JobRecord make_record(std::uint32_t owner, std::uint32_t slot, worker::JobKind kind) {
    worker::JobRecord record;
    record.magic = worker::kJobRecordMagic;
    record.version = worker::kJobRecordVersion;
    record.size = sizeof record;
    record.id = make_random_id<JobId>();
    record.started_ns = now_ns();
    record.owner_uid = owner;
    record.slot = slot;
    record.kind = static_cast<std::uint32_t>(kind);
    return record;
}

bool is_system(const Job& job) {
    return job.record.kind == static_cast<std::uint32_t>(worker::JobKind::System);
}

protocol::JobEntry entry_of(const Job& job) {
    protocol::JobEntry entry;
    entry.id = job.record.id;
    entry.started_ns = job.record.started_ns;
    entry.exit = job.exit;
    entry.owner_uid = job.record.owner_uid;
    entry.state = job.state;
    entry.volume_count = static_cast<std::uint32_t>(job.volumes.size());
    std::ranges::transform(job.volumes, entry.volumes.begin(), &AttachedVolume::id);
    return entry;
}

ExitRecord killed_record(const Job& job) {
    ExitRecord record;
    record.magic = kExitMagic;
    record.kind = ExitKind::Killed;
    record.started_ns = job.record.started_ns;
    record.ended_ns = now_ns();
    return record;
}

bool may_manage(const Job& job, const Client& client, protocol::Authority authority) {
    return job.record.owner_uid == client.uid || (authority == protocol::Authority::Admin && client.admin);
}

} // namespace

// ---------------------------------------------------------------- start

std::uint64_t Jobs::alive_of(std::uint32_t uid) const {
    return static_cast<std::uint64_t>(std::ranges::count_if(jobs_, [uid](const auto& entry) {
        const Job& job = *entry.second;
        return job.record.owner_uid == uid && !is_system(job) && job.state != protocol::JobState::Ended;
    }));
}

JobPointer Jobs::ending(JobId id) {
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) {
        return nullptr;
    }
    read_status(found->second); // its last word may be waiting in the socket
    return found->second->exit.kind != ExitKind::None ? found->second : nullptr;
}

std::expected<JobPointer, protocol::Reply> Jobs::admit(const protocol::StartJob& request, std::uint32_t uid) {
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        const Volume* volume = p_.registry.find(wanted.id);
        // Another's volume does not exist for this user, whoever he is: no admin runs a job on it
        if (volume == nullptr || volume->record.owner_uid != uid || volume->removing) {
            auto reply = refusal(ErrorCode::NotFound);
            reply.volume = wanted.id;
            return std::unexpected(reply);
        }
        if (volume->quarantined) {
            auto reply = refusal(ErrorCode::Quarantined);
            reply.volume = wanted.id;
            return std::unexpected(reply);
        }
        const auto holder = Registry::conflict(*volume, wanted.access);
        if (!holder) {
            continue;
        }
        if (auto job = ending(*holder); job && !job->settled.await_ready()) {
            return job;
        }
        auto reply = refusal(ErrorCode::InUse);
        reply.volume = wanted.id;
        reply.job = *holder;
        return std::unexpected(reply);
    }
    if (const auto alive = alive_of(uid); alive >= p_.config.limits.running_jobs) {
        return std::unexpected(limit_refusal(protocol::LimitKind::JobsPerUser, p_.config.limits.running_jobs, alive, 1));
    }
    return nullptr;
}

Task<protocol::Reply> Jobs::start(protocol::StartJob request, std::uint32_t uid, std::vector<Fd> descriptors) {
    if (!p_.config.bases.contains(request.base.string())) {
        co_return refusal(Failure{ErrorCode::NotFound, Step::BuildTemplate, 0});
    }
    for (;;) {
        const auto admitted = admit(request, uid);
        if (!admitted) {
            co_return admitted.error();
        }
        if (*admitted == nullptr) {
            break;
        }
        const Gate settled = (*admitted)->settled;
        co_await settled;
    }
    const auto slot = p_.slots.take();
    if (!slot) {
        co_return limit_refusal(protocol::LimitKind::Slots, p_.slots.count(), p_.slots.used(), 1);
    }

    auto job = std::make_shared<Job>(p_.loop);
    job->record = make_record(uid, *slot, worker::JobKind::User);
    const JobId id = job->record.id;
    Plan plan;
    plan.base = request.base;
    plan.host_name = request.host_name.empty() ? NameText(to_string(id).substr(0, kHostNameDigits)) : request.host_name;
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        const std::size_t index = job->volumes.size();
        const worker::VolumeRecord& record = p_.registry.find(wanted.id)->record;
        plan.volumes.push_back({wanted.id, record.name, wanted.target, record.size_bytes, record.inodes, record.backend, wanted.access});
        job->record.volumes[index] = wanted.id;
        job->record.access[index] = wanted.access;
        job->volumes.push_back({wanted.id, wanted.access});
        p_.registry.attach(wanted.id, {id, wanted.access});
    }
    job->record.volume_count = request.volume_count;
    plan.record = job->record;
    plan.control = std::move(descriptors[protocol::kControl]);
    plan.spec = std::move(descriptors[protocol::kSpec]);
    jobs_.emplace(id, job);

    const auto launched = co_await launch(job, std::move(plan));
    if (!launched) {
        jobs_.erase(id);
        for (const auto& volume : job->volumes) {
            p_.registry.detach(volume.id, id);
        }
        p_.slots.give_back(*slot);
        job->settled.open();
        co_return refusal(launched.error());
    }
    for (const auto& attached : job->volumes) {
        if (Volume* volume = p_.registry.find(attached.id)) {
            volume->record.last_used_ns = job->record.started_ns;
            volume->record_is_stale = true;
            p_.news.volume_changed(*volume);
        }
    }
    tell(*job);
    protocol::Reply reply;
    reply.job = id;
    co_return reply;
}

Task<std::expected<void, Failure>> Jobs::run_system_job(std::vector<std::string> arguments, Fd input, std::uint32_t slot) {
    auto spec = make_job_spec({std::move(arguments), {"PATH=/usr/sbin:/usr/bin", "HOME=/work"}, "/work"});
    Fd output(::memfd_create("joblet-system-job", MFD_CLOEXEC));
    if (!spec || !output.valid()) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::ReadJobSpec, errno});
    }
    auto job = std::make_shared<Job>(p_.loop);
    job->record = make_record(0, slot, worker::JobKind::System);
    const JobId id = job->record.id;
    Plan plan;
    plan.record = job->record;
    plan.base = NameText(worker::kSystemBase);
    plan.host_name = NameText("joblet-system");
    auto [control, control_peer] = make_seqpacket_pair();
    const std::array<int, kHelloDescriptors> stdio = {input.get(), output.get(), output.get()};
    if (!send_message(control_peer.get(), ControlHello{kHelloMagic}, stdio, Wait::No)) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::CheckStdio, errno});
    }
    plan.control = std::move(control);
    job->control_peer = std::move(control_peer);
    plan.spec = std::move(*spec);
    jobs_.emplace(id, job);

    const auto launched = co_await launch(job, std::move(plan));
    if (!launched) {
        jobs_.erase(id);
        co_return std::unexpected(launched.error());
    }
    const Gate settled = job->settled;
    co_await settled;
    const ExitRecord& exit = job->exit;
    if (exit.kind == ExitKind::Exited && exit.code == 0) {
        co_return std::expected<void, Failure>();
    }
    std::array<char, 256> said{};
    const ssize_t size = ::pread(output.get(), said.data(), said.size(), 0);
    log::error(fmt::format("a system job failed with status {}: {}", exit_status_of(exit),
                           std::string_view(said.data(), size > 0 ? static_cast<std::size_t>(size) : 0)));
    co_return std::unexpected(Failure{ErrorCode::Internal, exit.step == Step::None ? Step::MakeFilesystem : exit.step, exit.sys_errno});
}

std::expected<void, Failure> Jobs::make_group(Job& job) {
    const auto name = hex_digits(job.record.id.bytes);
    auto group = kernel::make_cgroup(cgroups_.get(), name.data());
    if (!group) {
        return std::unexpected(Failure{ErrorCode::Internal, Step::MakeCgroup, group.error()});
    }
    job.cgroup = std::move(*group);
    auto events = kernel::open_cgroup_events(job.cgroup.get());
    if (!events) {
        return std::unexpected(Failure{ErrorCode::Internal, Step::MakeCgroup, events.error()});
    }
    job.cgroup_events = std::move(*events);
    return {};
}

Task<std::expected<void, Failure>> Jobs::launch(JobPointer job, Plan plan) {
    const std::uint32_t slot = plan.record.slot;
    const auto namespaces = co_await p_.slots.namespaces(slot);
    if (!namespaces) {
        co_return std::unexpected(namespaces.error());
    }

    worker::PrepareJob prepare;
    prepare.record = plan.record;
    prepare.base = plan.base;
    prepare.work_bytes = p_.config.work_bytes;
    prepare.tmp_bytes = p_.config.tmp_bytes;
    prepare.shm_bytes = p_.config.shm_bytes;
    prepare.slot_first = p_.slots.first_uid(slot);
    prepare.volume_count = static_cast<std::uint32_t>(plan.volumes.size());
    std::ranges::copy(plan.volumes, prepare.volumes.begin());
    std::vector<Fd> with_prepare;
    with_prepare.push_back(duplicate(namespaces->volume));
    WorkerReply prepared = co_await p_.workers.order(prepare, std::move(with_prepare));
    if (!prepared.ok() && !prepared.lost) {
        co_return std::unexpected(prepared.failure()); // the worker has undone what it did
    }

    std::expected<void, Failure> result;
    if (prepared.lost) {
        result = std::unexpected(prepared.failure());
    } else if (prepared.descriptors.size() != worker::kPreparedFixed + plan.volumes.size()) {
        result = std::unexpected(Failure{ErrorCode::Internal, Step::MountVolume, 0});
    }
    if (result) {
        result = make_group(*job);
    }
    if (result) {
        auto [mine, stages] = make_seqpacket_pair();
        job->status = std::move(mine);
        spawner::Launch order;
        order.host_name = plan.host_name;
        order.kind = static_cast<worker::JobKind>(plan.record.kind);
        order.volume_count = prepare.volume_count;
        std::ranges::transform(plan.volumes, order.volumes.begin(),
                               [](const worker::MountVolume& volume) { return spawner::MountPoint{volume.name, volume.target}; });
        std::vector<Fd> d(spawner::kLaunchFixed);
        d[spawner::kLaunchTemplate] = std::move(prepared.descriptors[worker::kTemplate]);
        d[spawner::kLaunchUserNamespace] = duplicate(namespaces->job);
        d[spawner::kLaunchCgroup] = duplicate(job->cgroup.get());
        d[spawner::kLaunchExitRecord] = std::move(prepared.descriptors[worker::kExitRecord]);
        d[spawner::kLaunchSpec] = std::move(plan.spec);
        d[spawner::kLaunchControl] = std::move(plan.control);
        d[spawner::kLaunchStatus] = std::move(stages);
        d[spawner::kLaunchVolumesMount] = std::move(prepared.descriptors[worker::kVolumesMount]);
        d[spawner::kLaunchWorkMount] = std::move(prepared.descriptors[worker::kWorkMount]);
        d[spawner::kLaunchTmpMount] = std::move(prepared.descriptors[worker::kTmpMount]);
        d[spawner::kLaunchShmMount] = std::move(prepared.descriptors[worker::kShmMount]);
        d[spawner::kLaunchPtsMount] = std::move(prepared.descriptors[worker::kPtsMount]);
        for (std::size_t i = worker::kPreparedFixed; i < prepared.descriptors.size(); ++i) {
            d.push_back(std::move(prepared.descriptors[i]));
        }
        prepared.descriptors.clear();
        SpawnerReply answer = co_await p_.spawner.order(order, std::move(d));
        if (answer.ok() && answer.descriptors.size() == 1) {
            job->pidfd = std::move(answer.descriptors.front());
            keep(*job);
            watch(job);
            co_return std::expected<void, Failure>();
        }
        result = std::unexpected(answer.ok() ? Failure{ErrorCode::Internal, Step::CloneStage, 0} : answer.failure());
        // A spawner that died may have cloned before it could say so
        if (const auto populated = kernel::is_populated(job->cgroup_events.get()); populated && *populated) {
            kernel::kill_cgroup(job->cgroup.get());
            co_await emptied(job);
        }
    }

    // Undone in the order it was made; the worker closes the mounts, because closing the last one may wait for a disk
    if (job->cgroup.valid()) {
        kernel::remove_cgroup(cgroups_.get(), hex_digits(job->record.id.bytes).data());
    }
    worker::ReleaseJob release;
    release.id = job->record.id;
    co_await p_.workers.order(release);
    worker::FinishJob clear;
    clear.id = job->record.id;
    co_await p_.workers.order(clear, std::move(prepared.descriptors));
    co_return result;
}

// ---------------------------------------------------------------- while it runs

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
            tell(*job);
        } else if (report.type == spawner::StageReportType::Ended && job->exit.kind == ExitKind::None && is_valid(report.exit)) {
            job->exit = report.exit;
        }
    }
}

protocol::Reply Jobs::signal(const protocol::SignalJob& request, const Client& client) {
    const auto found = jobs_.find(request.id);
    if (found == jobs_.end() || is_system(*found->second) || !may_manage(*found->second, client, request.authority)) {
        return refusal(ErrorCode::NotFound);
    }
    Job& job = *found->second;
    protocol::Reply reply;
    reply.job = request.id;
    if (job.state == protocol::JobState::Ended) {
        return reply;
    }
    if (request.signal == SIGKILL) {
        if (const auto killed = kernel::kill_cgroup(job.cgroup.get()); !killed) {
            return refusal(Failure{ErrorCode::Internal, Step::None, killed.error()});
        }
        return reply;
    }
    // By way of its pid 1, who lives among the job's ids; the broker may not signal them
    const ControlRequest control{ControlKind::Signal, request.signal};
    if (!job.status.valid() || !send_message(job.status.get(), control, {}, Wait::No)) {
        return refusal(ErrorCode::Unavailable);
    }
    return reply;
}

// ---------------------------------------------------------------- the end

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

Detached Jobs::finish(JobPointer job) {
    if (std::exchange(job->finishing, true)) {
        co_return;
    }
    const bool had_status = job->status.valid();
    read_status(job);
    for (auto* watch : {&job->pidfd_watch, &job->status_watch, &job->events_watch}) {
        if (*watch != 0) {
            p_.loop.forget(std::exchange(*watch, 0));
        }
    }
    if (job->exit.kind == ExitKind::None) {
        // No word over the socket: killed, unless there never was a socket to this broker
        job->exit = had_status ? killed_record(*job) : co_await recorded_exit(job);
    }
    job->state = protocol::JobState::Ended;
    tell(*job);

    if (job->cgroup_events.valid()) {
        co_await emptied(job);
    }
    const JobId id = job->record.id;
    worker::ReleaseJob release;
    release.id = id;
    co_await p_.workers.order(release);
    worker::FinishJob finish_order;
    finish_order.id = id;
    std::vector<Fd> held;
    for (Fd* fd : {&job->mount_namespace, &job->pidfd, &job->status}) {
        if (fd->valid()) {
            held.push_back(std::move(*fd));
        }
    }
    p_.supervisor.drop(id); // before the worker's answer: jobletd's copy would keep the mounts
    const WorkerReply finished = co_await p_.workers.order(finish_order, std::move(held));
    if (!finished.ok()) {
        log::error(fmt::format("job {} could not be cleared away: {}", to_string(id), step_phrase(finished.answer.step)));
    }
    job->cgroup.reset();
    job->cgroup_events.reset();
    kernel::remove_cgroup(cgroups_.get(), hex_digits(id.bytes).data());
    for (const auto& attached : job->volumes) {
        p_.registry.detach(attached.id, id);
        if (Volume* volume = p_.registry.find(attached.id)) {
            // What a worker did that was given up in the middle of an unmount, nobody knows
            volume->quarantined = volume->quarantined || finished.lost;
            volume->record.last_used_ns = std::max(volume->record.last_used_ns, job->exit.ended_ns);
            volume->record_is_stale = true;
            p_.news.volume_changed(*volume);
        }
    }
    if (!is_system(*job)) { // whose slot belongs to the operation that ordered it
        p_.slots.give_back(job->record.slot);
        ended_.push_back(id);
        forget_oldest_ended();
    } else {
        jobs_.erase(id);
    }
    job->settled.open();
}

void Jobs::forget_oldest_ended() {
    while (ended_.size() > p_.config.ended_jobs_kept) {
        jobs_.erase(ended_.front());
        ended_.pop_front();
    }
}

protocol::Reply Jobs::release(const protocol::ReleaseJob& request, const Client* client) {
    const auto found = jobs_.find(request.id);
    if (found == jobs_.end() || is_system(*found->second) ||
        (client != nullptr && !may_manage(*found->second, *client, request.authority))) {
        return refusal(ErrorCode::NotFound);
    }
    if (std::ranges::find(ended_, request.id) == ended_.end()) {
        auto reply = refusal(ErrorCode::InUse);
        reply.job = request.id;
        return reply;
    }
    std::erase(ended_, request.id);
    jobs_.erase(found);
    return {};
}

// ---------------------------------------------------------------- lists and recovery

void Jobs::tell(const Job& job) const {
    if (!is_system(job)) {
        p_.news.job_changed(entry_of(job));
    }
}

protocol::JobPage Jobs::page(const protocol::ListJobs& request) const {
    protocol::JobPage out;
    for (auto at = jobs_.upper_bound(request.after); at != jobs_.end(); ++at) {
        if (is_system(*at->second)) {
            continue;
        }
        if (out.reply.count == out.jobs.size()) {
            out.reply.flags |= protocol::kReplyMore;
            break;
        }
        out.jobs[out.reply.count++] = entry_of(*at->second);
    }
    return out;
}

Task<std::expected<void, Failure>> Jobs::load() {
    std::vector<StoredJob> stored = co_await p_.supervisor.get_all();
    std::vector<worker::LoadedJob> loaded;
    const WorkerReply reply = co_await p_.workers.order(worker::LoadJobs{}, {}, [&loaded](std::span<const std::byte> bytes) {
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
    std::vector<JobPointer> system_jobs;
    for (const auto& [record, exit] : loaded) {
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
        if (!p_.slots.take_exactly(record.slot)) {
            log::warning(
                fmt::format("job {} lives in slot {}, which is outside the configuration or taken", to_string(record.id), record.slot));
        }
        jobs_.emplace(record.id, job);
        if (is_system(*job)) {
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
            kernel::kill_cgroup(job->cgroup.get());
        }
        finish(job);
        const Gate settled = job->settled;
        co_await settled;
        p_.slots.give_back(job->record.slot);
    }
    co_return std::expected<void, Failure>();
}

void Jobs::resume() {
    const auto jobs = jobs_; // finish() changes the map
    for (const auto& [id, job] : jobs) {
        for (const auto& attached : job->volumes) {
            p_.registry.attach(attached.id, {id, attached.access});
        }
        job->state = protocol::JobState::Running;
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
