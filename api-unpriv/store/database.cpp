#include "api-unpriv/store/database.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>
#include <sqlite3.h>

#include "api-unpriv/store/migrations.h"
#include "api-unpriv/store/statements.h"

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
