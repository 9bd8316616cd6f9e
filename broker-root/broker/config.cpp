#include "broker-root/broker/config.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "broker-root/jobletd/supervision.h"
#include "broker-root/layout.h"
#include "shared/duration.h"
#include "shared/name.h"
#include "shared/size.h"

namespace joblet {

namespace {

// An error is what is allowed, as the end of "KEY: … is allowed".
using Read = std::function<std::expected<void, std::string>(const toml::node&, BrokerConfig&)>;
using Print = std::function<std::string(BrokerConfig&)>;

struct Key {
    std::string_view section;
    std::string_view name;
    std::string_view comment;
    Read read;
    Print print;
};

struct CloseFile {
    void operator()(FILE* file) const {
        std::fclose(file); // NOLINT(cppcoreguidelines-owning-memory): unique_ptr is the owner
    }
};
using File = std::unique_ptr<FILE, CloseFile>;

// Local accounts only: these programs are static, and a name service must not be able to say who is an admin.
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

const Key* find_key(const std::vector<Key>& keys, std::string_view section, std::string_view name) {
    const auto found = std::ranges::find_if(keys, [&](const Key& key) { return key.section == section && key.name == name; });
    return found == keys.end() ? nullptr : &*found;
}

std::string allowed_in(const std::vector<Key>& keys, std::string_view section) {
    std::string out;
    for (const Key& key : keys) {
        if (key.section == section) {
            out += (out.empty() ? "" : ", ") + std::string(key.name);
        }
    }
    return out;
}

std::expected<void, std::string> read_bases(const toml::table& table, const std::function<std::string(const toml::node&)>& where,
                                            BrokerConfig& config) {
    for (const auto& [name, node] : table) {
        const auto path = node.value_exact<std::string>();
        if (!is_valid_name(name.str()) || !path || path->size() < 2 || path->front() != '/') {
            return std::unexpected(
                where(node) +
                fmt::format("bases.{}: a name of {} and the absolute path of a directory in quotes are allowed", name.str(), kNameForms));
        }
        config.bases[std::string(name.str())] = *path;
    }
    return {};
}

// [users.1000], [users.alice]: the keys of [limits]; what is not said is as in [limits].
std::expected<void, std::string> read_users(const toml::table& table, const std::function<std::string(const toml::source_region&)>& at,
                                            const std::vector<Key>& keys, BrokerConfig& config) {
    for (const auto& [name, node] : table) {
        const std::string text(name.str());
        std::uint32_t uid = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid);
        const bool is_number = error == std::errc{} && end == text.data() + text.size() && uid != 0xffffffffU;
        const auto known = is_number ? std::optional(uid) : user_named(text);
        const auto* limits = node.as_table();
        if (!known || limits == nullptr) {
            return std::unexpected(
                at(name.source()) +
                fmt::format("users.{}: a user id or the name of a user in /etc/passwd, with keys of [limits], is allowed", text));
        }
        BrokerConfig scratch;
        scratch.limits = config.limits;
        for (const auto& [limit, value] : *limits) {
            const Key* key = find_key(keys, "limits", limit.str());
            if (key == nullptr) {
                return std::unexpected(at(limit.source()) + fmt::format("'{}' is unknown in [users.{}]; {} are allowed", limit.str(), text,
                                                                        allowed_in(keys, "limits")));
            }
            if (auto done = key->read(value, scratch); !done) {
                return std::unexpected(at(limit.source()) + fmt::format("users.{}.{}: {} is allowed", text, limit.str(), done.error()));
            }
        }
        if (!config.users.emplace(*known, scratch.limits).second) {
            return std::unexpected(at(name.source()) + fmt::format("users.{}: limits of this user are given twice; once is allowed", text));
        }
    }
    return {};
}

// Half of it: what is in memory volumes cannot be swapped away everywhere, and the jobs themselves need some, too.
std::uint64_t default_memory_budget() {
    struct sysinfo host{};
    return ::sysinfo(&host) == 0 ? std::uint64_t{host.totalram} * host.mem_unit / 2 : kMiB;
}

std::expected<std::string, int> read_file(const std::string& path) {
    const File file(std::fopen(path.c_str(), "re"));
    if (!file) {
        return std::unexpected(errno);
    }
    std::string text;
    std::array<char, 4096> part{};
    for (std::size_t got = 0; (got = std::fread(part.data(), 1, part.size(), file.get())) > 0;) {
        text.append(part.data(), got);
    }
    return std::ferror(file.get()) != 0 ? std::unexpected(EIO) : std::expected<std::string, int>(std::move(text));
}

} // namespace

