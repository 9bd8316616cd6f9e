#include "shared/name.h"

#include <algorithm>
#include <array>

namespace joblet {

namespace {

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// True if `path` is `directory`, or lies below it. Both are normal.
bool lies_within(std::string_view path, std::string_view directory) {
    return path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
}

} // namespace

bool is_valid_name(std::string_view text) {
    return !text.empty() && text.size() <= kNameMax && is_alphanumeric(text.front()) &&
           std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

bool is_valid_target(std::string_view text) {
    if (text.size() < 2 || text.size() > kTargetMax || text.front() != '/') {
        return false;
    }
    if (!std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; })) {
        return false;
    }
    for (std::string_view rest = text; !rest.empty();) {
        rest.remove_prefix(1); // the slash before the component
        const std::string_view component = rest.substr(0, rest.find('/'));
        if (component.empty() || component == "." || component == "..") {
            return false;
        }
        rest.remove_prefix(component.size());
    }
    return true;
}

std::optional<std::string_view> reserved_by(std::string_view target) {
    static constexpr std::array<std::string_view, 12> kReserved = {"/proc", "/sys",  "/dev", "/volumes", "/work", "/tmp",
                                                                   "/bin",  "/sbin", "/lib", "/lib64",   "/usr",  "/etc"};
    for (const auto directory : kReserved) {
        if (lies_within(target, directory)) {
            return directory;
        }
    }
    return std::nullopt;
}

bool targets_overlap(std::string_view a, std::string_view b) {
    return lies_within(a, b) || lies_within(b, a);
}

} // namespace joblet
