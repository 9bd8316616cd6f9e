// Volumes and jobs as rows, in both directions.
#include <span>

#include "api-unpriv/store/statements.h"

namespace joblet::api {

StoreResult<void> Database::load_limits(const Query& row, int first, Job& job) {
    auto& limits = job.limits;
    limits.controllers = static_cast<std::uint32_t>(row.integer(first));
    limits.memory_bytes = row.number(first + 1);
    limits.swap_bytes = row.number(first + 2);
    limits.processes = row.number(first + 3);
    limits.cpu_milli = row.number(first + 4);
    limits.io = row.io(first + 5);
    Query devices(statements_->load_job_devices);
    devices.add(job.id);
    int state = SQLITE_ROW;
    while ((state = devices.step()) == SQLITE_ROW && limits.device_count < limits.devices.size()) {
        limits.devices.at(limits.device_count++) = {static_cast<std::uint32_t>(devices.integer(0)),
                                                    static_cast<std::uint32_t>(devices.integer(1))};
    }
    return state == SQLITE_DONE || state == SQLITE_ROW ? StoreResult<void>{} : std::unexpected(error("read devices of jobs"));
}

StoreResult<void> Database::put_devices(const Job& job) {
    if (Query(statements_->erase_job_devices).add(job.id).step() != SQLITE_DONE) {
        return std::unexpected(error("store a job"));
    }
    std::int64_t position = 0;
    for (const auto& device : std::span(job.limits.devices).first(job.limits.device_count)) {
        if (Query(statements_->put_job_device).add(job.id).add(position++).add(device.major).add(device.minor).step() != SQLITE_DONE) {
            return std::unexpected(error("store a job's device"));
        }
    }
    return {};
}

StoreResult<std::vector<Volume>> Database::load_volumes() {
    std::vector<Volume> out;
    Query query(statements_->load_volumes);
    int state = SQLITE_ROW;
    while ((state = query.step()) == SQLITE_ROW) {
        Volume& volume = out.emplace_back();
        auto& entry = volume.entry;
        entry.id = query.id<VolumeId>(0);
        entry.owner_uid = static_cast<std::uint32_t>(query.integer(1));
        entry.name = NameText(query.bytes(2));
        entry.type = static_cast<protocol::VolumeType>(query.integer(3));
        entry.backend = static_cast<protocol::Backend>(query.integer(4));
        entry.status = static_cast<protocol::VolumeStatus>(query.integer(5));
        entry.size_bytes = static_cast<std::uint64_t>(query.integer(6));
        entry.inodes = static_cast<std::uint64_t>(query.integer(7));
        entry.created_ns = query.integer(8);
        entry.last_used_ns = query.integer(9);
        entry.flags = static_cast<std::uint32_t>(query.integer(10));
        entry.trashed_until_ns = query.integer(11);
        entry.soft_size_bytes = query.number(12);
        entry.soft_inodes = query.number(13);
        entry.io = query.io(14);
        Query labels(statements_->load_labels);
        labels.add(entry.id);
        while ((state = labels.step()) == SQLITE_ROW) {
            volume.labels.emplace_back(labels.bytes(0), labels.bytes(1));
        }
        if (state != SQLITE_DONE) {
            return std::unexpected(error("read labels"));
        }
    }
    if (state != SQLITE_DONE) {
        return std::unexpected(error("read volumes"));
    }
    return out;
}

StoreResult<std::vector<Job>> Database::load_jobs() {
    std::vector<Job> out;
    Query query(statements_->load_jobs);
    int state = SQLITE_ROW;
    while ((state = query.step()) == SQLITE_ROW) {
        Job& job = out.emplace_back();
        job.id = query.id<JobId>(0);
        job.owner_uid = static_cast<std::uint32_t>(query.integer(1));
        job.name = query.bytes(2);
        job.state = static_cast<protocol::JobState>(query.integer(3));
        job.started_ns = query.integer(4);
        if (job.state == protocol::JobState::Ended) {
            job.exit.magic = kExitMagic;
            job.exit.started_ns = job.started_ns;
            job.exit.ended_ns = query.integer(5);
            job.exit.kind = static_cast<ExitKind>(query.integer(6));
            job.exit.code = static_cast<std::int32_t>(query.integer(7));
            job.exit.signal = static_cast<std::int32_t>(query.integer(8));
            job.exit.step = static_cast<Step>(query.integer(9));
            job.exit.sys_errno = static_cast<std::int32_t>(query.integer(10));
            job.exit.flags = static_cast<std::uint32_t>(query.integer(13));
        }
        job.base = query.bytes(11);
        job.host_name = query.bytes(12);
        job.detached = query.integer(14) != 0;
        job.remove_at_end = query.integer(15) != 0;
        if (auto done = load_limits(query, 16, job); !done) {
            return std::unexpected(done.error());
        }
        Query arguments(statements_->load_arguments);
        arguments.add(job.id);
        while ((state = arguments.step()) == SQLITE_ROW) {
            job.command.push_back(arguments.bytes(0));
        }
        if (state != SQLITE_DONE) {
            return std::unexpected(error("read commands"));
        }
        Query volumes(statements_->load_job_volumes);
        volumes.add(job.id);
        while ((state = volumes.step()) == SQLITE_ROW) {
            job.volumes.push_back({volumes.id<VolumeId>(0), volumes.bytes(1), volumes.bytes(2), volumes.integer(3) != 0});
        }
        if (state != SQLITE_DONE) {
            return std::unexpected(error("read volumes of jobs"));
        }
    }
    if (state != SQLITE_DONE) {
        return std::unexpected(error("read jobs"));
    }
    return out;
}

StoreResult<void> Database::begin() {
    return Query(statements_->begin).step() == SQLITE_DONE ? StoreResult<void>{} : std::unexpected(error("begin a transaction"));
}
StoreResult<void> Database::commit() {
    return Query(statements_->commit).step() == SQLITE_DONE ? StoreResult<void>{} : std::unexpected(error("commit"));
}
void Database::roll_back() {
    if (sqlite3_get_autocommit(handle_.get()) == 0) {
        sqlite3_exec(handle_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
}

StoreResult<void> Database::put(const Volume& volume) {
    const auto& entry = volume.entry;
    const bool stored = Query(statements_->put_volume)
                            .add(entry.id)
                            .add(entry.owner_uid)
                            .add_text(entry.name.view())
                            .add(static_cast<std::int64_t>(entry.type))
                            .add(static_cast<std::int64_t>(entry.backend))
                            .add(static_cast<std::int64_t>(entry.status))
                            .add(static_cast<std::int64_t>(entry.size_bytes))
                            .add(static_cast<std::int64_t>(entry.inodes))
                            .add(entry.created_ns)
                            .add(entry.last_used_ns)
                            .add(entry.flags)
                            .add(entry.trashed_until_ns)
                            .add_number(entry.soft_size_bytes)
                            .add_number(entry.soft_inodes)
                            .add(entry.io)
                            .step() == SQLITE_DONE;
    if (!stored || Query(statements_->erase_labels).add(entry.id).step() != SQLITE_DONE) {
        return std::unexpected(error("store a volume"));
    }
    for (const auto& [key, value] : volume.labels) {
        if (Query(statements_->put_label).add(entry.id).add_text(key).add_text(value).step() != SQLITE_DONE) {
            return std::unexpected(error("store a label"));
        }
    }
    return {};
}

StoreResult<void> Database::put(const Job& job) {
    const bool stored = Query(statements_->put_job)
                            .add(job.id)
                            .add(job.owner_uid)
                            .add_text(job.name)
                            .add(static_cast<std::int64_t>(job.state))
                            .add(job.started_ns)
                            .add(job.exit.ended_ns)
                            .add(static_cast<std::int64_t>(job.exit.kind))
                            .add(job.exit.code)
                            .add(job.exit.signal)
                            .add(static_cast<std::int64_t>(job.exit.step))
                            .add(job.exit.sys_errno)
                            .add_text(job.base)
                            .add_text(job.host_name)
                            .add(job.exit.flags)
                            .add(std::int64_t{job.detached})
                            .add(std::int64_t{job.remove_at_end})
                            .add(job.limits.controllers)
                            .add_number(job.limits.memory_bytes)
                            .add_number(job.limits.swap_bytes)
                            .add_number(job.limits.processes)
                            .add_number(job.limits.cpu_milli)
                            .add(job.limits.io)
                            .step() == SQLITE_DONE;
    if (!stored || Query(statements_->erase_arguments).add(job.id).step() != SQLITE_DONE ||
        Query(statements_->erase_job_volumes).add(job.id).step() != SQLITE_DONE) {
        return std::unexpected(error("store a job"));
    }
    std::int64_t position = 0;
    for (const auto& argument : job.command) {
        if (Query(statements_->put_argument).add(job.id).add(position++).add_bytes(argument).step() != SQLITE_DONE) {
            return std::unexpected(error("store a command"));
        }
    }
    position = 0;
    for (const auto& volume : job.volumes) {
        if (Query(statements_->put_job_volume)
                .add(job.id)
                .add(position++)
                .add(volume.id)
                .add_text(volume.name)
                .add_text(volume.target)
                .add(std::int64_t{volume.read_only})
                .step() != SQLITE_DONE) {
            return std::unexpected(error("store a job's volume"));
        }
    }
    return put_devices(job);
}

StoreResult<void> Database::erase(const VolumeId& id) {
    return Query(statements_->erase_volume).add(id).step() == SQLITE_DONE ? StoreResult<void>{} : std::unexpected(error("forget a volume"));
}
StoreResult<void> Database::erase(const JobId& id) {
    return Query(statements_->erase_job).add(id).step() == SQLITE_DONE ? StoreResult<void>{} : std::unexpected(error("forget a job"));
}

} // namespace joblet::api
