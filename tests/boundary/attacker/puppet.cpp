// Stands where joblet-api would: jobletd starts it, with its end of the broker's socket, and it hands that end to the test, over the
// socket `end` beside this program. Then it only lives, until it is killed or the test hangs up: so the test sees when it is ended,
// and can end it.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <string>

#include "broker-root/layout.h"
#include "shared/datagram.h"

int main() {
    std::array<char, PATH_MAX> own{};
    const ssize_t size = ::readlink("/proc/self/exe", own.data(), own.size());
    if (size <= 0) {
        return EXIT_FAILURE;
    }
    const std::string program(own.data(), static_cast<std::size_t>(size));
    const std::string path = program.substr(0, program.rfind('/')) + "/end";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(&address.sun_path[0], sizeof address.sun_path - 1);
    const joblet::Fd test(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (::connect(test.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return EXIT_FAILURE; // the test is over
    }
    joblet::Fd broker(joblet::kApiBrokerFd);
    const pid_t pid = ::getpid();
    if (!joblet::send_message(test.get(), pid, std::array{broker.get()}, joblet::Wait::Yes)) {
        return EXIT_FAILURE;
    }
    broker.reset(); // the test alone has it now
    std::array<std::byte, 1> word{};
    (void)joblet::receive_datagram(test.get(), word, joblet::Wait::Yes);
    return EXIT_SUCCESS;
}
