// The bootstrap capability of a connection.
#pragma once

#include <schema/joblet.capnp.h>

#include "api-unpriv/rpc/session.h"

namespace joblet::api {

// An rpc::Joblet, as makeRpcServer wants it.
capnp::Capability::Client make_joblet_service(kj::Own<SessionContext> session);
rpc::VolumeService::Client make_volume_service(kj::Own<SessionContext> session);
rpc::JobService::Client make_job_service(kj::Own<SessionContext> session);
rpc::HostService::Client make_host_service(kj::Own<SessionContext> session);

} // namespace joblet::api
