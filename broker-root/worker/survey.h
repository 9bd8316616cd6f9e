// Everything that store and kernel have, for a comparison with what the broker has in memory. Nothing is changed, nothing is walked.
#pragma once

#include <functional>

#include "broker-root/worker/failure.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/own_namespace.h"
#include "broker-root/worker/store.h"

namespace joblet::worker {

// Others go on meanwhile: what comes or goes while it is looked at may be told or not. Only what is named by an id is told.
Outcome<void> survey(const OwnNamespace& own, const Store& store, const std::function<void(const Finding&)>& tell);

} // namespace joblet::worker
