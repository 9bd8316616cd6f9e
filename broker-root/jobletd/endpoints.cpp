#include "broker-root/jobletd/endpoints.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace joblet::jobletd {

namespace {

constexpr int kBacklog = 512;
constexpr mode_t kOnlyRoot = 0177;

} // namespace

std::expected<Fd, std::string> take_lock(const Layout& layout) {
    const std::string path = layout.runtime() + "/jobletd.lock";
    Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock.valid()) {
        return std::unexpected(fmt::format("could not open the lock {}: {}", path, std::strerror(errno)));
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        return std::unexpected(
            errno == EWOULDBLOCK ? fmt::format("jobletd is already running here (it holds {}); stop it first, or give another --root", path)
                                 : fmt::format("could not lock {}: {}", path, std::strerror(errno)));
    }
    return lock;
}

std::expected<Fd, std::string> make_listener(const Layout& layout) {
    const std::string path = layout.api_socket();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return std::unexpected(fmt::format("the path of the socket, {}, is longer than the {} characters that a socket's path can have; "
                                           "choose a shorter root",
                                           path, sizeof address.sun_path - 1));
    }
    path.copy(&address.sun_path[0], path.size());

    Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener.valid() || (::unlink(path.c_str()) != 0 && errno != ENOENT)) {
        return std::unexpected(fmt::format("could not make the socket {}: {}", path, std::strerror(errno)));
    }
    const mode_t before = ::umask(kOnlyRoot);
    const int bound = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::umask(before);
    if (bound != 0 || ::listen(listener.get(), kBacklog) != 0) {
        return std::unexpected(fmt::format("could not make the socket {}: {}", path, std::strerror(errno)));
    }
    return listener;
}

void remove_listener(const Layout& layout) {
    ::unlink(layout.api_socket().c_str());
}

} // namespace joblet::jobletd
