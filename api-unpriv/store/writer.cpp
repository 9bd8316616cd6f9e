#include "api-unpriv/store/writer.h"

#include <chrono>
#include <cstdlib>

#include "shared/log.h"

namespace joblet::api {

namespace {
constexpr auto kRetryAfter = std::chrono::seconds(5);
constexpr std::size_t kWaitingMax = 500'000; // volumes and jobs, while the disk takes nothing
} // namespace

StoreWriter::StoreWriter(std::optional<Database> database, FilterProgram filter) : database_(std::move(database)) {
    if (database_) {
        thread_ = std::thread([this, program = std::move(filter)]() { work(program); });
    }
}

StoreWriter::~StoreWriter() {
    if (!thread_.joinable()) {
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void StoreWriter::put(const Volume& volume) {
    accept([&](Changes& changes) { changes.volumes[volume.entry.id] = volume; });
}
void StoreWriter::put(const Job& job) {
    accept([&](Changes& changes) { changes.jobs[job.id] = job; });
}
void StoreWriter::erase(const VolumeId& id) {
    accept([&](Changes& changes) { changes.volumes[id] = std::nullopt; });
}
void StoreWriter::erase(const JobId& id) {
    accept([&](Changes& changes) { changes.jobs[id] = std::nullopt; });
}

template <class Change> void StoreWriter::accept(const Change& change) {
    if (!database_) {
        return;
    }
    const std::lock_guard lock(mutex_);
    if (state_ == State::GivenUp) {
        return;
    }
    change(waiting_);
    if (state_ == State::Failing && waiting_.volumes.size() + waiting_.jobs.size() > kWaitingMax) {
        log::error("joblet.db could not be written for too long; it is given up until the next start");
        state_ = State::GivenUp;
        waiting_ = {};
    }
    changed_.notify_all();
}

bool StoreWriter::flush() {
    if (!database_) {
        return false;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this]() { return state_ != State::Working || (waiting_.empty() && !writing_); });
    return state_ == State::Working;
}

void StoreWriter::work(const FilterProgram& filter) {
    if (!filter.instructions.empty() && install_filter(filter) != 0) {
        log::error("the system call filter of the database's thread cannot be installed");
        std::abort();
    }
    std::unique_lock lock(mutex_);
    while (state_ != State::GivenUp) {
        if (state_ == State::Failing) {
            changed_.wait_for(lock, kRetryAfter, [this]() { return ending_ || state_ == State::GivenUp; });
        } else {
            changed_.wait(lock, [this]() { return ending_ || !waiting_.empty(); });
        }
        if (waiting_.empty()) {
            if (ending_) {
                return;
            }
            continue;
        }
        const bool last = ending_;
        Changes changes = std::exchange(waiting_, {});
        writing_ = true;
        lock.unlock();
        const auto written = write(changes);
        lock.lock();
        writing_ = false;
        if (written) {
            state_ = state_ == State::GivenUp ? state_ : State::Working;
        } else {
            if (state_ == State::Working) {
                log::error(written.error().message + "; the history of jobs is not being written");
            }
            if (state_ != State::GivenUp) {
                state_ = written.error().kind == StoreError::Kind::Damaged ? State::GivenUp : State::Failing;
                keep_for_later(std::move(changes));
            }
        }
        changed_.notify_all();
        if (last) {
            return;
        }
    }
    waiting_ = {}; // the next start finds the damage and rebuilds
}

StoreResult<void> StoreWriter::write(const Changes& changes) {
    const auto all = [&]() -> StoreResult<void> {
        if (auto begun = database_->begin(); !begun) {
            return begun;
        }
        for (const auto& [id, volume] : changes.volumes) {
            if (auto done = volume ? database_->put(*volume) : database_->erase(id); !done) {
                return done;
            }
        }
        for (const auto& [id, job] : changes.jobs) {
            if (auto done = job ? database_->put(*job) : database_->erase(id); !done) {
                return done;
            }
        }
        return database_->commit();
    };
    auto done = all();
    if (!done) {
        database_->roll_back();
    }
    return done;
}

// What came in meanwhile is newer. Called with the lock held.
void StoreWriter::keep_for_later(Changes changes) {
    waiting_.volumes.merge(changes.volumes);
    waiting_.jobs.merge(changes.jobs);
}

} // namespace joblet::api
