#include "broker-root/kernel/cgroup_limits.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "broker-root/kernel/mount.h"

namespace joblet::kernel {
namespace {

constexpr std::string_view kMax = "max";

// Longest: io.max with four limits, 113 bytes.
class Line {
  public:
    Line& text(std::string_view text) {
        const auto taken = std::min(text.size(), bytes_.size() - size_);
        std::ranges::copy(text.substr(0, taken), bytes_.begin() + static_cast<std::ptrdiff_t>(size_));
        size_ += taken;
        is_whole_ = is_whole_ && taken == text.size();
        return *this;
    }
    // Digits alone: the kernel takes "4k" for 4.
    Line& number(std::unsigned_integral auto value) {
        std::array<char, std::numeric_limits<std::uint64_t>::digits10 + 1> digits{};
        const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
        return text({digits.data(), end});
    }
    // One write: each is a command of its own to the kernel.
    [[nodiscard]] Result<void> write_to(int group, const char* name) const {
        if (!is_whole_) {
            return std::unexpected(EOVERFLOW);
        }
        const auto file = open_beneath(group, name, O_WRONLY);
        if (!file) {
            return std::unexpected(file.error());
        }
        const ssize_t written = ::write(file->get(), bytes_.data(), size_);
        if (written < 0) {
            return last_errno();
        }
        return std::cmp_equal(written, size_) ? Result<void>() : std::unexpected(EIO);
    }

  private:
    std::array<char, 128> bytes_{};
    std::size_t size_ = 0;
    bool is_whole_ = true;
};

// What a file of the kernel's says, which must fit.
class Said {
  public:
    static Result<Said> read(int group, const char* name) {
        const auto file = open_beneath(group, name, O_RDONLY);
        if (!file) {
            return std::unexpected(file.error());
        }
        Said out;
        while (out.size_ < out.bytes_.size()) {
            const ssize_t got =
                ::pread(file->get(), out.bytes_.data() + out.size_, out.bytes_.size() - out.size_, static_cast<off_t>(out.size_));
            if (got < 0) {
                return last_errno();
            }
            if (got == 0) {
                return out;
            }
            out.size_ += static_cast<std::size_t>(got);
        }
        return std::unexpected(EFBIG);
    }

    [[nodiscard]] std::string_view text() const {
        return {bytes_.data(), size_};
    }

