// The network of a job: nothing but its own loopback.
#pragma once

#include "broker-root/kernel/result.h"

namespace joblet::kernel {

// A new network namespace has `lo` down, and 127.0.0.1 unreachable. Needs NET_ADMIN over the namespace.
Result<void> bring_loopback_up();

} // namespace joblet::kernel
