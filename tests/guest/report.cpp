#include "tests/guest/report.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <vector>

#include "tests/guest/json.h"

namespace guest {

namespace {

std::string read_file(const char* path) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t size = 0; fd >= 0 && (size = ::read(fd, part.data(), part.size())) > 0;) {
        text.append(part.data(), static_cast<std::size_t>(size));
    }
    ::close(fd);
    return text;
}

std::string read_link(const std::string& path) {
    std::array<char, PATH_MAX> target{};
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    return {target.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

std::vector<std::string> names_in(const char* path) {
    std::vector<std::string> names;
    if (DIR* const directory = ::opendir(path)) {
        while (const dirent* const entry = ::readdir(directory)) {
            const std::string name = &entry->d_name[0];
            if (name != "." && name != "..") {
                names.push_back(name);
            }
        }
        ::closedir(directory);
    }
    std::ranges::sort(names);
    return names;
}

std::string list_of(const std::vector<std::string>& texts) {
    auto list = array();
    for (const auto& text : texts) {
        list.add(quoted(text));
    }
    return list.json();
}

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, at);) {
        parts.push_back(part);
    }
    return parts;
}

std::string namespaces() {
    auto out = object();
    for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}) {
        out.add(name, quoted(read_link(std::string("/proc/self/ns/") + name)));
    }
    return out.json();
}

// Value of "Key:\tvalue" in /proc/self/status
std::string status_field(const std::string& status, const std::string& key) {
    for (const auto& line : split(status, '\n')) {
        if (line.starts_with(key + ":")) {
            const auto begin = line.find_first_not_of(" \t", key.size() + 1);
            return begin == std::string::npos ? "" : line.substr(begin);
        }
    }
    return {};
}

std::string numbers_in(const std::string& text) {
    auto list = array();
    std::istringstream in(text);
    for (std::int64_t value = 0; in >> value;) {
        list.add(number(value));
    }
    return list.json();
}

std::string id_map(const char* path) {
    auto list = array();
    for (const auto& line : split(read_file(path), '\n')) {
        list.add(numbers_in(line));
    }
    return list.json();
}

std::string capabilities(const std::string& status) {
    auto out = object();
    out.add("inheritable", quoted(status_field(status, "CapInh")));
    out.add("permitted", quoted(status_field(status, "CapPrm")));
    out.add("effective", quoted(status_field(status, "CapEff")));
    out.add("bounding", quoted(status_field(status, "CapBnd")));
    out.add("ambient", quoted(status_field(status, "CapAmb")));
    return out.json();
}

std::string signals(const std::string& status) {
    auto out = object();
    out.add("blocked", quoted(status_field(status, "SigBlk")));
    out.add("ignored", quoted(status_field(status, "SigIgn")));
    out.add("caught", quoted(status_field(status, "SigCgt")));
    return out.json();
}

const char* type_of(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFIFO:
        return "pipe";
    case S_IFSOCK:
        return "socket";
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFCHR:
        return "character device";
    case S_IFBLK:
        return "block device";
    default:
        return "other";
    }
}

