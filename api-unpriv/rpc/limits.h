// Limits between the schema's shapes and ours.
#pragma once

#include <schema/joblet.capnp.h>

#include "api-unpriv/jobs/request.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

protocol::IoLimits io_from(rpc::IoLimits::Reader io);
WantedLimits limits_from(rpc::ResourceLimits::Reader limits);

void fill(rpc::IoLimits::Builder out, const protocol::IoLimits& io);
void fill(rpc::EffectiveLimits::Builder out, const protocol::JobLimits& limits);
void fill(rpc::VolumeUsage::Builder out, const VolumeId& id, const protocol::Usage& usage);

} // namespace joblet::api
