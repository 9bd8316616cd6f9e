// The files of jobs that root keeps: <runtime>/jobs/<id>, and the directory <jobs>/<id> with the exit record and, of a job with a
// log, the log's two files and a copy of the job's record.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "broker-root/kernel/result.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/orders.h"
#include "shared/fd.h"

namespace joblet::worker {

inline constexpr std::array kLogFiles = {"log.0", "log.1"}; // see shared/job_log.h

struct JobFiles {
    Fd exit;              // O_RDWR|O_APPEND
    std::vector<Fd> logs; // O_RDWR; none, or as many as kLogFiles
};
// All empty, in the directory <id> of `ended_jobs`, which is there and empty, too. On failure some of it may be there.
kernel::Result<JobFiles> fill_job_directory(const Fd& ended_jobs, const JobRecord& record);
// With what fill_job_directory() made, or a part of it. Not an error if there is none.
Outcome<void> remove_job_directory(const Fd& ended_jobs, const JobId& id);

// All zero if there is no valid one.
ExitRecord exit_of(const Fd& ended_jobs, const JobId& id);
// O_RDONLY. ENOENT if the job has no log.
kernel::Result<std::array<Fd, kLogFiles.size()>> open_log_files(const Fd& ended_jobs, const JobId& id);

std::optional<JobRecord> running_record_of(const Fd& running_jobs, const JobId& id);

struct KeptRecord {
    std::optional<JobRecord> record;
    bool is_unreadable = false; // there is one, and nothing is known of it; it may be of another version
};
// The copy of the record. A file without any content is none: a crash of the host leaves such files.
KeptRecord kept_record_of(const Fd& ended_jobs, const JobId& id);

} // namespace joblet::worker
