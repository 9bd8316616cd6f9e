// What clients ask of jobs, in our shapes.
#pragma once

#include <string>

#include <kj/async.h>
#include <schema/joblet.capnp.h>

#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/manager.h"

namespace joblet::api {

// Everything but the control socket. What this version cannot do is refused, never ignored.
Outcome<NewJob> new_job_from(rpc::RunRequest::Reader request);
// A copy of the descriptor attached to `control`, so that the client's capability may go; not valid where none is needed.
kj::Promise<Outcome<Fd>> control_from(rpc::RunRequest::Reader request);

struct SelectedJob {
    std::string job;
    Scope scope;
};
Outcome<SelectedJob> selected_job(rpc::JobSelector::Reader selector);
Outcome<JobQuery> query_from(rpc::JobService::ListJobsParams::Reader params);

} // namespace joblet::api