  private:
    std::array<char, 8192> bytes_{}; // io.max has a line for each device
    std::size_t size_ = 0;
};

// What comes before the first `separator`; it goes from `rest`, with the separator.
std::string_view take(std::string_view& rest, char separator) {
    const auto end = std::min(rest.find(separator), rest.size());
    const auto taken = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return taken;
}

std::optional<std::uint64_t> parse_limit(std::string_view text) {
    if (text == kMax) {
        return kNoLimit;
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

Result<std::uint64_t> read_limit(int group, const char* name) {
    const auto said = Said::read(group, name);
    if (!said) {
        return std::unexpected(said.error());
    }
    auto text = said->text();
    const auto limit = parse_limit(take(text, '\n'));
    return limit && text.empty() ? Result<std::uint64_t>(*limit) : std::unexpected(EBADMSG);
}

// What the kernel holds, which is no more.
Result<std::uint64_t> set_limit(int group, const char* name, std::uint64_t value) {
    if (const auto written = Line().number(value).write_to(group, name); !written) {
        return std::unexpected(written.error());
    }
    auto held = read_limit(group, name);
    return held && *held > value ? std::unexpected(EOVERFLOW) : held;
}

struct Controller {
    std::uint32_t bit;
    std::string_view name;
};
constexpr auto kControllers = std::to_array<Controller>({
    {protocol::kControllerCpu, "cpu"},
    {protocol::kControllerIo, "io"},
    {protocol::kControllerMemory, "memory"},
    {protocol::kControllerPids, "pids"},
});

Result<std::uint32_t> read_controllers(int group, const char* name) {
    const auto said = Said::read(group, name);
    if (!said) {
        return std::unexpected(said.error());
    }
    auto text = said->text();
    auto line = take(text, '\n');
    std::uint32_t bits = 0;
    while (!line.empty()) {
        const auto* const found = std::ranges::find(kControllers, take(line, ' '), &Controller::name);
        bits |= found == kControllers.end() ? 0 : found->bit;
    }
    return bits;
}

struct IoKey {
    std::string_view name;
    std::uint64_t protocol::IoLimits::* value;
    std::uint64_t most; // the kernel takes more for none
};
constexpr std::uint64_t kOperationsMost = std::numeric_limits<std::uint32_t>::max() - 1;
constexpr auto kIoKeys = std::to_array<IoKey>({
    {"rbps", &protocol::IoLimits::read_bytes, kNoLimit - 1},
    {"wbps", &protocol::IoLimits::write_bytes, kNoLimit - 1},
    {"riops", &protocol::IoLimits::read_operations, kOperationsMost},
    {"wiops", &protocol::IoLimits::write_operations, kOperationsMost},
});

Line& append(Line& line, const protocol::Device& device) {
    return line.number(device.major).text(":").number(device.minor);
}

// Of one device, as io.max says it: nothing where there is no limit. Nothing if it is written otherwise.
std::optional<protocol::IoLimits> parse_io(std::string_view text, const protocol::Device& device) {
    protocol::IoLimits limits;
    while (!text.empty()) {
        auto line = take(text, '\n');
        auto number = take(line, ' ');
        const auto major = parse_limit(take(number, ':'));
        if (major != device.major || parse_limit(number) != device.minor) {
            continue;
        }
        for (const auto& key : kIoKeys) {
            auto value = take(line, ' ');
            const bool is_it = take(value, '=') == key.name;
            const auto limit = parse_limit(value);
            if (!is_it || !limit) {
                return std::nullopt;
            }
            limits.*key.value = *limit == kNoLimit ? 0 : *limit;
        }
    }
    return limits;
}

} // namespace

Result<std::uint32_t> available_controllers(int group) {
    return read_controllers(group, "cgroup.controllers");
}

Result<std::uint32_t> enabled_controllers(int group) {
    return read_controllers(group, "cgroup.subtree_control");
}

Result<void> enable_controller(int group, std::uint32_t controller) {
    const auto* const found = std::ranges::find(kControllers, controller, &Controller::bit);
    if (found == kControllers.end()) {
        return std::unexpected(EINVAL);
    }
    return Line().text("+").text(found->name).write_to(group, "cgroup.subtree_control");
}

Result<std::uint64_t> set_memory_max(int group, std::uint64_t bytes) {
    return bytes == 0 ? std::unexpected(EINVAL) : set_limit(group, "memory.max", bytes);
}

Result<std::uint64_t> memory_max(int group) {
    return read_limit(group, "memory.max");
}

Result<std::uint64_t> set_swap_max(int group, std::uint64_t bytes) {
    return set_limit(group, "memory.swap.max", bytes);
}

Result<void> end_together(int group) {
    const auto held = set_limit(group, "memory.oom.group", 1);
    if (!held) {
        return std::unexpected(held.error());
    }
    return *held == 1 ? Result<void>() : std::unexpected(EOVERFLOW);
}

Result<void> set_pids_max(int group, std::uint64_t count) {
    const auto held = count == 0 ? std::unexpected(EINVAL) : set_limit(group, "pids.max", count);
    return held ? Result<void>() : std::unexpected(held.error());
}

Result<std::uint64_t> pids_max(int group) {
    return read_limit(group, "pids.max");
}

Result<void> set_cpu_max(int group, std::uint64_t milli) {
    constexpr std::uint64_t kPeriodMicroseconds = 100'000;
    constexpr std::uint64_t kMicrosecondsPerMilli = kPeriodMicroseconds / 1000;
    if (milli == 0 || milli > kNoLimit / kMicrosecondsPerMilli) {
        return std::unexpected(EINVAL);
    }
    return Line().number(milli * kMicrosecondsPerMilli).text(" ").number(kPeriodMicroseconds).write_to(group, "cpu.max");
}

Result<void> set_io_max(int group, const protocol::Device& device, const protocol::IoLimits& limits) {
    protocol::IoLimits wanted;
    Line line;
    append(line, device);
    for (const auto& key : kIoKeys) {
        const auto value = std::min(limits.*key.value, key.most);
        wanted.*key.value = value;
        line.text(" ").text(key.name).text("=");
        if (value == 0) { // itself a limit of nothing, which the kernel refuses (ERANGE)
            line.text(kMax);
        } else {
            line.number(value);
        }
    }
    if (const auto written = line.write_to(group, "io.max"); !written) {
        return written;
    }
    const auto said = Said::read(group, "io.max");
    if (!said) {
        return std::unexpected(said.error());
    }
    return parse_io(said->text(), device) == wanted ? Result<void>() : std::unexpected(EOVERFLOW);
}

} // namespace joblet::kernel
