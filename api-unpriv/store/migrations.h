// The schema of joblet.db: each version as the SQL that makes it out of the one before.
#pragma once

#include <array>
#include <string_view>

namespace joblet::api {

struct Migration {
    int version; // PRAGMA user_version afterwards
    std::string_view sql;
};

// Add rows at the end; never change one that was released. Each is applied in a transaction of its own, with its version.
inline constexpr std::array kMigrations = {
    Migration{1, R"sql(
        CREATE TABLE volumes (
            id           BLOB PRIMARY KEY CHECK (length(id) = 16),
            owner        INTEGER NOT NULL,
            name         TEXT    NOT NULL,
            type         INTEGER NOT NULL, -- protocol::VolumeType
            backend      INTEGER NOT NULL, -- protocol::Backend
            status       INTEGER NOT NULL, -- protocol::VolumeStatus
            size_bytes   INTEGER NOT NULL,
            inodes       INTEGER NOT NULL,
            created_ns   INTEGER NOT NULL,
            last_used_ns INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE labels (
            volume BLOB NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
            key    TEXT NOT NULL,
            value  TEXT NOT NULL,
            PRIMARY KEY (volume, key)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE jobs (
            id           BLOB PRIMARY KEY CHECK (length(id) = 16),
            owner        INTEGER NOT NULL,
            name         TEXT    NOT NULL, -- empty: none
            state        INTEGER NOT NULL, -- protocol::JobState
            started_ns   INTEGER NOT NULL,
            ended_ns     INTEGER NOT NULL, -- 0: not known
            exit_kind    INTEGER NOT NULL, -- ExitKind
            exit_code    INTEGER NOT NULL,
            exit_signal  INTEGER NOT NULL,
            exit_step    INTEGER NOT NULL, -- Step
            exit_errno   INTEGER NOT NULL,
            base         TEXT    NOT NULL,
            host_name    TEXT    NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE job_arguments (
            job      BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            argument BLOB    NOT NULL, -- any bytes but NUL
            PRIMARY KEY (job, position)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE job_volumes (
            job       BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            position  INTEGER NOT NULL,
            volume    BLOB    NOT NULL, -- may be gone
            name      TEXT    NOT NULL,
            target    TEXT    NOT NULL,
            read_only INTEGER NOT NULL,
            PRIMARY KEY (job, position)
        ) WITHOUT ROWID, STRICT;
    )sql"},
    Migration{2, R"sql(
        ALTER TABLE volumes ADD COLUMN flags            INTEGER NOT NULL DEFAULT 0; -- kVolumeProtected
        ALTER TABLE volumes ADD COLUMN trashed_until_ns INTEGER NOT NULL DEFAULT 0; -- 0: not in the trash
    )sql"},
    Migration{3, R"sql(
        ALTER TABLE jobs ADD COLUMN exit_flags    INTEGER NOT NULL DEFAULT 0; -- kExitTimedOut, kExitOutOfMemory
        ALTER TABLE jobs ADD COLUMN detached      INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN remove_at_end INTEGER NOT NULL DEFAULT 0;
    )sql"},
    Migration{4, R"sql(
        ALTER TABLE volumes ADD COLUMN soft_size_bytes     INTEGER NOT NULL DEFAULT 0; -- 0: none, as of all that follow
        ALTER TABLE volumes ADD COLUMN soft_inodes         INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE volumes ADD COLUMN io_read_bytes       INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE volumes ADD COLUMN io_write_bytes      INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE volumes ADD COLUMN io_read_operations  INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE volumes ADD COLUMN io_write_operations INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN controllers         INTEGER NOT NULL DEFAULT 0; -- protocol::kController…
        ALTER TABLE jobs ADD COLUMN memory_bytes        INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN swap_bytes          INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN processes           INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN cpu_milli           INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN io_read_bytes       INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN io_write_bytes      INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN io_read_operations  INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE jobs ADD COLUMN io_write_operations INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE job_devices (
            job      BLOB    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            major    INTEGER NOT NULL,
            minor    INTEGER NOT NULL,
            PRIMARY KEY (job, position)
        ) WITHOUT ROWID, STRICT;
    )sql"},
};
inline constexpr int kSchemaVersion = kMigrations.back().version;

// PRAGMA application_id of our file, so that another one's is told apart: "JBST".
inline constexpr int kApplicationId = 0x4A425354;

} // namespace joblet::api
