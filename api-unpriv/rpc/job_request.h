// What clients ask of jobs, in our shapes.
#pragma once

#include <string>

#include <kj/async.h>
#include <schema/joblet.capnp.h>

#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/manager.h"
#include "api-unpriv/rpc/session.h"

namespace joblet::api {

// Everything but the control socket. What this version cannot do is refused, never ignored.
Outcome<NewJob> new_job_from(rpc::RunRequest::Reader request);
// The channel of the control socket that this connection was given, or a new one if the job has none; nothing where none is needed.
kj::Promise<Outcome<std::shared_ptr<Channel>>> channel_from(SessionContext& session, rpc::RunRequest::Reader request);

struct SelectedJob {
    std::string job;
    Scope scope;
};
Outcome<SelectedJob> selected_job(rpc::JobSelector::Reader selector);
Outcome<JobQuery> query_from(rpc::JobService::ListJobsParams::Reader params);

} // namespace joblet::api
