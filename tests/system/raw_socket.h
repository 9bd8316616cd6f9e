// What no library sends for us: any number of descriptors, urgent data, and a socket that takes an hour to close.
#pragma once

#include <cstddef>
#include <span>

#include "shared/fd.h"

namespace joblet::testing {

// One sendmsg(2) with these flags besides MSG_NOSIGNAL; false: it was not taken whole.
bool send_raw(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors, int flags = 0);

// A TCP connection whose sending end, when the last reference to it is closed, makes whoever closes it wait for an hour: what it has
// to send is never read.
struct Lingering {
    Fd sender;
    Fd receiver;
};
Lingering make_lingering();

// Whoever has it besides, it is not waited for. Needs CloseTimer::prepare().
void let_go(Fd one);

} // namespace joblet::testing
