// What a descriptor is, told without asking a file system's server (which could be the user's own, and never answer).
#pragma once

namespace joblet {

// Checked by the stage, and by rnx for a better message. Stdio of a job may be a pipe, a socket, a regular file opened without O_PATH, a
// terminal or the null device. Refused: directories, block devices, O_PATH, epoll, pidfds, eventfds and the like. Uses statx with
// AT_STATX_DONT_SYNC and F_GETFL only. Regular files of proc, sysfs, nsfs and their kin are refused later, by the stage (is_pseudo_file).
bool is_acceptable_stdio(int fd);

// Regular file on a pseudo file system (proc, sysfs, nsfs, pidfs, cgroup, debugfs, …). May block on a network or FUSE file
// system: only the stage, which nobody waits for, may call it.
bool is_pseudo_file(int fd);

} // namespace joblet
