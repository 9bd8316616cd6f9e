#include "broker-root/kernel/block_devices.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "broker-root/kernel/btrfs.h"
#include "broker-root/kernel/loop.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/record_io.h"

namespace joblet::kernel {
namespace {

using protocol::Device;

// More than any stack of devices that works: the kernel itself takes few.
constexpr unsigned kDeepest = 16;
constexpr unsigned kLooksMost = 256;

// Its links, ".." in them too, lead about in sysfs and not out of it.
Result<Fd> open_in_sysfs(int sysfs, const std::string& path, int flags) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
    for (;;) {
        const long opened = ::syscall(SYS_openat2, sysfs, path.c_str(), &how, sizeof how);
        if (opened >= 0) {
            return Fd(static_cast<int>(opened));
        }
        if (errno != EAGAIN && errno != EINTR) { // EAGAIN: something was renamed meanwhile
            return last_errno();
        }
    }
}

// One line, without its end. EFBIG if there is more than fits.
Result<std::string> read_line(int sysfs, const std::string& path) {
    const auto file = open_in_sysfs(sysfs, path, O_RDONLY);
    if (!file) {
        return std::unexpected(file.error());
    }
    std::string text(PATH_MAX + 1, '\0');
    const auto size = read_file(file->get(), std::as_writable_bytes(std::span(text)));
    if (!size) {
        return std::unexpected(size.error());
    }
    if (*size == text.size()) {
        return std::unexpected(EFBIG);
    }
    text.resize(*size);
    if (!text.ends_with('\n')) {
        return std::unexpected(EBADMSG);
    }
    text.pop_back();
    return text;
}

std::optional<std::uint32_t> parse_number(std::string_view text) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

// "8:16"
Result<Device> read_device(int sysfs, const std::string& path) {
    const auto line = read_line(sysfs, path);
    if (!line) {
        return std::unexpected(line.error());
    }
    const std::string_view text = *line;
    const auto colon = std::min(text.find(':'), text.size());
    const auto major = parse_number(text.substr(0, colon));
    const auto minor = colon == text.size() ? std::nullopt : parse_number(text.substr(colon + 1));
    if (!major || !minor || *major == 0) {
        return std::unexpected(EBADMSG);
    }
    return Device{*major, *minor};
}

Result<bool> is_there(int sysfs, const std::string& path) {
    const auto opened = open_in_sysfs(sysfs, path, O_PATH);
    if (!opened && opened.error() != ENOENT) {
        return std::unexpected(opened.error());
    }
    return opened.has_value();
}

std::string path_of(const Device& device) {
    return "dev/block/" + std::to_string(device.major) + ":" + std::to_string(device.minor);
}

// As sysfs writes it: 8-4-4-4-12
std::string text_of(const BtrfsId& id) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < id.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out += '-';
        }
        out += kDigits[id[i] >> 4U];
        out += kDigits[id[i] & 15U];
    }
    return out;
}

Device device_of(dev_t number) {
    return {major(number), minor(number)};
}

class Search {
  public:
    Search(int sysfs, std::size_t most, const BelowLoop& below_loop) : sysfs_(sysfs), most_(most), below_loop_(below_loop) {}

    // An error of any part is one of the whole: what is half known is not known.
    Result<void> add_source(const FileSystemSource& source, unsigned depth) {
        if (source.btrfs) {
            return add_all("fs/btrfs/" + text_of(*source.btrfs) + "/devices", depth);
        }
        return source.device.major == 0 ? std::unexpected(ENODEV) : add(source.device, depth);
    }
    std::vector<Device> take() {
        return std::move(found_);
    }

  private:
    Result<void> add(const Device& device, unsigned depth) {
        if (depth == kDeepest) {
            return std::unexpected(ELOOP);
        }
        if (++looks_ > kLooksMost) {
            return std::unexpected(E2BIG);
        }
        const auto path = path_of(device);
        if (const auto known = is_there(sysfs_, path + "/dev"); !known || !*known) {
            return std::unexpected(known ? ENODEV : known.error());
        }
        const auto is_partition = is_there(sysfs_, path + "/partition");
        if (!is_partition) {
            return std::unexpected(is_partition.error());
        }
        if (*is_partition) {
            const auto disk = read_device(sysfs_, path + "/../dev");
            return disk ? add(*disk, depth + 1) : std::unexpected(disk.error());
        }
        if (device.major == LOOP_MAJOR) {
            const auto below = below_loop_(device);
            if (!below) {
                return std::unexpected(below.error());
            }
            const auto added = add_whole(device);
            return added ? add_source(*below, depth + 1) : added;
        }
        const auto made_of = list(path + "/slaves");
        if (!made_of && made_of.error() != ENOENT) {
            return std::unexpected(made_of.error());
        }
        return made_of && !made_of->empty() ? add_all(path + "/slaves", depth) : add_whole(device);
    }

