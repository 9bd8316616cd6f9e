#include "shared/exit_record.h"

#include <cerrno>
#include <cstring>

namespace joblet {

namespace {
constexpr int kOurFailure = 125; // as docker run, env(1) and timeout(1) have it
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;
constexpr int kSignalBase = 128;
constexpr int kSigkill = 9;
constexpr int kSignalMax = 64;
constexpr std::uint32_t kForwardableMax = 31;
constexpr int kErrnoMax = 4095;
} // namespace

int exit_status_of(const ExitRecord& record) {
    switch (record.kind) {
    case ExitKind::Exited:
        return record.code;
    case ExitKind::Signaled:
        return kSignalBase + record.signal;
    case ExitKind::ExecFailed:
        return record.sys_errno == ENOENT ? kNotFound : kCannotExecute;
    case ExitKind::Killed:
        return kSignalBase + kSigkill;
    case ExitKind::None:
    case ExitKind::SetupFailed:
        break;
    }
    return kOurFailure;
}

bool is_valid(const ExitRecord& record) {
    if (record.magic != kExitMagic || record.zero != 0 || (record.flags & ~kExitTimedOut) != 0 ||
        static_cast<std::uint32_t>(record.step) >= kStepCount || record.code < 0 || record.code > 255 || record.signal < 0 ||
        record.signal > kSignalMax || record.sys_errno < 0 || record.sys_errno > kErrnoMax) {
        return false;
    }
    switch (record.kind) {
    case ExitKind::Exited:
        return record.signal == 0 && record.sys_errno == 0;
    case ExitKind::Signaled:
        return record.signal != 0 && record.code == 0 && record.sys_errno == 0;
    case ExitKind::SetupFailed:
        return record.code == 0 && record.signal == 0;
    case ExitKind::ExecFailed:
        return record.code == 0 && record.signal == 0 && record.sys_errno != 0;
    case ExitKind::None:
    case ExitKind::Killed:
        break;
    }
    return false;
}

std::expected<ControlRequest, int> decode_control(std::span<const std::byte> bytes) {
    ControlRequest request;
    if (bytes.size() != sizeof request) {
        return std::unexpected(EBADMSG);
    }
    std::memcpy(&request, bytes.data(), sizeof request);
    if (request.kind != ControlKind::Signal || request.signal == 0 || request.signal > kForwardableMax) {
        return std::unexpected(EBADMSG);
    }
    return request;
}

} // namespace joblet
