// From a request that decoded to its one reply: who asks, is it time, and then the handler of its row.
#pragma once

#include <optional>

#include "broker-root/broker/api_link.h"
#include "broker-root/broker/audit.h"
#include "broker-root/broker/doorman.h"
#include "broker-root/broker/event_loop.h"
#include "broker-root/broker/host_report.h"
#include "broker-root/broker/jobs.h"
#include "broker-root/broker/supervisor.h"
#include "broker-root/broker/volumes.h"
#include "shared/protocol.h"

namespace joblet::broker {

class Requests {
  public:
    Requests(EventLoop& loop, Supervisor& supervisor, ApiLink& api, Doorman& doorman, Volumes& volumes, Jobs& jobs, HostReporter& host,
             Audit& audit)
        : loop_(loop), supervisor_(supervisor), api_(api), doorman_(doorman), volumes_(volumes), jobs_(jobs), host_(host), audit_(audit) {}

    // Reads records and jobs; until then Phase::Serving requests wait. Ends the loop if it cannot be done.
    Detached load();

    Detached serve(protocol::Request request);

  private:
    template <class Request> Detached carry_out(Request request, std::optional<Client> client);
    template <class Request>
    Task<bool> concluded(const Request& request, const Client* client, std::uint64_t begun, const protocol::Reply& reply);

    EventLoop& loop_;
    Supervisor& supervisor_;
    ApiLink& api_;
    Doorman& doorman_;
    Volumes& volumes_;
    Jobs& jobs_;
    HostReporter& host_;
    Audit& audit_;
    Gate serving_{loop_};
};

} // namespace joblet::broker
