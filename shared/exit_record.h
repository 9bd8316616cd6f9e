// How a job ended, and what passes over a job's control socket (stage at one end, rnx or the broker at the other).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "shared/error.h"

namespace joblet {

enum class ExitKind : std::uint32_t {
    None = 0,        // not ended
    Exited = 1,      // code
    Signaled = 2,    // signal
    SetupFailed = 3, // step, sys_errno: the job's world could not be made
    ExecFailed = 4,  // sys_errno: the command could not be executed (ENOENT: not found)
    Killed = 5,      // the stage itself was killed (cgroup.kill, out of memory): there was no record
};

// 48 bytes, written once, by pid 1 of the job, to the record file and to both sockets. Times: CLOCK_REALTIME, ns.
struct ExitRecord {
    std::uint32_t magic = 0; // kExitMagic; 0 in a record that is none
    ExitKind kind = ExitKind::None;
    std::int32_t code = 0;   // 0 … 255
    std::int32_t signal = 0; // 1 … 64
    Step step = Step::None;
    std::int32_t sys_errno = 0;
    std::int64_t started_ns = 0;
    std::int64_t ended_ns = 0;
    std::uint32_t flags = 0; // kExit…
    std::uint32_t zero = 0;
};
inline constexpr std::uint32_t kExitTimedOut = 1; // ended by the job's timeout
inline constexpr std::uint32_t kExitOutOfMemory =
    2; // the kernel killed for want of memory in the job's group; the broker says so, no stage
inline constexpr std::uint32_t kExitMagic = 0x4A584954; // "JXIT"

// The status a shell would see: the code, 128 + signal, 125 for what is ours, 126 or 127 for exec. Killed: 137.
int exit_status_of(const ExitRecord& record);

// Pure; false for anything a stage does not write. Stages are confined jobs' pid 1: what they send is checked.
bool is_valid(const ExitRecord& record);

// Control socket, SOCK_SEQPACKET, made by the API, who gives one end to rnx and the other to the broker. Towards the stage: first one
// ControlHello, with exactly three descriptors, stdin, stdout and stderr, or with kHelloTerminal and none; sent BEFORE the run is asked for
// (the stage does not wait for it); then any number of ControlRequest, without descriptors. From the stage: with kHelloTerminal first one
// ControlTerminal with one descriptor, the master side of the job's terminal; then one ExitRecord. A detached job's stage reads nothing
// there. So a job's stdio passes through neither the API nor the broker: a descriptor of somebody's FUSE file can make whoever closes it
// wait for ever (FUSE_FLUSH), and only the stage, whom nobody waits for, ever holds one.
struct ControlHello {
    std::uint32_t magic = 0; // kHelloMagic
    std::uint32_t flags = 0; // kHelloTerminal
    std::uint16_t rows = 0;  // of the terminal, to begin with; 0: the kernel's default
    std::uint16_t columns = 0;
    std::uint32_t zero = 0;
};
inline constexpr std::uint32_t kHelloTerminal = 1;
struct ControlTerminal {
    std::uint32_t magic = 0; // kTerminalMagic
    std::uint32_t zero = 0;
};
inline constexpr std::uint32_t kTerminalMagic = 0x4A545459; // "JTTY"
inline constexpr std::uint32_t kHelloMagic = 0x4A48454C;    // "JHEL"
inline constexpr std::size_t kHelloDescriptors = 3;

enum class ControlKind : std::uint32_t { Signal = 1 };
struct ControlRequest {
    ControlKind kind{};
    std::uint32_t signal = 0; // 1 … 31, but SIGKILL and SIGSTOP work as for any process
};
std::expected<ControlRequest, int> decode_control(std::span<const std::byte> bytes);

// How long a foreground job has after SIGHUP when its rnx is gone, before SIGKILL.
inline constexpr int kHangupGraceSeconds = 10;

} // namespace joblet
