// The tests' broker, as far as jobs are concerned.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "shared/job_spec.h"
#include "tests/unit/fake_broker.h"

namespace joblet::api::test {

namespace {

struct KnownBase {
    std::string_view name;
    protocol::ProcKind proc;
    bool is_usable;
};
constexpr std::array kBases = {
    KnownBase{"broken", protocol::ProcKind::Pids, false},
    KnownBase{"host", protocol::ProcKind::Masked, true},
    KnownBase{"minimal", protocol::ProcKind::Pids, true},
};

} // namespace

JobId FakeBroker::add_job(std::uint32_t owner, const std::vector<VolumeId>& volumes) {
    const std::lock_guard lock(mutex_);
    protocol::JobEntry job;
    job.id = make_random_id<JobId>();
    job.owner_uid = owner;
    job.state = protocol::JobState::Running;
    job.started_ns = 1000 + static_cast<std::int64_t>(jobs_.size());
    change_job(jobs_[job.id] = job, volumes);
    return job.id;
}
void FakeBroker::end_job(JobId id, int code) {
    ExitRecord exit;
    exit.kind = ExitKind::Exited;
    exit.code = code;
    end_job(id, exit);
}
void FakeBroker::end_job(JobId id, ExitRecord exit) {
    const std::lock_guard lock(mutex_);
    auto& job = jobs_.at(id);
    job.state = protocol::JobState::Ended;
    job.exit = exit;
    job.exit.magic = kExitMagic;
    job.exit.started_ns = job.started_ns;
    job.exit.ended_ns = job.started_ns + 1;
    protocol::JobChanged news;
    news.job = job;
    send(news);
}
std::optional<JobId> FakeBroker::job_with(const VolumeId& id) const {
    for (const auto& [job_id, job] : jobs_) {
        if (job.state != protocol::JobState::Ended && std::ranges::find(job.volumes, id) != job.volumes.end()) {
            return job_id;
        }
    }
    return std::nullopt;
}
void FakeBroker::change_job(protocol::JobEntry& job, const std::vector<VolumeId>& volumes) {
    job.volumes = {};
    job.volume_count = static_cast<std::uint32_t>(volumes.size());
    std::ranges::copy(volumes, job.volumes.begin());
    protocol::JobChanged news;
    news.job = job;
    send(news);
}

void FakeBroker::handle(const protocol::StartJob& r) {
    protocol::JobWorld world;
    auto& reply = world.reply = reply_to(r);
    start = r;
    auto channel = channels_.extract(r.channel);
    if ((r.flags & protocol::kStartDryRun) == 0) {
        if (channel.empty() || channel.mapped().connection != r.header.connection) {
            ++faults;
            return refuse(r, ErrorCode::NotFound);
        }
        control = std::move(channel.mapped().control);
        spec = std::move(channel.mapped().spec);
    }
    const auto base = std::ranges::find(kBases, r.base.view(), &KnownBase::name);
    if (base == kBases.end() || !base->is_usable) {
        reply.code = base == kBases.end() ? ErrorCode::NotFound : ErrorCode::Unsupported;
        reply.step = Step::BuildTemplate;
        return send(reply);
    }
    if ((r.flags & protocol::kStartHostNetwork) != 0 && !host_network) {
        return refuse(r, ErrorCode::PermissionDenied);
    }
    const bool detached = (r.flags & protocol::kStartDetached) != 0;
    world.work_bytes = r.work_bytes != 0 ? r.work_bytes : 1 << 20U;
    world.tmp_bytes = r.tmp_bytes != 0 ? r.tmp_bytes : 64 << 20U;
    world.shm_bytes = 64 << 20U;
    world.log_bytes = !detached ? 0 : r.log_bytes != 0 ? r.log_bytes : 8 << 20U;
    world.slot_first = 0x70000000;
    world.slot_ids = 65536;
    world.proc = base->proc;
    if (const auto refusal = plan_limits(r, world.limits); refusal.code != ErrorCode::Ok) {
        return send(refusal);
    }
    if ((r.flags & protocol::kStartDryRun) != 0) {
        return send(world);
    }
    protocol::JobEntry job;
    job.id = make_random_id<JobId>();
    job.owner_uid = uids_[r.header.connection];
    job.state = protocol::JobState::Running;
    job.started_ns = 1000 + static_cast<std::int64_t>(jobs_.size());
    job.volume_count = r.volume_count;
    for (std::size_t i = 0; i < r.volume_count; ++i) {
        job.volumes.at(i) = r.volumes.at(i).id;
    }
    job.limits = world.limits;
    jobs_[job.id] = job;
    if (detached) {
        logs_.insert(job.id);
    }
    protocol::JobChanged news;
    news.job = job;
    send(news);
    reply.job = job.id;
    send(world);
}
void FakeBroker::handle(const protocol::SignalJob& r) {
    auto reply = reply_to(r);
    const auto place = jobs_.find(r.id);
    if (place == jobs_.end() || !may(r.header, place->second.owner_uid, r.authority)) {
        reply.code = ErrorCode::NotFound;
    } else {
        ++signals;
    }
    send(reply);
}
void FakeBroker::handle(const protocol::ListJobs& r) {
    protocol::JobPage page;
    page.reply = reply_to(r);
    for (auto place = jobs_.upper_bound(r.after); place != jobs_.end() && page.reply.count < protocol::kPageEntries; ++place) {
        page.jobs.at(page.reply.count++) = place->second;
    }
    send(page);
}
void FakeBroker::handle(const protocol::ReleaseJob& r) {
    if (const int code = next_release.exchange(0)) {
        return refuse(r, static_cast<ErrorCode>(code));
    }
    if (jobs_.erase(r.id) == 0) {
        return refuse(r, ErrorCode::NotFound);
    }
    logs_.erase(r.id);
    ++released;
    send(reply_to(r));
}
void FakeBroker::handle(const protocol::OpenLog& r) {
    const auto job = jobs_.find(r.id);
    if (job == jobs_.end() || !may(r.header, job->second.owner_uid, r.authority) || !logs_.contains(r.id)) {
        return refuse(r, ErrorCode::NotFound);
    }
    const Fd first(::memfd_create("log.0", MFD_CLOEXEC));
    const Fd second(::memfd_create("log.1", MFD_CLOEXEC));
    if (::write(first.get(), "first", 5) != 5 || ::write(second.get(), "second", 6) != 6) {
        ++faults;
    }
    const std::array descriptors = {first.get(), second.get()};
    send(reply_to(r), descriptors);
}
void FakeBroker::handle(const protocol::CreateChannel& r) {
    channels_.erase(r.replaces);
    auto [jobs, users] = make_seqpacket_pair();
    Fd memory = make_spec_memory();
    const std::array descriptors = {users.get(), memory.get()};
    send(reply_to(r), descriptors);
    channels_.emplace(r.header.sequence, Channel{r.header.connection, std::move(jobs), std::move(memory)});
}
std::size_t FakeBroker::channels() {
    const std::lock_guard lock(mutex_);
    return channels_.size();
}
void FakeBroker::handle(const protocol::ListBases& r) {
    protocol::BaseList list;
    list.reply = reply_to(r);
    for (const auto& base : kBases) {
        list.bases.at(list.reply.count++) = {NameText(base.name), base.proc, base.is_usable ? 1U : 0U};
    }
    ++lists_of_bases;
    send(list);
}
void FakeBroker::handle(const protocol::AttachVolume& r) {
    Stored* there = find(r.header, r.id, protocol::Authority::User);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    auto reply = reply_to(r);
    auto& job = jobs_.at(r.job);
    std::vector<VolumeId> volumes(job.volumes.begin(), job.volumes.begin() + job.volume_count);
    const auto holder = job_with(r.id);
    if (holder) {
        reply.code = holder == r.job ? ErrorCode::Conflict : ErrorCode::InUse;
        reply.volume = r.id;
        reply.job = holder.value_or(JobId{});
        return send(reply);
    }
    volumes.push_back(r.id);
    there->entry.status = protocol::VolumeStatus::InUse;
    there->entry.current_job = r.job;
    change_job(job, volumes);
    send(reply);
}
void FakeBroker::handle(const protocol::DetachVolume& r) {
    Stored* there = find(r.header, r.id, protocol::Authority::User);
    auto& job = jobs_.at(r.job);
    std::vector<VolumeId> volumes(job.volumes.begin(), job.volumes.begin() + job.volume_count);
    if (there == nullptr || std::erase(volumes, r.id) == 0) {
        auto reply = reply_to(r);
        reply.code = ErrorCode::NotFound;
        reply.volume = r.id;
        return send(reply);
    }
    there->entry.status = protocol::VolumeStatus::Available;
    there->entry.current_job = {};
    change_job(job, volumes);
    send(reply_to(r));
}

} // namespace joblet::api::test
