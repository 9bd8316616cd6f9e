// The minimal base: a root file system of one static program, busybox, made from the host's when an installation starts for
// the first time.
#pragma once

#include <expected>
#include <string>

#include "broker-root/layout.h"

namespace joblet::jobletd {

// Does nothing if bases/minimal is there. Otherwise builds it beside its place and renames it, so that a crash leaves either
// all of it or none. Forks; call before anything else was started. An error is a sentence with a hint.
std::expected<void, std::string> install_minimal_base(const Layout& layout);

} // namespace joblet::jobletd
