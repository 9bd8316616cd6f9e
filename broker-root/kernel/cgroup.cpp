#include "broker-root/kernel/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string_view>

#include "broker-root/kernel/mount.h"

namespace joblet::kernel {

namespace {

Result<void> write_word(int group, const char* name, std::string_view word) {
    const auto file = open_beneath(group, name, O_WRONLY);
    if (!file) {
        return std::unexpected(file.error());
    }
    if (::write(file->get(), word.data(), word.size()) != static_cast<ssize_t>(word.size())) {
        return last_errno();
    }
    return {};
}

} // namespace

Result<Fd> make_cgroup(int parent, const char* name) {
    if (::mkdirat(parent, name, 0755) != 0) {
        return last_errno();
    }
    return open_cgroup(parent, name);
}

Result<Fd> open_cgroup(int parent, const char* name) {
    return open_beneath(parent, name, O_PATH | O_DIRECTORY);
}

Result<Fd> open_cgroup_events(int group) {
    return open_beneath(group, "cgroup.events", O_RDONLY);
}

Result<bool> is_populated(int events) {
    std::array<char, 256> text{};
    const ssize_t size = ::pread(events, text.data(), text.size(), 0);
    if (size < 0) {
        return last_errno();
    }
    // The kernel's own text, two lines: "populated 0" and "frozen 0"
    return std::string_view(text.data(), static_cast<std::size_t>(size)).find("populated 0") == std::string_view::npos;
}

std::uint64_t memory_kills(int group) {
    const auto file = open_beneath(group, "memory.events", O_RDONLY);
    std::array<char, 512> text{};
    const ssize_t size = file ? ::pread(file->get(), text.data(), text.size(), 0) : -1;
    // The kernel's own text, a name and a number on each line
    constexpr std::string_view kKey = "\noom_kill ";
    const std::string_view lines(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    const auto at = lines.find(kKey);
    std::uint64_t count = 0;
    if (at != std::string_view::npos) {
        std::from_chars(lines.data() + at + kKey.size(), lines.data() + lines.size(), count);
    }
    return count;
}

Result<void> enter_cgroup(int group) {
    return write_word(group, "cgroup.procs", "0"); // whoever writes it
}

Result<void> kill_cgroup(int group) {
    return write_word(group, "cgroup.kill", "1");
}

Result<void> remove_cgroup(int parent, const char* name) {
    if (::unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
