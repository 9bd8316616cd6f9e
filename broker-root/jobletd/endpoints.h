// What makes an installation one: its lock, and the socket that clients connect to.
#pragma once

#include <expected>
#include <string>

#include "broker-root/layout.h"
#include "shared/fd.h"

namespace joblet::jobletd {

// Held as long as the descriptor is open; children do not inherit it. An error is a sentence: another jobletd has it.
std::expected<Fd, std::string> take_lock(const Layout& layout);

// Listening and non-blocking. Nobody but root can connect until the broker, who knows the configuration, sets owner and mode.
// A socket that an earlier jobletd left is replaced: hold the lock.
std::expected<Fd, std::string> make_listener(const Layout& layout);
void remove_listener(const Layout& layout);

} // namespace joblet::jobletd
