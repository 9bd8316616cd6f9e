// Asks the broker what this host can hold, and adds what joblet-api knows of itself.
#pragma once

#include <kj/async.h>

#include "api-unpriv/broker_client.h"
#include "api-unpriv/caller.h"
#include "api-unpriv/host/report.h"

namespace joblet::api {

class Doctor {
  public:
    Doctor(BrokerClient& broker, const VolumeIndex& volumes, Landlock landlock) : broker_(broker), volumes_(volumes), landlock_(landlock) {}

    // An admin's report says as well where store, records and kernel differ. Every backend is tried: it may take a while.
    kj::Promise<Outcome<Report>> examine(const Caller& caller);

  private:
    BrokerClient& broker_;
    const VolumeIndex& volumes_;
    Landlock landlock_;
};

} // namespace joblet::api
