// Reads what host_checks.h looks at.
#pragma once

#include <string>

#include "cli/host_checks.h"

namespace joblet::cli {

// Before rnx is confined: afterwards it can open nothing, and here nothing is parsed but numbers of the kernel. `socket`: of the
// API, which is connected to once and left. What cannot be read says why.
HostTexts read_host_texts(const std::string& socket);

} // namespace joblet::cli
