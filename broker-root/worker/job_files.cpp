#include "broker-root/worker/job_files.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/record.h"

namespace joblet::worker {
namespace {

constexpr auto kExit = "exit";
constexpr auto kRecord = "record";
constexpr auto kRecordNew = "record.new";

kernel::Result<Fd> open_job_directory(const Fd& ended_jobs, const JobId& id) {
    return kernel::open_beneath(ended_jobs.get(), hex_digits(id.bytes).data(), O_PATH | O_DIRECTORY);
}

using RecordBytes = std::array<std::byte, sizeof(JobRecord) + 1>; // one more, so that a longer file is seen to be longer

kernel::Result<std::span<const std::byte>> read_record_file(int directory, const char* name, RecordBytes& buffer) {
    const auto file = kernel::open_beneath(directory, name, O_RDONLY);
    const auto size = file ? kernel::read_file(file->get(), buffer) : std::unexpected(file.error());
    if (!size) {
        return std::unexpected(size.error());
    }
    return std::span<const std::byte>(buffer).first(*size);
}

kernel::Result<void> write_copy(int directory, JobRecord record) {
    seal(record);
    // Not synced: what a crash of the host leaves of it is recognised, and the exit record is not synced either
    return kernel::replace_file(directory, kRecord, kRecordNew, std::as_bytes(std::span(&record, 1)), kernel::Durability::Lazy);
}

} // namespace

kernel::Result<JobFiles> fill_job_directory(const Fd& ended_jobs, const JobRecord& record) {
    const auto directory = open_job_directory(ended_jobs, record.id);
    if (!directory) {
        return std::unexpected(directory.error());
    }
    auto exit = kernel::open_beneath(directory->get(), kExit, O_RDWR | O_APPEND | O_CREAT | O_EXCL, 0600);
    if (!exit) {
        return std::unexpected(exit.error());
    }
    JobFiles out{.exit = std::move(*exit), .logs = {}};
    if ((record.flags & kJobHasLog) == 0) {
        return out;
    }
    for (const char* const name : kLogFiles) {
        auto file = kernel::open_beneath(directory->get(), name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (!file) {
            return std::unexpected(file.error());
        }
        out.logs.push_back(std::move(*file));
    }
    if (const auto written = write_copy(directory->get(), record); !written) {
        return std::unexpected(written.error());
    }
    return out;
}

Outcome<void> remove_job_directory(const Fd& ended_jobs, const JobId& id) {
    const auto directory = open_job_directory(ended_jobs, id);
    if (!directory) {
        return directory.error() == ENOENT ? Outcome<void>() : failed(Step::MakeJobDirectory, directory.error());
    }
    // The record last: as long as it is there, the rest is found again
    for (const char* const name : {kLogFiles[0], kLogFiles[1], kExit, kRecordNew, kRecord}) {
        if (const auto removed = kernel::remove_file(directory->get(), name); !removed) {
            return failed(Step::MakeJobDirectory, removed.error());
        }
    }
    if (const auto removed = kernel::remove_directory(ended_jobs.get(), hex_digits(id.bytes).data()); !removed) {
        return failed(Step::MakeJobDirectory, removed.error());
    }
    return {};
}

ExitRecord exit_of(const Fd& ended_jobs, const JobId& id) {
    const auto directory = open_job_directory(ended_jobs, id);
    const auto file = directory ? kernel::open_beneath(directory->get(), kExit, O_RDONLY) : std::unexpected(directory.error());
    ExitRecord record;
    if (!file) {
        return record;
    }
    const auto size = kernel::read_file(file->get(), std::as_writable_bytes(std::span(&record, 1)));
    return size && *size == sizeof record && is_valid(record) ? record : ExitRecord{};
}

kernel::Result<std::array<Fd, kLogFiles.size()>> open_log_files(const Fd& ended_jobs, const JobId& id) {
    const auto directory = open_job_directory(ended_jobs, id);
    if (!directory) {
        return std::unexpected(directory.error());
    }
    std::array<Fd, kLogFiles.size()> out;
    for (std::size_t i = 0; i < out.size(); ++i) {
        auto file = kernel::open_beneath(directory->get(), kLogFiles[i], O_RDONLY);
        if (!file) {
            return std::unexpected(file.error());
        }
        out[i] = std::move(*file);
    }
    return out;
}

std::optional<JobRecord> running_record_of(const Fd& running_jobs, const JobId& id) {
    RecordBytes buffer;
    const auto bytes = read_record_file(running_jobs.get(), hex_digits(id.bytes).data(), buffer);
    return bytes ? read_job_record(*bytes, id) : std::nullopt;
}

KeptRecord kept_record_of(const Fd& ended_jobs, const JobId& id) {
    const auto directory = open_job_directory(ended_jobs, id);
    if (!directory) {
        return {.record = {}, .is_unreadable = true}; // no directory: not made here
    }
    RecordBytes buffer;
    const auto bytes = read_record_file(directory->get(), kRecord, buffer);
    if (!bytes) {
        return {.record = {}, .is_unreadable = bytes.error() != ENOENT};
    }
    const auto record = read_job_record(*bytes, id);
    const bool has_content = std::ranges::any_of(*bytes, [](std::byte byte) { return byte != std::byte{}; });
    return {.record = record, .is_unreadable = !record && has_content};
}

} // namespace joblet::worker
