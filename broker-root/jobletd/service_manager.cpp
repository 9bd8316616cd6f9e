#include "broker-root/jobletd/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

#include <fmt/format.h>

#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::jobletd {

std::expected<ServiceManager, std::string> ServiceManager::connect(const char* name) {
    if (name == nullptr) {
        return ServiceManager(Fd());
    }
    const std::string_view given(name);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (given.size() >= sizeof address.sun_path || (!given.starts_with('/') && !given.starts_with('@'))) {
        return std::unexpected(fmt::format("NOTIFY_SOCKET is '{}', which is no path of a socket and no abstract name", given));
    }
    given.copy(&address.sun_path[0], given.size());
    socklen_t length = sizeof address;
    if (given.starts_with('@')) {
        address.sun_path[0] = '\0'; // unix(7); such a name has its length and no end
        length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + given.size());
    }
    Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.valid() || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
        return std::unexpected(
            fmt::format("could not connect to {}, where NOTIFY_SOCKET says that the service manager is: {}", given, std::strerror(errno)));
    }
    return ServiceManager(std::move(socket));
}

void ServiceManager::ready() {
    if (socket_.valid() && state_ == State::Starting) {
        state_ = State::Unsent;
        try_again();
    }
}

void ServiceManager::try_again() {
    constexpr std::string_view kReady = "READY=1";
    if (state_ != State::Unsent) {
        return;
    }
    if (!send_datagram(socket_.get(), std::as_bytes(std::span(kReady)), {}, Wait::No)) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
        log::error(fmt::format("could not tell the service manager that jobletd is ready: {}", std::strerror(errno)));
    }
    state_ = State::Told;
}

} // namespace joblet::jobletd
