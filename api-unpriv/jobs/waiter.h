// Someone who waits for the end of a job. Its life is the promise's: whoever loses interest is off the list at once. Part of
// JobManager.
#pragma once

#include <string>
#include <utility>

#include <kj/async.h>

#include "api-unpriv/jobs/manager.h"

namespace joblet::api {

class JobManager::Waiter {
  public:
    Waiter(kj::PromiseFulfiller<Outcome<Job>>& fulfiller, JobManager& manager, JobId id, std::string asked)
        : fulfiller_(fulfiller), manager_(manager), id_(id), asked_(std::move(asked)) {
        manager_.waiters_[id_].push_back(this);
    }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() {
        const auto place = manager_.waiters_.find(id_);
        if (place == manager_.waiters_.end()) {
            return;
        }
        std::erase(place->second, this);
        if (place->second.empty()) {
            manager_.waiters_.erase(place);
        }
    }
    // The answer is a copy: the job may be forgotten before it is read. Only the first one counts.
    void answer(const Job* job) {
        fulfiller_.fulfill(job != nullptr ? Outcome<Job>(*job) : Outcome<Job>(std::unexpected(no_such_job(asked_))));
    }

  private:
    kj::PromiseFulfiller<Outcome<Job>>& fulfiller_;
    JobManager& manager_;
    JobId id_;
    std::string asked_;
};

} // namespace joblet::api