// By fstat of every number: /proc/self/fd would show the descriptor that reads it.
std::string descriptors() {
    constexpr int kLast = 4096;
    auto list = array();
    for (int fd = 0; fd < kLast; ++fd) {
        struct stat info{};
        if (::fstat(fd, &info) < 0) {
            continue;
        }
        auto entry = object();
        entry.add("fd", number(fd));
        entry.add("type", quoted(type_of(info.st_mode)));
        entry.add("flags", number(::fcntl(fd, F_GETFL)));
        entry.add("close_on_exec", (::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0 ? "true" : "false");
        list.add(entry.json());
    }
    return list.json();
}

std::string rlimits() {
    struct Named {
        const char* name;
        int resource;
    };
    constexpr std::array kLimits = {
        Named{"as", RLIMIT_AS},       Named{"core", RLIMIT_CORE},        Named{"cpu", RLIMIT_CPU},       Named{"data", RLIMIT_DATA},
        Named{"fsize", RLIMIT_FSIZE}, Named{"memlock", RLIMIT_MEMLOCK},  Named{"nofile", RLIMIT_NOFILE}, Named{"nproc", RLIMIT_NPROC},
        Named{"stack", RLIMIT_STACK}, Named{"msgqueue", RLIMIT_MSGQUEUE}};
    auto out = object();
    for (const auto& [name, resource] : kLimits) {
        rlimit limit{};
        ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
        const auto show = [](rlim_t value) { return value == RLIM_INFINITY ? "-1" : std::to_string(value); };
        out.add(name, array().add(show(limit.rlim_cur)).add(show(limit.rlim_max)).json());
    }
    return out.json();
}

// proc(5): "36 35 98:0 /root /target opts optional… - type source super"; spaces in paths are \040.
std::string mounts() {
    auto list = array();
    for (const auto& line : split(read_file("/proc/self/mountinfo"), '\n')) {
        const auto words = split(line, ' ');
        const auto dash = std::ranges::find(words, "-");
        if (words.size() < 6 || words.end() - dash < 4) {
            continue;
        }
        auto entry = object();
        entry.add("target", quoted(words[4]));
        entry.add("fstype", quoted(dash[1]));
        entry.add("flags", list_of(split(words[5], ',')));
        entry.add("super_options", list_of(split(dash[3], ',')));
        list.add(entry.json());
    }
    return list.json();
}

std::string directory(const std::string& path) {
    struct stat info{};
    struct statvfs system{};
    if (::stat(path.c_str(), &info) < 0 || ::statvfs(path.c_str(), &system) < 0) {
        return "null";
    }
    // Tried, not asked: access(2) does not know everything that refuses
    const std::string probe = path + "/.guest-probe";
    const int made = ::open(probe.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (made >= 0) {
        ::close(made);
        ::unlink(probe.c_str());
    }
    std::array<char, 8> mode{};
    std::snprintf(mode.data(), mode.size(), "%04o", info.st_mode & 07777U);
    auto entry = object();
    entry.add("writable", made >= 0 ? "true" : "false");
    entry.add("bytes", std::to_string(system.f_blocks * system.f_frsize));
    entry.add("inodes", std::to_string(system.f_files));
    entry.add("uid", number(info.st_uid));
    entry.add("gid", number(info.st_gid));
    entry.add("mode", quoted(mode.data()));
    return entry.json();
}

std::string directories() {
    std::vector<std::string> paths = {"/",     "/bin",  "/dev", "/dev/pts", "/dev/shm", "/etc",     "/lib", "/lib64",
                                      "/proc", "/sbin", "/sys", "/tmp",     "/usr",     "/volumes", "/work"};
    for (const auto& name : names_in("/volumes")) {
        paths.push_back("/volumes/" + name);
    }
    auto out = object();
    for (const auto& path : paths) {
        out.add(path, directory(path));
    }
    return out.json();
}

std::string environment() {
    auto out = object();
    for (char** variable = ::environ; *variable != nullptr; ++variable) {
        const std::string_view text = *variable;
        const auto equals = text.find('=');
        out.add(text.substr(0, equals), quoted(equals == std::string_view::npos ? "" : text.substr(equals + 1)));
    }
    return out.json();
}

template <class Id, class Ask> std::string three_ids(Ask ask) {
    Id real = 0;
    Id effective = 0;
    Id saved = 0;
    ask(&real, &effective, &saved);
    return array().add(number(real)).add(number(effective)).add(number(saved)).json();
}

} // namespace

std::string report() {
    const std::string open = descriptors(); // before anything here opens one
    const std::string status = read_file("/proc/self/status");
    std::array<char, PATH_MAX> cwd{};
    if (::getcwd(cwd.data(), cwd.size()) == nullptr) {
        cwd[0] = '\0';
    }
    std::array<char, HOST_NAME_MAX + 1> host{};
    ::gethostname(host.data(), host.size());
    const char* const terminal = ::ttyname(STDIN_FILENO);

    auto out = object();
    out.add("namespaces", namespaces());
    out.add("pid", number(::getpid()));
    out.add("ppid", number(::getppid()));
    out.add("pgid", number(::getpgrp()));
    out.add("session", number(::getsid(0)));
    out.add("uid", three_ids<uid_t>(::getresuid));
    out.add("gid", three_ids<gid_t>(::getresgid));
    out.add("groups", numbers_in(status_field(status, "Groups")));
    out.add("uid_map", id_map("/proc/self/uid_map"));
    out.add("gid_map", id_map("/proc/self/gid_map"));
    out.add("capabilities", capabilities(status));
    out.add("no_new_privs", status_field(status, "NoNewPrivs"));
    out.add("seccomp", status_field(status, "Seccomp"));
    out.add("signals", signals(status));
    out.add("umask", quoted(status_field(status, "Umask")));
    out.add("cwd", quoted(cwd.data()));
    out.add("hostname", quoted(host.data()));
    out.add("name", quoted(status_field(status, "Name")));
    out.add("terminal", terminal != nullptr ? quoted(terminal) : "null");
    out.add("cgroup", quoted(read_file("/proc/self/cgroup")));
    out.add("descriptors", open);
    out.add("rlimits", rlimits());
    out.add("mounts", mounts());
    out.add("directories", directories());
    out.add("root", list_of(names_in("/")));
    out.add("environment", environment());
    return out.json();
}

} // namespace guest
