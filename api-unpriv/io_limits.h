// Limits of I/O as they can be asked for, of a volume or of a job.
#pragma once

#include <string_view>

#include "api-unpriv/errors.h"
#include "shared/protocol_types.h"

namespace joblet::api {

// As the broker decodes them: what does not decode there would be fatal. `field`: of the request, that has them ("io").
Outcome<void> check_io(std::string_view field, const protocol::IoLimits& io);

} // namespace joblet::api
