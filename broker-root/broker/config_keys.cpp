#include "broker-root/broker/config_keys.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

#include <fmt/format.h>

#include "broker-root/jobletd/supervision.h"
#include "broker-root/layout.h"
#include "shared/duration.h"
#include "shared/size.h"

namespace joblet {

namespace {

struct CloseFile {
    void operator()(FILE* file) const {
        std::fclose(file); // NOLINT(cppcoreguidelines-owning-memory): unique_ptr is the owner
    }
};
using File = std::unique_ptr<FILE, CloseFile>;

std::optional<std::uint32_t> group_named(const std::string& name) {
    const File file(std::fopen("/etc/group", "re"));
    while (file) {
        const group* entry = ::fgetgrent(file.get());
        if (entry == nullptr) {
            break;
        }
        if (name == entry->gr_name) {
            return entry->gr_gid;
        }
    }
    return std::nullopt;
}
using Lookup = std::optional<std::uint32_t> (*)(const std::string&);

std::optional<std::uint32_t> read_id(const toml::node& node, Lookup lookup) {
    if (const auto number = node.value_exact<std::int64_t>()) {
        // 2^32 - 1 means "no change" to the kernel, so nobody has it
        return *number >= 0 && *number < 0xffffffffLL ? std::optional(static_cast<std::uint32_t>(*number)) : std::nullopt;
    }
    if (const auto name = node.value_exact<std::string>()) {
        return lookup(*name);
    }
    return std::nullopt;
}

template <class T>
Key integer(std::string_view section, std::string_view name, std::string_view comment, const std::function<T&(BrokerConfig&)>& field,
            std::int64_t low, std::int64_t high) {
    return {section, name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto value = node.value_exact<std::int64_t>();
                if (!value || *value < low || *value > high) {
                    return std::unexpected(fmt::format("a whole number from {} to {}", low, high));
                }
                field(config) = static_cast<T>(*value);
                return {};
            },
            [=](BrokerConfig& config) { return fmt::format("{}", field(config)); }};
}

Key size(std::string_view section, std::string_view name, std::string_view comment,
         const std::function<std::uint64_t&(BrokerConfig&)>& field, std::uint64_t low) {
    return {section, name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto text = node.value_exact<std::string>();
                const auto value = text ? parse_size(*text) : std::unexpected(SizeError::NotANumber);
                if (!value || *value < low) {
                    return std::unexpected(fmt::format("a size in quotes of at least {}: {}", format_size(low), kSizeForms));
                }
                field(config) = *value;
                return {};
            },
            [=](BrokerConfig& config) {
                // Bytes if the short form would not come back as the same number
                const std::uint64_t bytes = field(config);
                std::string text = format_size(bytes);
                std::erase(text, ' ');
                const auto back = parse_size(text);
                return fmt::format("\"{}\"", back && *back == bytes ? text : std::to_string(bytes));
            }};
}

Key duration(std::string_view section, std::string_view name, std::string_view comment,
             const std::function<std::chrono::seconds&(BrokerConfig&)>& field, std::chrono::seconds low) {
    return {section, name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto text = node.value_exact<std::string>();
                const auto value = text ? parse_duration(*text) : std::nullopt;
                if (!value || *value < low) {
                    return std::unexpected(fmt::format("a time in quotes of at least {}: {}", format_duration(low), kDurationForms));
                }
                field(config) = *value;
                return {};
            },
            [=](BrokerConfig& config) { return fmt::format("\"{}\"", format_duration(field(config))); }};
}

Key boolean(std::string_view section, std::string_view name, std::string_view comment, const std::function<bool&(BrokerConfig&)>& field) {
    return {section, name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto value = node.value_exact<bool>();
                if (!value) {
                    return std::unexpected("true or false");
                }
                field(config) = *value;
                return {};
            },
            [=](BrokerConfig& config) { return std::string(field(config) ? "true" : "false"); }};
}

