#include "tests/boundary/attacker/canary.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <vector>

#include <fmt/format.h>

#include "tests/system/process.h"

namespace joblet::testing {

namespace fs = std::filesystem;

Canary::Canary(std::string directory) : directory_(std::move(directory)) {
    fs::create_directories(directory_ + "/volumes/data");
    fs::create_directories(directory_ + "/open");
    write_file(directory_ + "/secret", "not for anybody");
    write_file(directory_ + "/volumes/data/file", std::string(100000, 'x'));
    write_file(directory_ + "/open/writable", "everybody may");
    write_file(directory_ + "/program", "#!/bin/sh\n");
    ::chmod((directory_ + "/secret").c_str(), 0600);
    ::chmod((directory_ + "/open").c_str(), 0777);
    ::chmod((directory_ + "/open/writable").c_str(), 0666);
    ::chmod((directory_ + "/program").c_str(), 04755);
    fs::create_symlink("/", directory_ + "/root");
    fs::create_symlink("../secret", directory_ + "/open/link");
    ::mkfifo((directory_ + "/pipe").c_str(), 0600);
    if (::lchown((directory_ + "/volumes/data/file").c_str(), 20002, 20002) != 0) {
        throw std::runtime_error("no canary");
    }
    before_ = fingerprint();
}

std::string Canary::fingerprint() const {
    std::vector<std::string> lines;
    const auto add = [&](const fs::path& path) {
        struct stat s{};
        if (::lstat(path.c_str(), &s) != 0) {
            lines.push_back(path.string() + " cannot be looked at");
            return;
        }
        std::array<char, 256> names{};
        lines.push_back(fmt::format("{} {} {:o} {}:{} {} {} {}.{} {}.{} {} {}", path.string(), s.st_ino, s.st_mode, s.st_uid, s.st_gid,
                                    s.st_nlink, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec, s.st_ctim.tv_sec, s.st_ctim.tv_nsec,
                                    ::llistxattr(path.c_str(), names.data(), names.size()),
                                    S_ISREG(s.st_mode) ? std::hash<std::string>{}(read_file(path)) : 0));
    };
    add(directory_);
    for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
        add(entry.path());
    }
    std::ranges::sort(lines);
    std::string out;
    for (const auto& line : lines) {
        out += line + "\n";
    }
    return out;
}

std::string Canary::difference() const {
    const std::string now = fingerprint();
    if (now == before_) {
        return {};
    }
    std::istringstream was(before_);
    std::istringstream is(now);
    for (std::string a, b; std::getline(was, a) && std::getline(is, b);) {
        if (a != b) {
            return fmt::format("the canary was '{}' and is '{}'", a, b);
        }
    }
    return "the canary tree has other entries than it had";
}

} // namespace joblet::testing
