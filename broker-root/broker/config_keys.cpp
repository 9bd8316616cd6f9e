#include "broker-root/broker/config_keys.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <cmath>
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

// Bytes if the short form would not come back as the same number
std::string print_size(std::uint64_t bytes) {
    std::string text = format_size(bytes);
    std::erase(text, ' ');
    const auto back = parse_size(text);
    return fmt::format("\"{}\"", back && *back == bytes ? text : std::to_string(bytes));
}

std::optional<std::uint64_t> read_size(const toml::node& node) {
    const auto text = node.value_exact<std::string>();
    const auto value = text ? parse_size(*text) : std::unexpected(SizeError::NotANumber);
    return value ? std::optional(*value) : std::nullopt;
}

// How a resource of jobs is written.
struct ResourceWords {
    std::uint64_t least;
    std::string_view form; // what is allowed
    std::optional<std::uint64_t> (*read)(const toml::node&);
    std::string (*print)(std::uint64_t);
};
constexpr ResourceWords kMemoryWords = {protocol::kMemoryMin, "a size in quotes of at least 4 MiB", read_size, print_size};
constexpr ResourceWords kProcessWords = {protocol::kProcessesMin, "a whole number from 2 to 4194304",
                                         [](const toml::node& node) -> std::optional<std::uint64_t> {
                                             const auto value = node.value_exact<std::int64_t>();
                                             const bool is_allowed =
                                                 value && *value >= 0 && *value <= std::int64_t{protocol::kProcessesMax};
                                             return is_allowed ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
                                         },
                                         [](std::uint64_t value) { return std::to_string(value); }};
constexpr ResourceWords kCpuWords = {protocol::kCpuMilliMin, "a number of CPUs from 0.01 to 1000",
                                     [](const toml::node& node) -> std::optional<std::uint64_t> {
                                         const auto value = node.value<double>();
                                         const bool is_allowed = value && *value >= 0 && *value <= protocol::kCpuMilliMax / 1000.0;
                                         return is_allowed ? std::optional(static_cast<std::uint64_t>(std::llround(*value * 1000)))
                                                           : std::nullopt;
                                     },
                                     [](std::uint64_t value) { return fmt::format("{:.3f}", static_cast<double>(value) / 1000); }};

Key size(std::string_view section, std::string_view name, std::string_view comment,
         const std::function<std::uint64_t&(BrokerConfig&)>& field, std::uint64_t low, std::uint64_t high = INT64_MAX) {
    return {section, name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto value = read_size(node);
                if (!value || *value < low || *value > high) {
                    const std::string most = high == INT64_MAX ? "" : fmt::format(" and at most {}", format_size(high));
                    return std::unexpected(fmt::format("a size in quotes of at least {}{}: {}", format_size(low), most, kSizeForms));
                }
                field(config) = *value;
                return {};
            },
            [=](BrokerConfig& config) { return print_size(field(config)); }};
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

Key audit_sync() {
    return {"audit", "sync",
            "\"soon\": audit records are on disk at most 100 ms later; \"each\": before anything is begun, and before it is answered",
            [](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto word = node.value_exact<std::string>();
                if (word != "soon" && word != "each") {
                    return std::unexpected("\"soon\" or \"each\"");
                }
                config.audit_sync_each = word == "each";
                return {};
            },
            [](BrokerConfig& config) { return std::string(config.audit_sync_each ? "\"each\"" : "\"soon\""); }};
}

// A limit of jobs, or "none"; and as default "built-in", which holds only where the controller is.
Key resource(std::string_view name, std::string_view comment, const std::function<JobResource&(BrokerConfig&)>& field,
             std::uint64_t JobResource::* part, const ResourceWords& words) {
    return {"jobs", name, comment,
            [=](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto word = node.value_exact<std::string>();
                const bool is_none = word == "none";
                const bool is_default = part == &JobResource::value;
                if (is_default && word == "built-in") {
                    field(config).is_given = false;
                    return {};
                }
                const auto value = is_none ? std::optional<std::uint64_t>(0) : words.read(node);
                if (!value || (!is_none && *value < words.least)) {
                    return std::unexpected(fmt::format("{}, or \"none\"{},", words.form, is_default ? " or \"built-in\"" : ""));
                }
                field(config).*part = *value;
                field(config).is_given = field(config).is_given || is_default;
                return {};
            },
            [=](BrokerConfig& config) {
                const std::uint64_t value = field(config).*part;
                if (part == &JobResource::value && !field(config).is_given) {
                    return std::string("\"built-in\"");
                }
                return value == 0 ? std::string("\"none\"") : words.print(value);
            }};
}

struct ControllerWord {
    std::uint32_t controller;
    std::string_view word;
};
constexpr std::array kControllerWords = {ControllerWord{protocol::kControllerCpu, "cpu"}, ControllerWord{protocol::kControllerIo, "io"},
                                         ControllerWord{protocol::kControllerMemory, "memory"},
                                         ControllerWord{protocol::kControllerPids, "pids"}};