Key ids(std::string_view section, std::string_view name, std::string_view comment,
        const std::function<std::vector<std::uint32_t>&(BrokerConfig&)>& field, Lookup lookup) {
    return {section, name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto* array = node.as_array();
                std::vector<std::uint32_t> out;
                for (std::size_t i = 0; array != nullptr && i < array->size(); ++i) {
                    const auto id = read_id(*array->get(i), lookup);
                    if (!id) {
                        array = nullptr;
                        break;
                    }
                    out.push_back(*id);
                }
                if (array == nullptr) {
                    return std::unexpected("a list of ids (numbers) and names of this host's own accounts, for example [1000, \"alice\"],");
                }
                field(config) = std::move(out);
                return {};
            },
            [=](BrokerConfig& config) { return fmt::format("[{}]", fmt::join(field(config), ", ")); }};
}

Key socket_mode() {
    return {"socket", "mode", "permissions of api.sock, octal digits in quotes; clients need write permission to connect",
            [](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto text = node.value_exact<std::string>();
                if (!text || text->size() < 3 || text->size() > 4 ||
                    !std::ranges::all_of(*text, [](char c) { return c >= '0' && c <= '7'; }) || std::stoul(*text, nullptr, 8) > 0777) {
                    return std::unexpected("octal permission bits in quotes, \"0600\" to \"0777\"");
                }
                config.socket_mode = static_cast<std::uint32_t>(std::stoul(*text, nullptr, 8));
                return {};
            },
            [](BrokerConfig& config) { return fmt::format("\"{:04o}\"", config.socket_mode); }};
}

Key socket_group() {
    return {"socket", "group", "group of api.sock, a number or the name of a group of this host",
            [](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto id = read_id(node, group_named);
                if (!id) {
                    return std::unexpected("a group id (a number) or the name of a group in /etc/group");
                }
                config.socket_gid = *id;
                return {};
            },
            [](BrokerConfig& config) { return fmt::format("{}", config.socket_gid); }};
}

struct BackendWord {
    StoreBackend backend;
    std::string_view word;
};
constexpr std::array kBackendWords = {BackendWord{StoreBackend::Auto, "auto"}, BackendWord{StoreBackend::Image, "image"},
                                      BackendWord{StoreBackend::Btrfs, "btrfs"}};

Key store_backend() {
    return {"volumes", "backend",
            "what a filesystem volume is made of unless its creator says: auto takes btrfs where the store can hold it, else image",
            [](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto text = node.value_exact<std::string>();
                const auto row = std::ranges::find(kBackendWords, text.value_or(""), &BackendWord::word);
                if (row == kBackendWords.end()) {
                    return std::unexpected("\"auto\", \"image\" or \"btrfs\"");
                }
                config.backend = row->backend;
                return {};
            },
            [](BrokerConfig& config) {
                return fmt::format("\"{}\"", std::ranges::find(kBackendWords, config.backend, &BackendWord::backend)->word);
            }};
}

constexpr std::int64_t kMany = 1'000'000'000;

} // namespace

