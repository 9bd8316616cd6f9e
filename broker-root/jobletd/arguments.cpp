#include "broker-root/jobletd/arguments.h"

#include <charconv>

#include "broker-root/layout.h"

namespace joblet::jobletd {

namespace {

// Uids of slots and of the foreign range lie between these two: an API with one of them would own what jobs write.
constexpr std::uint32_t kReservedFirst = kSlotFirst;
constexpr std::uint32_t kReservedEnd = kFallbackApiUid;
constexpr std::uint32_t kNoUid = 0xffffffff; // (uid_t)-1 means "unchanged" to setresuid(2)

// "/a/b", or "" for the top.
std::expected<std::string, std::string> normal_path(const std::string& option, std::string_view text, std::string_view directory) {
    if (text.empty()) {
        return std::unexpected(option + " needs a directory");
    }
    std::string absolute = text.starts_with('/') ? std::string(text) : std::string(directory) + "/" + std::string(text);
    std::string path;
    std::string_view rest = absolute;
    while (!rest.empty()) {
        const auto slash = rest.find('/');
        const auto component = rest.substr(0, slash);
        rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
        if (component.empty() || component == ".") {
            continue;
        }
        if (component == "..") {
            return std::unexpected(option + " " + std::string(text) + " contains '..'; give the directory's real path");
        }
        path += '/';
        path += component;
    }
    return path;
}

std::expected<std::uint32_t, std::string> parse_api_uid(std::string_view text) {
    std::uint32_t uid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid);
    if (error != std::errc{} || end != text.data() + text.size() || uid == 0 || uid == kNoUid) {
        return std::unexpected("--api-uid " + std::string(text) + " is not a user id; allowed are 1 to 4294967294");
    }
    if (uid >= kReservedFirst && uid < kReservedEnd) {
        return std::unexpected("--api-uid " + std::string(text) + " lies in the range of jobs and volumes, " +
                               std::to_string(kReservedFirst) + " to " + std::to_string(kReservedEnd - 1) + "; give one outside of it");
    }
    return uid;
}

std::expected<std::string, std::string> parse_group(std::string_view text) {
    auto path = normal_path("--jobs-cgroup", text, "");
    if (path && path->empty()) {
        return std::unexpected("--jobs-cgroup " + std::string(text) + " is the top of cgroup2; give a group below it");
    }
    return path ? path->substr(1) : path;
}

} // namespace

std::expected<Arguments, std::string> parse_arguments(std::span<const char* const> words, std::string_view directory) {
    Arguments out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        const auto equals = word.find('=');
        const std::string_view name = word.substr(0, equals);
        if (name != "--root" && name != "--api-uid" && name != "--jobs-cgroup" && name != "--print-config") {
            if (word == "--version") {
                out.action = Action::ShowVersion;
            } else if (word == "--help" || word == "-h") {
                out.action = Action::ShowHelp;
            } else if (word == "--keep-jobs-cgroup") {
                out.action = Action::KeepJobsCgroup;
            } else if (word == "--enable-controllers") {
                out.enable_controllers = true;
            } else {
                return std::unexpected("unknown argument '" + std::string(word) + "'; see jobletd --help");
            }
            continue;
        }
        std::string_view value;
        if (equals != std::string_view::npos) {
            value = word.substr(equals + 1);
        } else if (++i < words.size()) {
            value = words[i];
        } else {
            return std::unexpected(std::string(name) + " needs a value; see jobletd --help");
        }
        if (name == "--root") {
            auto root = normal_path("--root", value, directory);
            if (!root) {
                return std::unexpected(std::move(root.error()));
            }
            out.root = std::move(*root);
        } else if (name == "--api-uid") {
            const auto uid = parse_api_uid(value);
            if (!uid) {
                return std::unexpected(uid.error());
            }
            out.api_uid = *uid;
        } else if (name == "--jobs-cgroup") {
            auto group = parse_group(value);
            if (!group) {
                return std::unexpected(std::move(group.error()));
            }
            out.jobs_cgroup = std::move(*group);
        } else if (value == "broker" || value == "api") {
            out.action = value == "broker" ? Action::PrintBrokerConfig : Action::PrintApiConfig;
        } else {
            return std::unexpected("--print-config " + std::string(value) + " is unknown; allowed are broker and api");
        }
    }
    if (out.enable_controllers && !out.jobs_cgroup.empty()) {
        return std::unexpected("--enable-controllers and --jobs-cgroup exclude each other: who keeps the group of jobs decides which "
                               "controllers it has");
    }
    return out;
}

} // namespace joblet::jobletd
