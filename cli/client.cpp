#include "cli/client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace joblet::cli {
namespace {

constexpr std::string_view kStartHint =
    "start it with 'systemctl start joblet', or name the socket of another installation with --socket or "
    "JOBLET_SOCKET (DIR/run/joblet/api.sock for 'jobletd --root DIR')";

constexpr std::string_view kVersionHint = "compare the versions that 'rnx version' shows";

Error why_not_connected(const std::string& path, int problem) {
    switch (problem) {
    case ENOENT:
    case ENOTDIR:
        return {ErrorCode::Unavailable, "no daemon was started for the socket " + path, std::string(kStartHint)};
    case ECONNREFUSED:
        return {ErrorCode::Unavailable, "the daemon for the socket " + path + " is not running", std::string(kStartHint)};
    case EACCES:
    case EPERM:
        return {ErrorCode::PermissionDenied, "you may not use the socket " + path,
                "root decides in broker.toml, section [socket], who may connect"};
    case EAGAIN:
        return {ErrorCode::Unavailable, "the daemon for the socket " + path + " does not accept connections at the moment", "try again"};
    default:
        return {ErrorCode::Unavailable, "could not connect to the socket " + path + ": " + std::strerror(problem), std::string(kStartHint)};
    }
}

kj::Own<kj::AsyncCapabilityStream> wrap(kj::LowLevelAsyncIoProvider& provider, Fd connection) {
    return provider.wrapUnixSocketFd(connection.release(),
                                     kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP | kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC);
}

// The two files of a log
constexpr unsigned kDescriptorsAccepted = 2;

} // namespace

Fd connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        throw CommandFailure({ErrorCode::InvalidArgument, "the path of the socket is too long: " + path,
                              "it can have at most " + std::to_string(sizeof address.sun_path - 1) + " bytes"});
    }
    std::ranges::copy(path, address.sun_path);
    Fd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // connect(2) on a Unix socket waits as long as the listener's queue is full; this bounds it.
    const timeval patience{.tv_sec = 5, .tv_usec = 0};
    if (!connection.valid() || ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
        ::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        throw CommandFailure(why_not_connected(path, errno));
    }
    return connection;
}

Client::Client(const std::string& socket)
    : io_(kj::setupAsyncIo()), stream_(wrap(*io_.lowLevelProvider, connect_to(socket))), rpc_(*stream_, kDescriptorsAccepted),
      joblet_(rpc_.bootstrap().castAs<rpc::Joblet>()) {}

rpc::VolumeService::Client Client::volumes() {
    return joblet_.volumesRequest().send().getService();
}

rpc::JobService::Client Client::jobs() {
    return joblet_.jobsRequest().send().getService();
}

rpc::HostService::Client Client::host() {
    return joblet_.hostRequest().send().getService();
}

int Client::descriptor_of(rpc::Descriptor::Client capability) {
    const auto fd = wait(capability.getFd());
    KJ_IF_MAYBE (number, fd) {
        return *number;
    }
    throw CommandFailure({ErrorCode::Internal, "the daemon did not send a descriptor", "compare the versions that 'rnx version' shows"});
}

kj::Promise<void> Client::tick(Progress& progress, std::chrono::seconds elapsed) {
    return timer().afterDelay(1 * kj::SECONDS).then([this, &progress, elapsed] {
        const auto now = elapsed + std::chrono::seconds(1);
        progress.show(now);
        return tick(progress, now);
    });
}

void Client::rethrow(const kj::Exception& problem) {
    switch (problem.getType()) {
    case kj::Exception::Type::DISCONNECTED:
        throw ConnectionLost({ErrorCode::Unavailable, "the daemon went away before it answered", std::string(kLostHint)});
    case kj::Exception::Type::OVERLOADED:
        throw CommandFailure({ErrorCode::Unavailable, "the daemon did not answer in time", "try again"});
    case kj::Exception::Type::UNIMPLEMENTED:
        throw CommandFailure({ErrorCode::Unimplemented, "the daemon does not know this call", std::string(kVersionHint)});
    case kj::Exception::Type::FAILED:
        break;
    }
    const auto description = problem.getDescription();
    throw CommandFailure({ErrorCode::Internal,
                          "the daemon's answer could not be used: " + std::string(description.cStr(), description.size()),
                          std::string(kVersionHint)});
}

Error error_of(rpc::Error::Reader error) {
    const auto code = static_cast<std::uint32_t>(error.getCode());
    return {code < kErrorCodeCount ? static_cast<ErrorCode>(code) : ErrorCode::Internal, text_of(error.getMessage()),
            text_of(error.getHint())};
}

} // namespace joblet::cli
