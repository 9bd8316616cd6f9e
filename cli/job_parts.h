// What the commands for jobs have in common.
#pragma once

#include <string>

#include "cli/client.h"
#include "cli/command_parts.h"
#include "cli/output_job.h"

namespace joblet::cli {

JobView view_of(rpc::Job::Reader job);
WorldView view_of(rpc::World::Reader world);

void fill(rpc::JobSelector::Builder builder, const std::string& job, const Scope& scope = {});

} // namespace joblet::cli
