#include "broker-root/kernel/network.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "shared/fd.h"

namespace joblet::kernel {

Result<void> bring_loopback_up() {
    const Fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!any.valid()) {
        return last_errno();
    }
    ifreq request{};
    std::memcpy(&request.ifr_name[0], "lo", sizeof "lo");
    if (::ioctl(any.get(), SIOCGIFFLAGS, &request) < 0) {
        return last_errno();
    }
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (::ioctl(any.get(), SIOCSIFFLAGS, &request) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
