// Keeps the group of jobs where a service manager decides about groups. systemd removes the group of a unit in which no process is
// left, and a unit to whose group it may not add processes any more cannot be started again: so the jobs' group is that of a unit of its
// own, and has a process of its own in it that does nothing.
#pragma once

#include <expected>
#include <string>

#include "broker-root/jobletd/service_manager.h"

namespace joblet::jobletd {

// In the group that this process was started in, which must be handed over to it (Delegate=): goes into `keeper`, makes `jobs`, and
// hands on the controllers. Then tells the manager and gives up all power. An error is a sentence with a hint.
std::expected<void, std::string> make_group_of_jobs(ServiceManager& manager);

// Until a signal that ends it. `signals`: a signalfd, non-blocking.
void keep_group_of_jobs(ServiceManager& manager, int signals);

} // namespace joblet::jobletd
