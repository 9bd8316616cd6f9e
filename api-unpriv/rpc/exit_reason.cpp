#include "api-unpriv/rpc/exit_reason.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

namespace joblet::api {

namespace {

std::string signal_name(int signal) {
    const char* name = ::sigabbrev_np(signal);
    return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}
std::string error_text(int error) {
    const char* description = ::strerrordesc_np(error);
    return description != nullptr ? std::string(description) : fmt::format("error {}", error);
}

enum class Seen : std::uint8_t { Any, No }; // whether somebody saw the end

struct ReasonRow {
    ExitKind kind;
    std::uint32_t flag;     // kExit…; 0: whatever the flags
    int signal;             // 0: any
    std::string_view words; // with {code}, {signal}, {step} and {error}
    Seen seen = Seen::Any;
};
// The first that holds.
constexpr std::array kReasons = {
    ReasonRow{ExitKind::Killed, 0, 0, "its end was not seen, the host or the service went down", Seen::No},
    ReasonRow{ExitKind::Exited, kExitTimedOut, 0, "ended by its timeout (it exited with code {code})"},
    ReasonRow{ExitKind::Signaled, kExitTimedOut, 0, "ended by its timeout ({signal})"},
    ReasonRow{ExitKind::Exited, kExitOutOfMemory, 0, "exited with code {code}, after a process of it was killed for want of memory"},
    ReasonRow{ExitKind::Signaled, kExitOutOfMemory, SIGKILL, "killed for want of memory"},
    ReasonRow{ExitKind::Signaled, kExitOutOfMemory, 0, "killed by {signal}, after a process of it was killed for want of memory"},
    ReasonRow{ExitKind::Killed, kExitOutOfMemory, 0, "killed for want of memory"},
    ReasonRow{ExitKind::Exited, 0, 0, "exited with code {code}"},
    ReasonRow{ExitKind::Signaled, 0, 0, "killed by {signal}"},
    ReasonRow{ExitKind::SetupFailed, 0, 0, "could not {step}: {error}"},
    ReasonRow{ExitKind::ExecFailed, 0, 0, "could not execute the command: {error}"},
    ReasonRow{ExitKind::Killed, 0, 0, "killed with all its processes"},
    ReasonRow{ExitKind::None, 0, 0, "has not ended"},
};

} // namespace

std::string exit_reason(const ExitRecord& record) {
    const auto row = std::ranges::find_if(kReasons, [&record](const ReasonRow& one) {
        return one.kind == record.kind && (record.flags & one.flag) == one.flag && (one.signal == 0 || one.signal == record.signal) &&
               (one.seen == Seen::Any || record.ended_ns == 0);
    });
    if (row == kReasons.end()) {
        return "ended";
    }
    return fmt::format(fmt::runtime(row->words), fmt::arg("code", record.code), fmt::arg("signal", signal_name(record.signal)),
                       fmt::arg("step", step_phrase(record.step)), fmt::arg("error", error_text(record.sys_errno)));
}

} // namespace joblet::api