std::optional<std::uint32_t> user_named(const std::string& name) {
    const File file(std::fopen("/etc/passwd", "re"));
    while (file) {
        const passwd* entry = ::fgetpwent(file.get());
        if (entry == nullptr) {
            break;
        }
        if (name == entry->pw_name) {
            return entry->pw_uid;
        }
    }
    return std::nullopt;
}
std::vector<Key> make_keys() {
    using C = BrokerConfig;
    return {
        socket_mode(),
        socket_group(),
        ids(
            "socket", "allowed_users", "only these users (ids or names) may connect; with both lists empty, any local user may",
            [](C& c) -> auto& { return c.allowed_uids; }, user_named),
        ids(
            "socket", "allowed_groups", "and users whose primary group is one of these", [](C& c) -> auto& { return c.allowed_gids; },
            group_named),
        ids(
            "admins", "users", "may see and manage everybody's volumes and jobs when they ask for it; root always may",
            [](C& c) -> auto& { return c.admin_uids; }, user_named),
        integer<std::uint32_t>(
            "workers", "count", "processes that mount and write records; what waits for a disk waits in one of them",
            [](C& c) -> auto& { return c.workers; }, 1, kWorkersMax),
        integer<std::uint32_t>(
            "workers", "order_seconds", "a worker that takes longer for one order is given up and replaced",
            [](C& c) -> auto& { return c.order_seconds; }, 5, 3600),
        integer<std::uint32_t>(
            "slots", "first", "first host uid of the first slot; each job gets 65536 uids that no other live job has",
            [](C& c) -> auto& { return c.slot_first; }, kSlotIds, kForeignFirst - kSlotIds),
        integer<std::uint32_t>(
            "slots", "count", "number of slots: how many jobs can be alive at once", [](C& c) -> auto& { return c.slot_count; }, 1,
            kSlotCount),
        size(
            "jobs", "work_size", "size of /work, the working directory of a job, gone with it", [](C& c) -> auto& { return c.work_bytes; },
            kMiB),
        size(
            "jobs", "tmp_size", "size of a job's /tmp", [](C& c) -> auto& { return c.tmp_bytes; }, 64 * kKiB),
        size(
            "jobs", "shm_size", "size of a job's /dev/shm", [](C& c) -> auto& { return c.shm_bytes; }, 64 * kKiB),
        size(
            "jobs", "work_size_max", "largest /work that a user may ask for", [](C& c) -> auto& { return c.work_bytes_max; }, kMiB),
        size(
            "jobs", "tmp_size_max", "largest /tmp that a user may ask for", [](C& c) -> auto& { return c.tmp_bytes_max; }, 64 * kKiB),
        size(
            "jobs", "log_size", "what the log of a detached job keeps", [](C& c) -> auto& { return c.log_bytes; }, 64 * kKiB),
        size(
            "jobs", "log_size_max", "largest log that a user may ask for", [](C& c) -> auto& { return c.log_bytes_max; }, 64 * kKiB),
        boolean("jobs", "host_network",
                "whether a job may have the network of the host when it asks for it; otherwise it has loopback alone",
                [](C& c) -> auto& { return c.host_network; }),
        integer<std::uint32_t>(
            "jobs", "ended_kept", "ended jobs that are kept for listing, the oldest go first",
            [](C& c) -> auto& { return c.ended_jobs_kept; }, 0, 100'000),
        store_backend(),
        duration(
            "volumes", "trash_retention",
            "for so long a deleted filesystem volume can be restored; it still counts for its owner; 0: it is gone at once",
            [](C& c) -> auto& { return c.trash_retention; }, std::chrono::seconds(0)),
        size(
            "volumes", "memory_budget",
            "all memory volumes that jobs have at one time, by their sizes; half of the host's memory unless given",
            [](C& c) -> auto& { return c.memory_budget; }, kMiB),
        duration(
            "volumes", "memory_volume_timeout", "a memory volume that no job has had for so long is removed; 0: never",
            [](C& c) -> auto& { return c.memory_volume_timeout; }, std::chrono::seconds(0)),
        duration(
            "volumes", "cleaner_interval", "how often is looked for what is over: dead jobs, idle memory volumes, old trash",
            [](C& c) -> auto& { return c.cleaner_interval; }, std::chrono::seconds(1)),
        integer<std::uint64_t>(
            "limits", "volumes", "per user: number of volumes", [](C& c) -> auto& { return c.limits.volumes; }, 0, kMany),
        size(
            "limits", "total_size", "per user: sum of the sizes of all volumes", [](C& c) -> auto& { return c.limits.total_bytes; }, 0),
        size(
            "limits", "largest_volume", "size of one volume", [](C& c) -> auto& { return c.limits.largest_volume; }, 0),
        size(
            "limits", "memory_size", "per user: sum of the sizes of memory volumes that jobs have at one time",
            [](C& c) -> auto& { return c.limits.attached_memory; }, 0),
        integer<std::uint64_t>(
            "limits", "running_jobs", "per user: jobs alive at once", [](C& c) -> auto& { return c.limits.running_jobs; }, 0, kMany),
        integer<std::uint64_t>(
            "limits", "connections", "per user: connections to api.sock at once", [](C& c) -> auto& { return c.limits.connections; }, 1,
            kMany),
    };
}

} // namespace joblet
