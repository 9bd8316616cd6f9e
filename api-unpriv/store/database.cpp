#include "api-unpriv/store/database.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <sqlite3.h>

#include "api-unpriv/store/migrations.h"

namespace joblet::api {

namespace {

constexpr std::string_view kFile = "/joblet.db";

std::string_view synchronous_word(Synchronous synchronous) {
    switch (synchronous) {
    case Synchronous::Off:
        return "OFF";
    case Synchronous::Normal:
        return "NORMAL";
    case Synchronous::Full:
        break;
    }
    return "FULL";
}

bool means_damage(int code) {
    return (code & 0xFF) == SQLITE_CORRUPT || (code & 0xFF) == SQLITE_NOTADB;
}

StoreError damaged(std::string message) {
    return {StoreError::Kind::Damaged, std::move(message)};
}

} // namespace

void Database::CloseDatabase::operator()(sqlite3* database) const {
    sqlite3_close_v2(database);
}
void Database::FinalizeStatement::operator()(sqlite3_stmt* statement) const {
    sqlite3_finalize(statement);
}

struct Database::Statements {
    Statement put_volume, erase_volume, erase_labels, put_label;
    Statement put_job, erase_job, erase_arguments, erase_job_volumes, put_argument, put_job_volume;
    Statement load_volumes, load_labels, load_jobs, load_arguments, load_job_volumes;
    Statement begin, commit, roll_back;
};

// One use of a prepared statement: binds in order, steps, and leaves it ready for the next use.
class Database::Query {
  public:
    explicit Query(const Statement& statement) : statement_(statement.get()) {}
    Query(const Query&) = delete;
    Query& operator=(const Query&) = delete;
    ~Query() {
        sqlite3_reset(statement_);
        sqlite3_clear_bindings(statement_);
    }

    Query& add(std::int64_t value) {
        sqlite3_bind_int64(statement_, ++bound_, value);
        return *this;
    }
    // The bytes must stay until the query is done
    Query& add_text(std::string_view text) {
        sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
        return *this;
    }
    Query& add_bytes(std::string_view bytes) {
        sqlite3_bind_blob64(statement_, ++bound_, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(), SQLITE_STATIC);
        return *this;
    }
    template <class Tag> Query& add(const Id<Tag>& id) {
        return add_bytes({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()});
    }

    int step() {
        return sqlite3_step(statement_);
    }
    [[nodiscard]] std::int64_t integer(int column) const {
        return sqlite3_column_int64(statement_, column);
    }
    [[nodiscard]] std::string bytes(int column) const {
        const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
        const int size = sqlite3_column_bytes(statement_, column);
        return data == nullptr ? std::string() : std::string(data, static_cast<std::size_t>(size));
    }
    template <class IdType> [[nodiscard]] IdType id(int column) const {
        IdType out;
        const std::string raw = bytes(column);
        if (raw.size() == out.bytes.size()) {
            std::memcpy(out.bytes.data(), raw.data(), raw.size());
        }
        return out;
    }

  private:
    sqlite3_stmt* statement_;
    int bound_ = 0;
};

Database::Database(std::unique_ptr<sqlite3, CloseDatabase> handle)
    : handle_(std::move(handle)), statements_(std::make_unique<Statements>()) {}
Database::Database(Database&& other) noexcept = default;
Database& Database::operator=(Database&& other) noexcept = default;
Database::~Database() = default;

StoreError Database::error(std::string_view doing) const {
    const int code = sqlite3_extended_errcode(handle_.get());
    return {means_damage(code) ? StoreError::Kind::Damaged : StoreError::Kind::Failed,
            fmt::format("joblet.db: cannot {}: {}", doing, sqlite3_errmsg(handle_.get()))};
}

StoreResult<void> Database::execute(const std::string& sql, std::string_view doing) {
    if (sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
        return std::unexpected(error(doing));
    }
    return {};
}

StoreResult<std::int64_t> Database::pragma(const std::string& name) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(handle_.get(), ("PRAGMA " + name).c_str(), -1, &raw, nullptr) != SQLITE_OK) {
        return std::unexpected(error("read its " + name));
    }
    const Statement statement(raw);
    if (sqlite3_step(raw) != SQLITE_ROW) {
        return std::unexpected(error("read its " + name));
    }
    return sqlite3_column_int64(raw, 0);
}

