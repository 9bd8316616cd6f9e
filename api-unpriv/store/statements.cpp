#include "api-unpriv/store/statements.h"

namespace joblet::api {

StoreResult<void> Database::prepare() {
    Statements& s = *statements_;
    struct Row {
        Statement* statement;
        std::string_view sql;
    };
    const Row rows[] = {
        {&s.begin, "BEGIN IMMEDIATE"},
        {&s.commit, "COMMIT"},
        {&s.roll_back, "ROLLBACK"},
        {&s.put_volume, "INSERT INTO volumes (id, owner, name, type, backend, status, size_bytes, inodes, created_ns, last_used_ns, "
                        "flags, trashed_until_ns, soft_size_bytes, soft_inodes, io_read_bytes, io_write_bytes, io_read_operations, "
                        "io_write_operations) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                        "SET owner = excluded.owner, name = excluded.name, type = excluded.type, backend = excluded.backend, status = "
                        "excluded.status, size_bytes = excluded.size_bytes, inodes = excluded.inodes, created_ns = excluded.created_ns, "
                        "last_used_ns = excluded.last_used_ns, flags = excluded.flags, trashed_until_ns = excluded.trashed_until_ns, "
                        "soft_size_bytes = excluded.soft_size_bytes, soft_inodes = excluded.soft_inodes, io_read_bytes = "
                        "excluded.io_read_bytes, io_write_bytes = excluded.io_write_bytes, io_read_operations = "
                        "excluded.io_read_operations, io_write_operations = excluded.io_write_operations"},
        {&s.erase_volume, "DELETE FROM volumes WHERE id = ?"},
        {&s.erase_labels, "DELETE FROM labels WHERE volume = ?"},
        {&s.put_label, "INSERT INTO labels (volume, key, value) VALUES (?, ?, ?)"},
        {&s.put_job, "INSERT INTO jobs (id, owner, name, state, started_ns, ended_ns, exit_kind, exit_code, exit_signal, exit_step, "
                     "exit_errno, base, host_name, exit_flags, detached, remove_at_end, controllers, memory_bytes, swap_bytes, "
                     "processes, cpu_milli, io_read_bytes, io_write_bytes, io_read_operations, io_write_operations) VALUES (?, ?, ?, "
                     "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET owner = "
                     "excluded.owner, name = excluded.name, state = excluded.state, started_ns = excluded.started_ns, ended_ns = "
                     "excluded.ended_ns, exit_kind = excluded.exit_kind, exit_code = excluded.exit_code, exit_signal = "
                     "excluded.exit_signal, exit_step = excluded.exit_step, exit_errno = excluded.exit_errno, base = excluded.base, "
                     "host_name = excluded.host_name, exit_flags = excluded.exit_flags, detached = excluded.detached, remove_at_end "
                     "= excluded.remove_at_end, controllers = excluded.controllers, memory_bytes = excluded.memory_bytes, swap_bytes "
                     "= excluded.swap_bytes, processes = excluded.processes, cpu_milli = excluded.cpu_milli, io_read_bytes = "
                     "excluded.io_read_bytes, io_write_bytes = excluded.io_write_bytes, io_read_operations = "
                     "excluded.io_read_operations, io_write_operations = excluded.io_write_operations"},
        {&s.erase_job, "DELETE FROM jobs WHERE id = ?"},
        {&s.erase_arguments, "DELETE FROM job_arguments WHERE job = ?"},
        {&s.erase_job_volumes, "DELETE FROM job_volumes WHERE job = ?"},
        {&s.put_argument, "INSERT INTO job_arguments (job, position, argument) VALUES (?, ?, ?)"},
        {&s.put_job_volume, "INSERT INTO job_volumes (job, position, volume, name, target, read_only) VALUES (?, ?, ?, ?, ?, ?)"},
        {&s.erase_job_devices, "DELETE FROM job_devices WHERE job = ?"},
        {&s.put_job_device, "INSERT INTO job_devices (job, position, major, minor) VALUES (?, ?, ?, ?)"},
        {&s.load_volumes, "SELECT id, owner, name, type, backend, status, size_bytes, inodes, created_ns, last_used_ns, flags, "
                          "trashed_until_ns, soft_size_bytes, soft_inodes, io_read_bytes, io_write_bytes, io_read_operations, "
                          "io_write_operations FROM volumes"},
        {&s.load_labels, "SELECT key, value FROM labels WHERE volume = ? ORDER BY key"},
        {&s.load_jobs, "SELECT id, owner, name, state, started_ns, ended_ns, exit_kind, exit_code, exit_signal, exit_step, exit_errno, "
                       "base, host_name, exit_flags, detached, remove_at_end, controllers, memory_bytes, swap_bytes, processes, "
                       "cpu_milli, io_read_bytes, io_write_bytes, io_read_operations, io_write_operations FROM jobs"},
        {&s.load_arguments, "SELECT argument FROM job_arguments WHERE job = ? ORDER BY position"},
        {&s.load_job_volumes, "SELECT volume, name, target, read_only FROM job_volumes WHERE job = ? ORDER BY position"},
        {&s.load_job_devices, "SELECT major, minor FROM job_devices WHERE job = ? ORDER BY position"},
    };
    for (const auto& row : rows) {
        sqlite3_stmt* raw = nullptr;
        if (sqlite3_prepare_v3(handle_.get(), row.sql.data(), static_cast<int>(row.sql.size()), SQLITE_PREPARE_PERSISTENT, &raw, nullptr) !=
            SQLITE_OK) {
            return std::unexpected(error("use its tables"));
        }
        row.statement->reset(raw);
    }
    return {};
}

} // namespace joblet::api