    Result<void> add_whole(const Device& device) {
        if (std::ranges::find(found_, device) != found_.end()) {
            return {};
        }
        if (found_.size() == most_) {
            return std::unexpected(E2BIG);
        }
        found_.push_back(device);
        return {};
    }

    // Each entry of the directory is a device; there must be one.
    Result<void> add_all(const std::string& path, unsigned depth) {
        const auto names = list(path);
        if (!names || names->empty()) {
            return std::unexpected(names || names.error() == ENOENT ? ENODEV : names.error());
        }
        for (const auto& name : *names) {
            std::string file = path;
            file.append("/").append(name).append("/dev");
            const auto device = read_device(sysfs_, file);
            const auto added = device ? add(*device, depth + 1) : std::unexpected(device.error());
            if (!added) {
                return added;
            }
        }
        return {};
    }

    [[nodiscard]] Result<std::vector<std::string>> list(const std::string& path) const {
        const auto directory = open_in_sysfs(sysfs_, path, O_RDONLY | O_DIRECTORY);
        return directory ? list_directory(directory->get()) : std::unexpected(directory.error());
    }

    int sysfs_;
    std::size_t most_;
    const BelowLoop& below_loop_;
    unsigned looks_ = 0;
    std::vector<Device> found_;
};

// "loop3", as the kernel calls it: where loop devices have partitions, the number in it is not the minor one.
Result<std::string> name_of(int sysfs, const Device& loop) {
    const auto file = open_in_sysfs(sysfs, path_of(loop) + "/uevent", O_RDONLY);
    std::array<char, 1024> text{};
    const auto size = file ? read_file(file->get(), std::as_writable_bytes(std::span(text))) : std::unexpected(file.error());
    if (!size) {
        return std::unexpected(size.error());
    }
    constexpr std::string_view kKey = "\nDEVNAME=";
    const std::string_view lines(text.data(), *size);
    const auto at = lines.find(kKey);
    const auto end = at == std::string_view::npos ? at : lines.find('\n', at + 1);
    if (end == std::string_view::npos) {
        return std::unexpected(EBADMSG);
    }
    return std::string(lines.substr(at + kKey.size(), end - at - kKey.size())); // open_beneath takes it only if it is one component
}

} // namespace

Result<FileSystemSource> file_system_source(int fd) {
    const auto status = status_of(fd);
    if (!status) {
        return std::unexpected(status.error());
    }
    FileSystemSource out{.device = device_of(status->st_dev), .btrfs = std::nullopt};
    if (out.device.major != 0) {
        return out;
    }
    const auto type = file_system_type(fd);
    if (!type || *type != BTRFS_SUPER_MAGIC) {
        return std::unexpected(type ? ENODEV : type.error());
    }
    const auto id = btrfs_id(fd);
    if (!id) {
        return std::unexpected(id.error());
    }
    out.btrfs = *id;
    return out;
}

Result<std::vector<Device>> whole_devices(int sysfs, const FileSystemSource& source, std::size_t most, const BelowLoop& below_loop) {
    Search search(sysfs, most, below_loop);
    const auto added = search.add_source(source, 0);
    return added ? Result<std::vector<Device>>(search.take()) : std::unexpected(added.error());
}

Result<FileSystemSource> below_loop(int sysfs, int devices, const Device& loop) {
    const auto name = name_of(sysfs, loop);
    const auto device = name ? open_beneath(devices, name->c_str(), O_RDONLY) : std::unexpected(name.error());
    const auto status = device ? status_of(device->get()) : std::unexpected(device.error());
    if (!status) {
        return std::unexpected(status.error());
    }
    if (!S_ISBLK(status->st_mode) || device_of(status->st_rdev) != loop) {
        return std::unexpected(ENXIO);
    }
    const auto bound = loop_binding(device->get());
    if (!bound) {
        return std::unexpected(bound.error());
    }
    if (bound->block_device != 0) {
        return FileSystemSource{.device = device_of(bound->block_device), .btrfs = std::nullopt};
    }
    if (major(bound->file_system) != 0) {
        return FileSystemSource{.device = device_of(bound->file_system), .btrfs = std::nullopt};
    }
    // Only its own file system knows what that is, and only the name leads there
    const auto path = read_line(sysfs, path_of(loop) + "/loop/backing_file");
    const auto seen = path ? open_path(path->c_str(), O_PATH) : std::unexpected(path.error());
    const auto file = seen ? status_of(seen->get()) : std::unexpected(seen.error());
    if (!file || !S_ISREG(file->st_mode) || file->st_dev != bound->file_system || file->st_ino != bound->inode) {
        return std::unexpected(ENODEV);
    }
    const auto readable = open_path(path->c_str(), O_RDONLY | O_NONBLOCK);
    const auto same = readable ? status_of(readable->get()) : std::unexpected(readable.error());
    if (!same || same->st_dev != file->st_dev || same->st_ino != file->st_ino) {
        return std::unexpected(ENODEV);
    }
    return file_system_source(readable->get());
}

} // namespace joblet::kernel