StoreResult<Database> Database::open(const std::string& directory, Synchronous synchronous) {
    const std::string path = directory + std::string(kFile);
    sqlite3* raw = nullptr;
    const int opened = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, nullptr);
    Database database{std::unique_ptr<sqlite3, CloseDatabase>(raw)};
    if (opened != SQLITE_OK) {
        return std::unexpected(raw == nullptr ? StoreError{StoreError::Kind::Failed, "joblet.db: no memory"} : database.error("open it"));
    }
    sqlite3_extended_result_codes(raw, 1);
    // A damaged or foreign file must not run triggers or call functions of its own
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);

    // EXCLUSIVE: the WAL index is in memory, so that no shared memory file is opened later
    const std::string settings = fmt::format("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = {};"
                                             "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON;",
                                             synchronous_word(synchronous));
    if (auto done = database.execute(settings, "set it up"); !done) {
        return std::unexpected(done.error());
    }
    for (const auto step : {&Database::check, &Database::migrate, &Database::prepare}) {
        if (auto done = (database.*step)(); !done) {
            return std::unexpected(done.error());
        }
    }
    // The library's first random number takes a seed from /dev/urandom
    std::uint32_t ignored = 0;
    sqlite3_randomness(sizeof ignored, &ignored);
    // A first commit makes and opens the WAL; the first checkpoint opens and syncs its directory
    if (auto done =
            database.execute(fmt::format("PRAGMA user_version = {}; PRAGMA wal_checkpoint(TRUNCATE);", kSchemaVersion), "write to it");
        !done) {
        return std::unexpected(done.error());
    }
    return database;
}

StoreResult<void> Database::check() {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(handle_.get(), "PRAGMA quick_check(1)", -1, &raw, nullptr) != SQLITE_OK) {
        return std::unexpected(error("check it"));
    }
    const Statement statement(raw);
    if (sqlite3_step(raw) != SQLITE_ROW) {
        return std::unexpected(error("check it"));
    }
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(raw, 0));
    if (text == nullptr || std::strcmp(text, "ok") != 0) {
        return std::unexpected(damaged(fmt::format("joblet.db: it is damaged: {}", text == nullptr ? "no memory" : text)));
    }
    return {};
}

