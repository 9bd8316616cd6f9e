// What this host can hold, and where store, records and kernel differ from what the broker has in memory.
#pragma once

#include <optional>
#include <vector>

#include "broker-root/broker/audit.h"
#include "broker-root/broker/config.h"
#include "broker-root/broker/doorman.h"
#include "broker-root/broker/host.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/broker/registry.h"
#include "broker-root/broker/slots.h"
#include "broker-root/broker/task.h"
#include "broker-root/broker/volumes.h"
#include "broker-root/broker/workers.h"

namespace joblet::broker {

class HostReporter {
  public:
    struct Parts {
        EventLoop& loop;
        const BrokerConfig& config;
        Workers& workers;
        const Slots& slots;
        Registry& registry;
        Jobs& jobs;
        Volumes& volumes;
        const Host& host;
        const Audit& audit;
    };
    explicit HostReporter(Parts parts) : p_(parts) {}

    // With Authority::Admin, differences as well. PermissionDenied if the client is no admin. One survey at a time.
    Task<protocol::HostFacts> report(protocol::HostReport request, Client client);

  private:
    // What the broker believes; what is the same before and after a survey was so all the time.
    struct Beliefs;
    [[nodiscard]] Beliefs beliefs() const;
    Task<std::expected<std::vector<protocol::Difference>, Failure>> survey();
    // Of each volume of a running job, whether it is mounted in it.
    Task<std::vector<protocol::Difference>> unmounted();
    [[nodiscard]] bool has(JobId job, VolumeId volume) const;

    Parts p_;
    std::optional<Gate> surveying_;
};

} // namespace joblet::broker
