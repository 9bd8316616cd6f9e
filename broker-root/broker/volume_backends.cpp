// Which backend a volume gets: the one that was asked for, or the best that was seen to hold its limit.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/broker/volumes.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

using protocol::Backend;
using protocol::BackendReport;

constexpr auto kProbeName = "joblet-probe";
constexpr auto kProbeFile = "/volumes/data/probe"; // where a system job sees what it has to write to
constexpr auto kBlock = "bs=64k";
constexpr auto kBlocks = "count=64"; // 4 MiB, into a volume of 1 MiB
constexpr int kProjectIdTries = 16;
// From the best to the one that every kernel has.
constexpr std::array kByRank = {Backend::ProjectQuota, Backend::Btrfs, Backend::Image};

Backend configured(StoreBackend backend) {
    switch (backend) {
    case StoreBackend::Image:
        return Backend::Image;
    case StoreBackend::ProjectQuota:
        return Backend::ProjectQuota;
    case StoreBackend::Btrfs:
        return Backend::Btrfs;
    case StoreBackend::Auto:
        break;
    }
    return Backend::Auto;
}

} // namespace

std::uint32_t Volumes::take_project_id() {
    for (;;) {
        const auto id = make_random_id<VolumeId>();
        std::uint32_t number = 0;
        std::memcpy(&number, id.bytes.data(), sizeof number);
        number = worker::kProjectFirst + number % (worker::kProjectLast - worker::kProjectFirst + 1);
        if (project_ids_.insert(number).second) {
            return number;
        }
    }
}

Task<WorkerReply> Volumes::stage(worker::VolumeRecord& record, std::uint32_t slot_first) {
    const bool has_quota = record.backend == Backend::ProjectQuota;
    for (int tries = 0;; ++tries) {
        record.project_id = has_quota ? take_project_id() : 0;
        worker::StageVolume order;
        order.record = record;
        order.slot_first = slot_first;
        WorkerReply staged = co_await p_.workers.order(order);
        // Somebody else's, or of a volume whose record is lost: the number stays taken, and another one is tried
        const bool is_known = has_quota && staged.answer.step == Step::SetQuota && staged.answer.sys_errno == EEXIST;
        if (!is_known || tries == kProjectIdTries) {
            co_return staged;
        }
        worker::DiscardStaging discard;
        discard.id = record.id;
        co_await p_.workers.order(discard);
    }
}

// What is known without trying.
std::optional<Failure> Volumes::known_obstacle(Backend backend) const {
    if (backend == Backend::ProjectQuota && p_.host.quota_errno != 0) {
        return Failure{ErrorCode::Unsupported, Step::SetQuota, p_.host.quota_errno};
    }
    if (backend == Backend::Btrfs && p_.host.btrfs_errno != 0) {
        const bool is_limit = p_.host.btrfs_errno == ENOTCONN;
        return Failure{ErrorCode::Unsupported, is_limit ? Step::LimitSubvolume : Step::MakeSubvolume, p_.host.btrfs_errno};
    }
    return std::nullopt;
}

Task<std::expected<Backend, protocol::Reply>> Volumes::choose_backend(Wishes wishes) {
    if (wishes.type == protocol::VolumeType::Memory) {
        if (wishes.soft_limits) {
            co_return std::unexpected(refusal(Failure{ErrorCode::Unsupported, Step::SetQuota, 0}));
        }
        co_return Backend::Tmpfs;
    }
    const auto can = [wishes](Backend backend) -> bool {
        return (!wishes.soft_limits || backend == Backend::ProjectQuota) && (!wishes.inodes || backend != Backend::Btrfs);
    };
    const Backend said = wishes.backend != Backend::Auto ? wishes.backend : configured(p_.config.backend);
    if (said != Backend::Auto) {
        if (const auto obstacle = known_obstacle(said)) {
            co_return std::unexpected(refusal(*obstacle));
        }
        if (!can(said)) { // a qgroup counts bytes alone, and only a quota has soft limits
            const Step missing = wishes.soft_limits ? Step::SetQuota : Step::LimitSubvolume;
            co_return std::unexpected(refusal(Failure{ErrorCode::Unsupported, missing, 0}));
        }
        co_return said;
    }
    Failure last{ErrorCode::Unsupported, Step::SetQuota, p_.host.quota_errno};
    for (const Backend backend : kByRank) {
        if (!can(backend)) {
            continue;
        }
        const BackendReport report = co_await report_on(backend);
        if (report.code == ErrorCode::Ok) {
            co_return backend;
        }
        last = {report.code, report.step, report.sys_errno};
    }
    co_return std::unexpected(refusal(last));
}

