#include "tests/guest/leave.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/guest/json.h"

namespace guest {

namespace {

constexpr unsigned long kBeyond32Bits = 1UL << 32U;

std::string answer(long result) {
    return quoted(result >= 0 ? "ok" : ::strerrorname_np(errno));
}

bool make(const std::string& path) {
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ::close(fd);
    }
    return fd >= 0;
}

// What is made in a directory without this flag has no project.
long clear_inheritance(int fd) {
    int flags = 0;
    if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
        return -1;
    }
    flags &= ~FS_PROJINHERIT_FL;
    return ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

long set_project(int fd, std::uint32_t project, unsigned long command) {
    fsxattr attributes{};
    if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0) {
        return -1;
    }
    attributes.fsx_projid = project;
    return ::ioctl(fd, command, &attributes);
}

} // namespace

std::string leave(const std::string& from, const std::string& to) {
    const std::string file = from + "/leaving";
    const std::string there = to + "/left";
    const std::string other = to + "/other";
    auto out = object();
    if (!make(file) || !make(other)) {
        return out.add("made", answer(-1)).json();
    }
    out.add("link", answer(::link(file.c_str(), there.c_str())));
    out.add("exchange", answer(::renameat2(AT_FDCWD, file.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE)));
    out.add("rename", answer(::rename(file.c_str(), there.c_str())));
    const int directory = ::open(from.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int own = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
    out.add("no_project", answer(set_project(own, 0, FS_IOC_FSSETXATTR)));
    out.add("other_project", answer(set_project(directory, 77, FS_IOC_FSSETXATTR)));
    out.add("beyond_32_bits", answer(set_project(directory, 77, FS_IOC_FSSETXATTR | kBeyond32Bits)));
    out.add("inheritance", answer(clear_inheritance(directory)));
    ::close(directory);
    ::close(own);
    return out.json();
}

} // namespace guest
