// The parts of joblet-api put together: what the broker says goes to the managers, who connects gets a session.
#pragma once

#include <vector>

#include <kj/async-io.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/config.h"
#include "api-unpriv/host/bases.h"
#include "api-unpriv/host/doctor.h"
#include "api-unpriv/jobs/manager.h"
#include "api-unpriv/store/writer.h"
#include "api-unpriv/volumes/manager.h"

namespace joblet::api {

class Daemon final : private BrokerListener, private kj::TaskSet::ErrorHandler {
  public:
    // `broker` and everything passed by reference outlive it.
    Daemon(kj::AsyncIoContext& io, int broker, StoreWriter& store, const ApiConfig& config, Landlock landlock);

    // Loads what the broker has, then serves. Resolves when the broker is gone; rejects if it is not to be understood.
    kj::Promise<void> run(std::vector<Volume> stored_volumes, std::vector<Job> remembered_jobs);

  private:
    struct Visitor {
        protocol::Connection connection;
        Fd socket;
    };

    void on_connection(const protocol::Connection& connection, Fd socket) override;
    void on_volume_changed(const protocol::VolumeChanged& news) override;
    void on_volume_gone(const VolumeId& id) override;
    void on_job_changed(const protocol::JobEntry& job) override;
    void taskFailed(kj::Exception&& exception) override;
    void serve(Visitor visitor);
    kj::Promise<void> load(std::vector<Volume> stored_volumes, std::vector<Job> remembered_jobs);

    kj::AsyncIoContext& io_;
    kj::Timer& timer_;
    const ApiConfig& config_;
    BrokerClient broker_;
    VolumeManager volumes_;
    Bases bases_;
    Doctor doctor_;
    JobManager jobs_;
    bool loaded_ = false;
    std::vector<Visitor> early_; // who came before everything was loaded
    kj::TaskSet sessions_;       // last: sessions use the rest
};

} // namespace joblet::api
