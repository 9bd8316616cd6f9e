// Asks the broker what this host can hold.
#pragma once

#include <kj/async.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/caller.h"
#include "api-unpriv/host/report.h"

namespace joblet::api {

class Doctor {
  public:
    Doctor(BrokerClient& broker, const VolumeIndex& volumes) : broker_(broker), volumes_(volumes) {}

    // An admin's report says as well where store, records and kernel differ. Every backend is tried: it may take a while.
    kj::Promise<Outcome<Report>> examine(const Caller& caller);

  private:
    BrokerClient& broker_;
    const VolumeIndex& volumes_;
};

} // namespace joblet::api
