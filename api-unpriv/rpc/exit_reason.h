// How a job ended, for people.
#pragma once

#include <string>

#include "shared/exit_record.h"

namespace joblet::api {

// One phrase: "exited with code 1", "killed by SIGSEGV".
std::string exit_reason(const ExitRecord& record);

} // namespace joblet::api
