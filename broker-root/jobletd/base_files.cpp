#include "broker-root/jobletd/base_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "broker-root/kernel/record_io.h"
#include "shared/fd.h"

namespace joblet::jobletd {

kernel::Result<void> remove_tree(int parent, const char* name) {
    if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return {};
    }
    if (errno != EISDIR) {
        return kernel::last_errno();
    }
    const Fd directory(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) {
        return kernel::last_errno();
    }
    const auto names = kernel::list_directory(directory.get());
    if (!names) {
        return std::unexpected(names.error());
    }
    for (const auto& found : *names) {
        if (const auto removed = remove_tree(directory.get(), found.c_str()); !removed) {
            return removed;
        }
    }
    return kernel::remove_directory(parent, name);
}

kernel::Result<void> write_new_file(int base, const char* path, std::string_view text) {
    const Fd file(::openat(base, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!file.valid()) {
        return kernel::last_errno();
    }
    if (const auto set = kernel::change_mode(file.get(), 0644); !set) {
        return set;
    }
    while (!text.empty()) {
        const ssize_t written = ::write(file.get(), text.data(), text.size());
        if (written < 0) {
            return kernel::last_errno();
        }
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return kernel::sync_to_disk(file.get());
}

} // namespace joblet::jobletd
