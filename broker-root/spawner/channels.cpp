#include "broker-root/spawner/channels.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <ctime>

#include "broker-root/spawner/launch.h"
#include "shared/datagram.h"

namespace joblet::spawner {

namespace {

// A Unix socket that is closed with something unread gives its peer ECONNRESET, before the record that waits there.
void leave_nothing_unread(int socket) {
    ::shutdown(socket, SHUT_RD);
    std::array<std::byte, 1> any{};
    while (::recv(socket, any.data(), any.size(), MSG_DONTWAIT) > 0) {
    }
}

} // namespace

void publish_exit(const Channels& channels, const ExitRecord& record) {
    // One write of 48 bytes at the end of an empty file: all of it or, on a full disk, a record that is not valid
    [[maybe_unused]] const ssize_t written = ::write(channels.record, &record, sizeof record);
    send_message(channels.status, StageReport{.type = StageReportType::Ended, .exit = record}, {}, Wait::No);
    send_message(channels.control, record, {}, Wait::No);
    leave_nothing_unread(channels.status);
    leave_nothing_unread(channels.control);
}

ExitRecord setup_failure(Step step, int sys_errno) {
    ExitRecord record;
    record.magic = kExitMagic;
    record.kind = ExitKind::SetupFailed;
    record.step = step;
    record.sys_errno = sys_errno;
    record.started_ns = now_ns();
    record.ended_ns = record.started_ns;
    return record;
}

std::int64_t now_ns() {
    constexpr std::int64_t kSecond = 1'000'000'000;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * kSecond + now.tv_nsec;
}

} // namespace joblet::spawner