StoreResult<void> Database::migrate() {
    const auto version = pragma("user_version");
    const auto application = pragma("application_id");
    const auto pages = pragma("schema_version"); // 0 as long as nothing was ever made in it
    if (!version || !application || !pages) {
        return std::unexpected(error("read its version"));
    }
    if (*application != kApplicationId && (*application != 0 || *pages != 0 || *version != 0)) {
        return std::unexpected(damaged("joblet.db: it was made by another program"));
    }
    if (*version > kSchemaVersion) {
        return std::unexpected(
            StoreError{StoreError::Kind::NewerSchema,
                       fmt::format("joblet.db has schema version {}, made by a newer release; this one knows versions up to {}", *version,
                                   kSchemaVersion)});
    }
    for (const auto& migration : kMigrations) {
        if (migration.version <= *version) {
            continue;
        }
        const auto sql = fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version = {}; PRAGMA application_id = {}; COMMIT;", migration.sql,
                                     migration.version, kApplicationId);
        if (auto done = execute(sql, fmt::format("bring it to schema version {}", migration.version)); !done) {
            roll_back();
            return done;
        }
    }
    return {};
}

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
        {&s.put_volume,
         "INSERT INTO volumes (id, owner, name, type, backend, status, size_bytes, inodes, created_ns, last_used_ns) "
         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, name = excluded.name, "
         "type = excluded.type, backend = excluded.backend, status = excluded.status, size_bytes = excluded.size_bytes, "
         "inodes = excluded.inodes, created_ns = excluded.created_ns, last_used_ns = excluded.last_used_ns"},
        {&s.erase_volume, "DELETE FROM volumes WHERE id = ?"},
        {&s.erase_labels, "DELETE FROM labels WHERE volume = ?"},
        {&s.put_label, "INSERT INTO labels (volume, key, value) VALUES (?, ?, ?)"},
        {&s.put_job, "INSERT INTO jobs (id, owner, name, state, started_ns, ended_ns, exit_kind, exit_code, exit_signal, exit_step, "
                     "exit_errno, base, host_name) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
                     "owner = excluded.owner, name = excluded.name, state = excluded.state, started_ns = excluded.started_ns, "
                     "ended_ns = excluded.ended_ns, exit_kind = excluded.exit_kind, exit_code = excluded.exit_code, "
                     "exit_signal = excluded.exit_signal, exit_step = excluded.exit_step, exit_errno = excluded.exit_errno, "
                     "base = excluded.base, host_name = excluded.host_name"},
        {&s.erase_job, "DELETE FROM jobs WHERE id = ?"},
        {&s.erase_arguments, "DELETE FROM job_arguments WHERE job = ?"},
        {&s.erase_job_volumes, "DELETE FROM job_volumes WHERE job = ?"},
        {&s.put_argument, "INSERT INTO job_arguments (job, position, argument) VALUES (?, ?, ?)"},
        {&s.put_job_volume, "INSERT INTO job_volumes (job, position, volume, name, target, read_only) VALUES (?, ?, ?, ?, ?, ?)"},
        {&s.load_volumes, "SELECT id, owner, name, type, backend, status, size_bytes, inodes, created_ns, last_used_ns FROM volumes"},
        {&s.load_labels, "SELECT key, value FROM labels WHERE volume = ? ORDER BY key"},
        {&s.load_jobs, "SELECT id, owner, name, state, started_ns, ended_ns, exit_kind, exit_code, exit_signal, exit_step, exit_errno, "
                       "base, host_name FROM jobs"},
        {&s.load_arguments, "SELECT argument FROM job_arguments WHERE job = ? ORDER BY position"},
        {&s.load_job_volumes, "SELECT volume, name, target, read_only FROM job_volumes WHERE job = ? ORDER BY position"},
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
        }
        job.base = query.bytes(11);
        job.host_name = query.bytes(12);
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
    return {};
}

StoreResult<void> Database::erase(const VolumeId& id) {
    return Query(statements_->erase_volume).add(id).step() == SQLITE_DONE ? StoreResult<void>{} : std::unexpected(error("forget a volume"));
}
StoreResult<void> Database::erase(const JobId& id) {
    return Query(statements_->erase_job).add(id).step() == SQLITE_DONE ? StoreResult<void>{} : std::unexpected(error("forget a job"));
}

StoreResult<Database> open_or_rebuild(const std::string& directory, Synchronous synchronous, std::string& note) {
    note.clear();
    auto database = Database::open(directory, synchronous);
    if (database || database.error().kind != StoreError::Kind::Damaged) {
        return database;
    }
    const std::string path = directory + std::string(kFile);
    const std::string aside = path + ".damaged";
    if (std::rename(path.c_str(), aside.c_str()) != 0) {
        return std::unexpected(StoreError{
            StoreError::Kind::Failed, fmt::format("{}; and it cannot be set aside: {}", database.error().message, std::strerror(errno))});
    }
    // What belongs to the damaged file would be taken for the new one's
    for (const std::string_view suffix : {"-wal", "-shm", "-journal"}) {
        const std::string companion = path + std::string(suffix);
        if (std::remove(companion.c_str()) != 0 && errno != ENOENT) {
            return std::unexpected(
                StoreError{StoreError::Kind::Failed, fmt::format("joblet.db{} cannot be removed: {}", suffix, std::strerror(errno))});
        }
    }
    note = fmt::format("{}; it is set aside as {} and made anew", database.error().message, aside);
    return Database::open(directory, synchronous);
}

} // namespace joblet::api