std::expected<BrokerConfig, std::string> load_broker_config(const std::string& root) {
    const Layout layout{root};
    const std::string path = layout.configuration() + "/broker.toml";
    BrokerConfig config;
    config.bases["minimal"] = layout.minimal_base();
    config.memory_budget = default_memory_budget();
    const auto text = read_file(path);
    if (!text) {
        if (text.error() == ENOENT) {
            return config;
        }
        return std::unexpected(fmt::format("{}: cannot be read: {}", path, std::strerror(text.error())));
    }
    const toml::parse_result parsed = toml::parse(*text);
    const auto at = [&path](const toml::source_region& region) { return fmt::format("{}:{}: ", path, region.begin.line); };
    if (!parsed) {
        return std::unexpected(at(parsed.error().source()) + std::string(parsed.error().description()));
    }
    const auto keys = make_keys();
    for (const auto& [section, content] : parsed.table()) {
        const auto* table = content.as_table();
        const bool known = section.str() == "bases" || section.str() == "users" ||
                           std::ranges::any_of(keys, [&section](const Key& key) { return key.section == section.str(); });
        if (table == nullptr || !known) {
            return std::unexpected(
                at(section.source()) +
                fmt::format(
                    "'{}' is unknown; the sections socket, admins, workers, slots, jobs, bases, volumes, limits and users are allowed",
                    section.str()));
        }
        if (section.str() == "bases") {
            if (auto done = read_bases(*table, [&at](const toml::node& node) { return at(node.source()); }, config); !done) {
                return std::unexpected(done.error());
            }
            continue;
        }
        if (section.str() == "users") {
            continue; // when the limits they start from are known
        }
        for (const auto& [name, node] : *table) {
            const Key* key = find_key(keys, section.str(), name.str());
            if (key == nullptr) {
                return std::unexpected(at(name.source()) + fmt::format("'{}' is unknown in [{}]; {} are allowed", name.str(), section.str(),
                                                                       allowed_in(keys, section.str())));
            }
            if (auto done = key->read(node, config); !done) {
                return std::unexpected(at(name.source()) + fmt::format("{}.{}: {} is allowed", section.str(), name.str(), done.error()));
            }
        }
    }
    if (const auto* users = parsed.table()["users"].as_table()) {
        if (auto done = read_users(*users, at, keys, config); !done) {
            return std::unexpected(done.error());
        }
    }
    const std::uint64_t slots_end = std::uint64_t{config.slot_first} + std::uint64_t{config.slot_count} * kSlotIds;
    if (config.slot_first % kSlotIds != 0 || slots_end > kForeignFirst) {
        return std::unexpected(
            fmt::format("{}: slots.first must be a multiple of 65536, and the slots must end at or below {}", path, kForeignFirst));
    }
    return config;
}

std::string print_broker_config(const BrokerConfig& config) {
    BrokerConfig copy = config; // the table's accessors serve reading and printing
    std::string out = "# broker.toml: what may be had on this host. Every key, with its value in force.\n";
    std::string_view section;
    for (const Key& key : make_keys()) {
        if (key.section != section) {
            section = key.section;
            out += fmt::format("\n[{}]\n", section);
        }
        out += fmt::format("# {}\n{} = {}\n", key.comment, key.name, key.print(copy));
    }
    out += "\n[bases]\n# directories whose bin, sbin, lib, lib64, usr and etc a job sees, read-only: name = \"/absolute/path\"\n";
    for (const auto& [name, path] : config.bases) {
        out += fmt::format("{} = \"{}\"\n", name, path);
    }
    for (const auto& [uid, limits] : config.users) {
        copy.limits = limits;
        out += fmt::format("\n[users.{}]\n", uid);
        for (const Key& key : make_keys()) {
            if (key.section == "limits") {
                out += fmt::format("{} = {}\n", key.name, key.print(copy));
            }
        }
    }
    return out;
}

} // namespace joblet
