// The tests' broker, as far as limits and what is used of them are concerned.
#include <algorithm>
#include <cerrno>

#include "tests/unit/fake_broker.h"

namespace joblet::api::test {

namespace {

constexpr std::uint64_t kMemoryMost = std::uint64_t{1} << 30U; // of broker.toml
constexpr std::uint64_t kMemoryBuiltIn = std::uint64_t{256} << 20U;
constexpr std::uint64_t kProcessesBuiltIn = 512;
constexpr std::int64_t kGraceEnds = 7000;

std::uint64_t lower(std::uint64_t a, std::uint64_t b) {
    return a == 0 || b == 0 ? a + b : std::min(a, b);
}

} // namespace

// ---- what tests say

void FakeBroker::use(const VolumeId& id, std::uint64_t bytes, std::uint64_t inodes) {
    const std::lock_guard lock(mutex_);
    volumes_.at(id).used_bytes = bytes;
    volumes_.at(id).used_inodes = inodes;
}
void FakeBroker::quarantine(const VolumeId& id) {
    const std::lock_guard lock(mutex_);
    volumes_.at(id).entry.status = protocol::VolumeStatus::Quarantined;
}
void FakeBroker::set_host(const protocol::HostFacts& facts) {
    const std::lock_guard lock(mutex_);
    host_ = facts;
}
void FakeBroker::hold_measurements(bool on) {
    const std::lock_guard lock(mutex_);
    holds_measurements_ = on;
    if (!on) {
        for (const auto& request : held_) {
            give_measure(request);
        }
        held_.clear();
    }
}
std::size_t FakeBroker::held_measurements() {
    const std::lock_guard lock(mutex_);
    return held_.size();
}

// ---- what the daemon asks

protocol::Reply FakeBroker::plan_limits(const protocol::StartJob& r, protocol::JobLimits& limits) const {
    auto reply = reply_to(r);
    const auto unsupported = [&reply](Step step) {
        reply.code = ErrorCode::Unsupported;
        reply.step = step;
        return reply;
    };
    const auto has = [this](std::uint32_t controller) { return (controllers & controller) != 0; };
    limits.controllers = controllers;
    if ((r.memory_bytes != 0 || r.swap_bytes != 0) && !has(protocol::kControllerMemory)) {
        return unsupported(Step::SetMemoryLimit);
    }
    if (r.processes != 0 && !has(protocol::kControllerPids)) {
        return unsupported(Step::SetProcessLimit);
    }
    if (r.cpu_milli != 0 && !has(protocol::kControllerCpu)) {
        return unsupported(Step::SetCpuLimit);
    }
    if (r.memory_bytes > kMemoryMost) {
        reply.code = ErrorCode::LimitExceeded;
        reply.which = static_cast<std::uint32_t>(protocol::LimitKind::Memory);
        reply.limit = kMemoryMost;
        reply.asked = r.memory_bytes;
        return reply;
    }
    if (has(protocol::kControllerMemory)) {
        limits.memory_bytes = r.memory_bytes != 0 ? r.memory_bytes : kMemoryBuiltIn;
        limits.swap_bytes = r.swap_bytes;
    }
    if (has(protocol::kControllerPids)) {
        limits.processes = r.processes != 0 ? r.processes : kProcessesBuiltIn;
    }
    limits.cpu_milli = r.cpu_milli;
    limits.io = r.io;
    if (r.io == protocol::IoLimits{}) {
        for (const auto& volume : std::span(r.volumes).first(r.volume_count)) {
            const auto& io = volumes_.at(volume.id).entry.io;
            limits.io = {lower(limits.io.read_bytes, io.read_bytes), lower(limits.io.write_bytes, io.write_bytes),
                         lower(limits.io.read_operations, io.read_operations), lower(limits.io.write_operations, io.write_operations)};
        }
    }
    if (limits.io != protocol::IoLimits{}) {
        if (!has(protocol::kControllerIo)) {
            return unsupported(Step::SetIoLimit);
        }
        limits.devices[limits.device_count++] = {8, 0};
        const bool is_started = (r.flags & protocol::kStartDryRun) == 0;
        for (std::uint32_t i = 0; is_started && i < r.volume_count; ++i) { // the loop device of each
            limits.devices.at(limits.device_count++) = {7, i};
        }
    }
    return reply;
}

protocol::Usage FakeBroker::usage_of(const Stored& volume) const {
    const auto& entry = volume.entry;
    protocol::Usage usage;
    usage.bytes = volume.used_bytes;
    usage.bytes_limit = entry.size_bytes + (entry.backend == protocol::Backend::ProjectQuota ? 4096 : 0); // room for its directory
    usage.bytes_soft = entry.soft_size_bytes;
    usage.inodes = volume.used_inodes;
    usage.inodes_limit = entry.inodes;
    usage.inodes_soft = entry.soft_inodes;
    usage.bytes_grace_ns = usage.bytes_soft != 0 && usage.bytes > usage.bytes_soft ? kGraceEnds : 0;
    usage.inodes_grace_ns = usage.inodes_soft != 0 && usage.inodes > usage.inodes_soft ? kGraceEnds + 1 : 0;
    return usage;
}

void FakeBroker::handle(const protocol::MeasureVolume& r) {
    if (holds_measurements_) {
        held_.push_back(r);
    } else {
        give_measure(r);
    }
}
void FakeBroker::give_measure(const protocol::MeasureVolume& r) {
    const Stored* there = find(r.header, r.id, r.authority);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    if (there->entry.status == protocol::VolumeStatus::Quarantined) {
        return refuse(r, ErrorCode::Quarantined);
    }
    protocol::VolumeMeasure measure;
    measure.reply = reply_to(r);
    measure.reply.volume = r.id;
    measure.usage = usage_of(*there);
    send(measure);
}

void FakeBroker::handle(const protocol::ResizeVolume& r) {
    Stored* there = find(r.header, r.id, protocol::Authority::User);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    auto reply = reply_to(r);
    reply.volume = r.id;
    auto after = there->entry;
    after.size_bytes = r.size_bytes != 0 ? r.size_bytes : after.size_bytes;
    after.inodes = r.inodes != 0 ? r.inodes : after.inodes;
    const auto soft = [](std::uint64_t asked, std::uint64_t now) { return asked == 0 ? now : asked == protocol::kNoSoftLimit ? 0 : asked; };
    after.soft_size_bytes = soft(r.soft_size_bytes, after.soft_size_bytes);
    after.soft_inodes = soft(r.soft_inodes, after.soft_inodes);
    const auto holder = job_with(r.id);
    if (holder && after.backend == protocol::Backend::Image) {
        if (after.size_bytes < there->entry.size_bytes) {
            reply.code = ErrorCode::InUse;
            reply.job = *holder;
            return send(reply);
        }
        if (!grows_online) {
            reply.code = ErrorCode::Unsupported;
            reply.step = Step::ResizeVolume;
            reply.sys_errno = EPERM;
            return send(reply);
        }
    }
    const auto too_small = [&](std::uint64_t used, std::uint64_t limit) {
        if (limit == 0 || used <= limit) {
            return false;
        }
        reply.code = ErrorCode::LimitExceeded;
        reply.which = static_cast<std::uint32_t>(protocol::LimitKind::VolumeUsage);
        reply.limit = reply.asked = limit;
        reply.used = used;
        return true;
    };
    if (!too_small(there->used_bytes, after.size_bytes) && !too_small(there->used_inodes, after.inodes)) {
        there->entry = after;
    }
    send(reply);
}

void FakeBroker::handle(const protocol::HostReport& r) {
    const bool is_admin = admins_.contains(r.header.connection);
    if (r.authority == protocol::Authority::Admin && !is_admin) {
        return refuse(r, ErrorCode::PermissionDenied);
    }
    auto facts = host_;
    const auto reply = facts.reply;
    facts.reply = reply_to(r);
    if (r.authority == protocol::Authority::Admin) {
        facts.flags |= protocol::kHostSurveyed;
        facts.reply.count = reply.count;
        facts.reply.flags = reply.flags;
    } else {
        facts.differences = {};
    }
    send(facts);
}

} // namespace joblet::api::test
