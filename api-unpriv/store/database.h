// joblet.db: volumes, labels and the history of jobs, so that a restart has what the broker does not keep. Nothing reads it
// while clients are served; nothing is deleted on disk because it is missing here.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "api-unpriv/config.h"
#include "api-unpriv/jobs/job.h"
#include "api-unpriv/volumes/index.h"

struct sqlite3;
struct sqlite3_stmt;

namespace joblet::api {

struct StoreError {
    // NewerSchema: made by a newer version: the caller must not start. Damaged: not a database, or not ours. Failed: the rest.
    enum class Kind : std::uint8_t { NewerSchema, Damaged, Failed };
    Kind kind = Kind::Failed;
    std::string message; // a sentence
};
template <class T> using StoreResult = std::expected<T, StoreError>;

class Database {
  public:
    // Opens or makes `directory`/joblet.db, brings its schema up to date. Afterwards all its files are open: no path is
    // followed any more, which the system call filter relies on. One thread at a time.
    static StoreResult<Database> open(const std::string& directory, Synchronous synchronous);

    Database(Database&& other) noexcept;
    Database& operator=(Database&& other) noexcept;
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database();

    [[nodiscard]] StoreResult<std::vector<Volume>> load_volumes();
    [[nodiscard]] StoreResult<std::vector<Job>> load_jobs();

    // Between begin and commit; after an error: roll_back.
    [[nodiscard]] StoreResult<void> begin();
    [[nodiscard]] StoreResult<void> commit();
    void roll_back();
    [[nodiscard]] StoreResult<void> put(const Volume& volume);
    [[nodiscard]] StoreResult<void> put(const Job& job);
    [[nodiscard]] StoreResult<void> erase(const VolumeId& id);
    [[nodiscard]] StoreResult<void> erase(const JobId& id);

  private:
    struct CloseDatabase {
        void operator()(sqlite3* database) const;
    };
    struct FinalizeStatement {
        void operator()(sqlite3_stmt* statement) const;
    };
    using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;
    struct Statements;
    class Query;

    explicit Database(std::unique_ptr<sqlite3, CloseDatabase> handle);
    [[nodiscard]] StoreError error(std::string_view doing) const;
    StoreResult<void> execute(const std::string& sql, std::string_view doing);
    StoreResult<std::int64_t> pragma(const std::string& name);
    StoreResult<void> check();
    StoreResult<void> migrate();
    StoreResult<void> prepare();
    // What a job is held to: nine columns of its row, from `first` on, and its devices.
    StoreResult<void> load_limits(const Query& row, int first, Job& job);
    StoreResult<void> put_devices(const Job& job);

    std::unique_ptr<sqlite3, CloseDatabase> handle_;
    std::unique_ptr<Statements> statements_; // after handle_: finalized first
};

// As Database::open, but a damaged file is set aside as joblet.db.damaged (one is kept) and a new one made; `note` then says so.
StoreResult<Database> open_or_rebuild(const std::string& directory, Synchronous synchronous, std::string& note);

} // namespace joblet::api