Task<Backend> Volumes::best_backend() {
    const Wishes wishes{protocol::VolumeType::Filesystem, Backend::Auto};
    const auto best = co_await choose_backend(wishes);
    co_return best ? *best : Backend::Auto;
}

Task<BackendReport> Volumes::report_on(Backend backend) {
    while (!tried_.contains(backend)) {
        if (const auto others = being_tried_.find(backend); others != being_tried_.end()) {
            const Gate over = others->second;
            co_await over;
            continue;
        }
        const Gate over(p_.loop);
        being_tried_.emplace(backend, over);
        BackendReport report = co_await try_backend(backend);
        being_tried_.erase(backend);
        over.open();
        if (report.code == ErrorCode::Unavailable || report.code == ErrorCode::OutOfSpace) {
            co_return report; // says nothing about the backend: the next who asks tries again
        }
        tried_.emplace(backend, report);
        if (report.code == ErrorCode::Ok) {
            log::info(fmt::format("backend {} was tried and holds its limit", protocol::backend_name(backend)));
        } else {
            log::info(fmt::format("backend {} is not used: could not {}{}{}", protocol::backend_name(backend), step_phrase(report.step),
                                  report.sys_errno != 0 ? ": " : "", report.sys_errno != 0 ? std::strerror(report.sys_errno) : ""));
        }
    }
    co_return tried_.at(backend);
}

Task<BackendReport> Volumes::try_backend(Backend backend) {
    const auto failed = [backend](const Failure& failure) -> BackendReport {
        return {backend, failure.code, failure.step, failure.sys_errno};
    };
    if (const auto obstacle = known_obstacle(backend)) {
        co_return failed(*obstacle);
    }
    protocol::CreateVolume request;
    request.name = NameText(kProbeName);
    request.size_bytes = protocol::kVolumeSizeMin;
    request.type = backend == Backend::Tmpfs ? protocol::VolumeType::Memory : protocol::VolumeType::Filesystem;
    auto record = make_record(request, backend, 0);
    if (!record) {
        co_return failed({record.error().code, record.error().step, record.error().sys_errno});
    }
    if (const auto built = co_await build(*record, {}, 0, Goal::Trash); !built) {
        co_return failed(built.error());
    }
    const auto slot = p_.slots.take();
    std::expected<void, Failure> held = std::unexpected(Failure{ErrorCode::Unavailable, Step::MakeSlot, 0});
    if (slot) {
        worker::MountVolume volume;
        volume.id = record->id;
        volume.name = NameText("data");
        volume.size_bytes = record->size_bytes;
        volume.inodes = record->inodes;
        volume.backend = backend;
        SystemJob job{{"/usr/bin/dd", "if=/dev/zero", fmt::format("of={}", kProbeFile), kBlock, kBlocks, "conv=fsync"},
                      {},
                      {},
                      *slot,
                      record->owner_uid,
                      volume};
        const auto end = co_await p_.jobs.try_system_job(std::move(job));
        p_.slots.give_back(*slot);
        const bool was_stopped = end && end->exit.kind == ExitKind::Exited && end->exit.code == 1;
        held = {};
        if (!end) {
            held = std::unexpected(end.error());
        } else if (!was_stopped) {
            log::error(fmt::format("a job that writes beyond the limit of a volume of {} ended with status {}: {}",
                                   protocol::backend_name(backend), exit_status_of(end->exit), end->said));
            held = std::unexpected(Failure{ErrorCode::Unsupported, Step::HoldLimit, 0});
        }
    }
    if (held && backend != Backend::Tmpfs) { // whose bytes went with the job
        const auto usage = co_await usage_of(*record, true);
        if (!usage) {
            held = std::unexpected(usage.error());
        } else if (usage->bytes < record->size_bytes / 2 || (usage->bytes_limit != 0 && usage->bytes > usage->bytes_limit)) {
            held = std::unexpected(Failure{ErrorCode::Unsupported, Step::HoldLimit, 0});
        }
    }
    co_await empty(*record);
    co_return held ? failed({ErrorCode::Ok, Step::None, 0}) : failed(held.error());
}

} // namespace joblet::broker