std::string words_of(std::uint32_t controllers, std::string_view quote) {
    std::vector<std::string> words;
    for (const auto& row : kControllerWords) {
        if ((controllers & row.controller) != 0) {
            words.push_back(fmt::format("{}{}{}", quote, row.word, quote));
        }
    }
    return fmt::format("{}", fmt::join(words, ", "));
}

Key required_controllers() {
    return {"cgroups", "require_controllers",
            "controllers of cgroup2 without which the daemons do not start: a list of \"cpu\", \"io\", \"memory\", \"pids\"",
            [](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto* array = node.as_array();
                std::uint32_t all = 0;
                for (std::size_t i = 0; array != nullptr && i < array->size(); ++i) {
                    const auto word = array->get(i)->value_exact<std::string>();
                    const auto row = std::ranges::find(kControllerWords, word.value_or(""), &ControllerWord::word);
                    if (row == kControllerWords.end()) {
                        array = nullptr;
                        break;
                    }
                    all |= row->controller;
                }
                if (array == nullptr) {
                    return std::unexpected("a list of \"cpu\", \"io\", \"memory\" and \"pids\"");
                }
                config.required_controllers = all;
                return {};
            },
            [](BrokerConfig& config) { return fmt::format("[{}]", words_of(config.required_controllers, "\"")); }};
}

struct BackendWord {
    StoreBackend backend;
    std::string_view word;
};
constexpr std::array kBackendWords = {BackendWord{StoreBackend::Auto, "auto"}, BackendWord{StoreBackend::Image, "image"},
                                      BackendWord{StoreBackend::ProjectQuota, "project-quota"}, BackendWord{StoreBackend::Btrfs, "btrfs"}};

Key store_backend() {
    return {"volumes", "backend",
            "what a filesystem volume is made of unless its creator says: auto takes the first that holds a limit when it is tried, of "
            "project-quota, btrfs and image",
            [](const toml::node& node, BrokerConfig& config) -> std::expected<void, std::string> {
                const auto text = node.value_exact<std::string>();
                const auto row = std::ranges::find(kBackendWords, text.value_or(""), &BackendWord::word);
                if (row == kBackendWords.end()) {
                    return std::unexpected("\"auto\", \"image\", \"project-quota\" or \"btrfs\"");
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

std::string controller_names(std::uint32_t controllers) {
    return words_of(controllers, "");
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
            kMiB, protocol::kVolumeSizeMax),
        size(
            "jobs", "tmp_size", "size of a job's /tmp", [](C& c) -> auto& { return c.tmp_bytes; }, 64 * kKiB, protocol::kVolumeSizeMax),
        size(
            "jobs", "shm_size", "size of a job's /dev/shm", [](C& c) -> auto& { return c.shm_bytes; }, 64 * kKiB, protocol::kVolumeSizeMax),
        size(
            "jobs", "work_size_max", "largest /work that a user may ask for", [](C& c) -> auto& { return c.work_bytes_max; }, kMiB,
            protocol::kVolumeSizeMax),
        size(
            "jobs", "tmp_size_max", "largest /tmp that a user may ask for", [](C& c) -> auto& { return c.tmp_bytes_max; }, 64 * kKiB,
            protocol::kVolumeSizeMax),
        size(
            "jobs", "log_size", "what the log of a detached job keeps", [](C& c) -> auto& { return c.log_bytes; }, 64 * kKiB,
            protocol::kVolumeSizeMax),
        size(
            "jobs", "log_size_max", "largest log that a user may ask for", [](C& c) -> auto& { return c.log_bytes_max; }, 64 * kKiB,
            protocol::kVolumeSizeMax),
        resource(
            "memory",
            "memory of a job that does not ask, none of it swapped away unless asked for; built-in: half of the host's, where it can be "
            "held",
            [](C& c) -> auto& { return c.memory; }, &JobResource::value, kMemoryWords),
        resource(
            "memory_max", "most memory that a user may ask for", [](C& c) -> auto& { return c.memory; }, &JobResource::most, kMemoryWords),
        resource(
            "processes", "processes and threads of a job that does not ask; built-in: 4096, where it can be held",
            [](C& c) -> auto& { return c.processes; }, &JobResource::value, kProcessWords),
        resource(
            "processes_max", "most processes that a user may ask for", [](C& c) -> auto& { return c.processes; }, &JobResource::most,
            kProcessWords),
        resource(
            "cpus", "CPUs' time that a job may use if it does not ask, such as 1.5; built-in: all there is",
            [](C& c) -> auto& { return c.cpus; }, &JobResource::value, kCpuWords),
        resource(
            "cpus_max", "most CPUs that a user may ask for", [](C& c) -> auto& { return c.cpus; }, &JobResource::most, kCpuWords),
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
        audit_sync(),
        size(
            "audit", "file_size", "a longer audit.jsonl is put aside under the number of its last record, and a new one begun",
            [](C& c) -> auto& { return c.audit_file_bytes; }, kMiB),
        required_controllers(),
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
