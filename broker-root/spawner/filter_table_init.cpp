#include "broker-root/spawner/filter_table_init.h"

#include <asm/ioctls.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>

namespace joblet::spawner {

namespace {

constexpr auto kCalls = std::to_array<SyscallRule>({
    {SYS_poll, "poll", "waits for children and requests"},
    {SYS_restart_syscall, "restart_syscall", "poll, after the whole job was stopped and continued"},
    {SYS_read, "read", "start pipe, signalfd, and a detached job's output"},
    {SYS_ioctl, "ioctl", "how much output there still is when the command has ended", {arg_is32(1, FIONREAD)}},
    {SYS_pwrite64, "pwrite64", "records and headers of the log, each at its place"},
    {SYS_ftruncate, "ftruncate", "empties the log's older half, cuts off what a full disk left of a record"},
    {SYS_recvfrom, "recvfrom", "requests of rnx and the broker"},
    {SYS_shutdown, "shutdown", "no more requests, the record is out"},
    {SYS_waitid, "waitid", "reaps", {arg_is32(0, P_ALL)}},
    {SYS_kill, "kill", "passes signals on"},
    {SYS_write, "write", "the exit record"},
    {SYS_sendmsg, "sendmsg", "the exit record"},
    {SYS_close, "close", "the job's stdio, and output that has ended"},
    {SYS_clock_gettime, "clock_gettime", "times of record, log and timeout, where the clock cannot be read without a call"},
    {SYS_exit_group, "exit_group", "ends the job"},
});

} // namespace

std::span<const SyscallRule> init_calls() {
    return kCalls;
}

} // namespace joblet::spawner
