// Writes joblet.db behind everybody's back: a thread of its own, so that no request waits for a disk. What changes several
// times before it is written is written once; many changes share one commit.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>

#include "api-unpriv/store/database.h"
#include "shared/filter.h"

namespace joblet::api {

class StoreWriter {
  public:
    // No database: everything is accepted and dropped. `filter` (may be empty) confines the thread before it does anything;
    // no_new_privs must be set by then. After a failure the changes are kept and tried again; after damage no more.
    StoreWriter(std::optional<Database> database, FilterProgram filter);
    StoreWriter(const StoreWriter&) = delete;
    StoreWriter& operator=(const StoreWriter&) = delete;
    ~StoreWriter(); // writes what is there, once

    void put(const Volume& volume);
    void put(const Job& job);
    void erase(const VolumeId& id);
    void erase(const JobId& id);

    // Waits until everything given so far is written. False if it could not be. For tests and the end of the program.
    bool flush();

  private:
    struct Changes {
        std::unordered_map<VolumeId, std::optional<Volume>> volumes; // nullopt: erase
        std::unordered_map<JobId, std::optional<Job>> jobs;

        [[nodiscard]] bool empty() const {
            return volumes.empty() && jobs.empty();
        }
    };
    enum class State : std::uint8_t { Working, Failing, GivenUp };

    template <class Change> void accept(const Change& change);
    void work(const FilterProgram& filter);
    StoreResult<void> write(const Changes& changes);
    void keep_for_later(Changes changes);

    std::optional<Database> database_;
    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    Changes waiting_;
    State state_ = State::Working;
    bool writing_ = false;
    bool ending_ = false;
    std::thread thread_;
};

} // namespace joblet::api
