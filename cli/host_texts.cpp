#include "cli/host_texts.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <sstream>

#include "cli/client.h"
#include "cli/failure.h"
#include "shared/fd.h"

namespace joblet::cli {
namespace {

FileText read_text(const std::string& path) {
    constexpr std::size_t kPart = 65536;
    constexpr std::size_t kMost = std::size_t{64} << 20U; // of /etc/passwd, generously
    FileText file;
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd.valid()) {
        return {.text = "", .problem = errno};
    }
    for (;;) {
        const auto size = file.text.size();
        file.text.resize(size + kPart);
        const auto count = ::read(fd.get(), file.text.data() + size, kPart);
        if (count < 0 || size > kMost) {
            return {.text = "", .problem = count < 0 ? errno : EFBIG};
        }
        file.text.resize(size + static_cast<std::size_t>(count));
        if (count == 0) {
            return file;
        }
    }
}

FileText names_in(const char* path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path), ::closedir);
    if (!directory) {
        return {.text = "", .problem = errno};
    }
    FileText names;
    while (const auto* entry = ::readdir(directory.get())) {
        names.text.append(&entry->d_name[0]).append("\n");
    }
    return names;
}

// 0: not known. It is the process that listens, whoever answers.
pid_t listener_of(const std::string& socket) {
    try {
        const auto connection = connect_to(socket);
        ucred peer{};
        socklen_t size = sizeof peer;
        return ::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
    } catch (const CommandFailure&) {
        return 0; // the call that follows says why
    }
}

DaemonTexts read_daemons(const std::string& socket) {
    DaemonTexts daemons;
    daemons.supervisor = listener_of(socket);
    if (daemons.supervisor == 0) {
        return daemons;
    }
    const auto pid = std::to_string(daemons.supervisor);
    daemons.children = read_text("/proc/" + pid + "/task/" + pid + "/children");
    std::istringstream children(daemons.children.text);
    for (pid_t child = 0; children >> child;) {
        daemons.statuses.push_back(read_text("/proc/" + std::to_string(child) + "/status"));
    }
    return daemons;
}

} // namespace

HostTexts read_host_texts(const std::string& socket) {
    HostTexts texts;
    utsname system{};
    if (::uname(&system) == 0) {
        texts.kernel_release = &system.release[0];
    }
    texts.namespaces = names_in("/proc/self/ns");
    texts.passwd = read_text("/etc/passwd");
    texts.subuid = read_text("/etc/subuid");
    texts.subgid = read_text("/etc/subgid");
    texts.enforce = read_text("/sys/fs/selinux/enforce");
    texts.daemons = read_daemons(socket);
    return texts;
}

} // namespace joblet::cli
