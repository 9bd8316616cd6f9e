// From a decided job to a running stage: the worker's mounts, the group, the clone; and the undoing of all of it.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "broker-root/broker/job_limits.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/kernel/cgroup.h"
#include "shared/datagram.h"
#include "shared/job_spec.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

Fd duplicate(int fd) {
    return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

} // namespace

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

Task<std::expected<void, Failure>> Jobs::launch(JobPointer job, JobPlan plan, Channel channel) {
    const std::uint32_t slot = plan.record.slot;
    const auto namespaces = co_await p_.slots.namespaces(slot);
    if (!namespaces) {
        co_return std::unexpected(namespaces.error());
    }

    const worker::PrepareJob prepare = prepare_order(plan, p_.config.shm_bytes, p_.slots.first_uid(slot));
    std::vector<Fd> with_prepare;
    with_prepare.push_back(duplicate(namespaces->volume));
    worker::Mounted mounted;
    WorkerReply prepared = co_await p_.workers.order(prepare, std::move(with_prepare), whole_answer(mounted));
    if (!prepared.ok() && !prepared.lost) {
        co_return std::unexpected(prepared.failure()); // the worker has undone what it did
    }

    std::expected<void, Failure> result;
    if (prepared.lost) {
        result = std::unexpected(prepared.failure());
    } else if (mounted.answer.type != prepared.answer.type || mounted.device_count > mounted.devices.size() ||
               prepared.descriptors.size() !=
                   worker::kPreparedFixed + (job->has_log() ? protocol::kLogDescriptors : 0) + plan.volumes.size()) {
        result = std::unexpected(Failure{ErrorCode::Internal, Step::MountVolume, 0});
    }
    if (result) {
        add_devices(job->record.limits, std::span(mounted.devices).first(mounted.device_count));
        result = make_group(*job);
    }
    if (result) {
        result = hold_limits(job->cgroup.get(), job->record.limits);
    }
    if (result) {
        auto [mine, stages] = make_seqpacket_pair();
        job->status = std::move(mine);
        job->launched_here = true;
        const spawner::Launch order = launch_order(plan);
        std::vector<Fd> d(spawner::kLaunchFixed);
        d[spawner::kLaunchTemplate] = std::move(prepared.descriptors[worker::kTemplate]);
        d[spawner::kLaunchUserNamespace] = duplicate(namespaces->job);
        d[spawner::kLaunchCgroup] = duplicate(job->cgroup.get());
        d[spawner::kLaunchExitRecord] = std::move(prepared.descriptors[worker::kExitRecord]);
        d[spawner::kLaunchSpec] = std::move(channel.spec);
        d[spawner::kLaunchControl] = channel.control.duplicate(); // ours is closed after the spawner's
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
            if (job->kill_is_due) {
                kill_group(*job);
            }
            co_return std::expected<void, Failure>();
        }
        result = std::unexpected(answer.ok() ? Failure{ErrorCode::Internal, Step::CloneStage, 0} : answer.failure());
        // A spawner that died may have cloned before it could say so
        if (const auto populated = kernel::is_populated(job->cgroup_events.get()); populated && *populated) {
            kill_group(*job);
            co_await emptied(job);
        }
    }

    // Undone in the order it was made; the worker closes the mounts, because closing the last one may wait for a disk
    if (job->cgroup.valid()) {
        remove_group(job->record.id);
    }
    worker::ReleaseJob release;
    release.id = job->record.id;
    co_await p_.workers.order(release);
    worker::FinishJob clear;
    clear.id = job->record.id;
    co_await p_.workers.order(clear, std::move(prepared.descriptors));
    co_return result;
}

Task<std::expected<SystemJobEnd, Failure>> Jobs::try_system_job(SystemJob wanted) {
    const auto command = encode_job_spec({std::move(wanted.arguments), {"PATH=/usr/sbin:/usr/bin", "HOME=/work"}, "/work"});
    Fd spec = make_spec_memory();
    Fd output(::memfd_create("joblet-system-job", MFD_CLOEXEC));
    if (!wanted.input.valid()) {
        wanted.input = Fd(::memfd_create("joblet-system-job", MFD_CLOEXEC));
    }
    if (!command || !spec.valid() || !output.valid() || !wanted.input.valid() || write_spec_memory(spec.get(), *command) != 0) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::ReadJobSpec, errno});
    }
    auto job = std::make_shared<Job>(p_.loop);
    job->record = make_job_record(0, wanted.slot, worker::JobKind::System);
    const JobId id = job->record.id;
    JobPlan plan;
    if (wanted.volume) {
        job->record.volume_count = 1;
        job->record.volumes[0] = wanted.volume->id;
        plan.volumes.push_back(*wanted.volume);
    }
    plan.record = job->record;
    plan.base = NameText(worker::kSystemBase);
    plan.volume_owner = wanted.owner;
    plan.host_name = NameText("joblet-system");
    plan.work_bytes = p_.config.work_bytes;
    plan.tmp_bytes = p_.config.tmp_bytes;
    auto [control, control_peer] = make_seqpacket_pair();
    const std::array<int, kHelloDescriptors> stdio = {wanted.input.get(), wanted.output.valid() ? wanted.output.get() : output.get(),
                                                      output.get()};
    if (!send_message(control_peer.get(), ControlHello{kHelloMagic}, stdio, Wait::No)) {
        co_return std::unexpected(Failure{ErrorCode::Internal, Step::CheckStdio, errno});
    }
    job->control_peer = std::move(control_peer);
    jobs_.emplace(id, job);

    Channel channel{ClientEnd(p_.closer, std::move(control)), std::move(spec), {}};
    const auto launched = co_await launch(job, std::move(plan), std::move(channel));
    if (!launched) {
        jobs_.erase(id);
        co_return std::unexpected(launched.error());
    }
    const Gate settled = job->settled;
    co_await settled;
    std::array<char, 256> said{};
    const ssize_t size = ::pread(output.get(), said.data(), said.size(), 0);
    SystemJobEnd end{job->exit, std::string(said.data(), size > 0 ? static_cast<std::size_t>(size) : 0)};
    co_return end;
}

Task<std::expected<void, Failure>> Jobs::run_system_job(SystemJob wanted) {
    const auto end = co_await try_system_job(std::move(wanted));
    if (!end) {
        co_return std::unexpected(end.error());
    }
    const ExitRecord& exit = end->exit;
    if (exit.kind == ExitKind::Exited && exit.code == 0) {
        co_return std::expected<void, Failure>();
    }
    log::error(fmt::format("a system job failed with status {}: {}", exit_status_of(exit), end->said));
    co_return std::unexpected(Failure{ErrorCode::Internal, exit.step, exit.sys_errno});
}

} // namespace joblet::broker
