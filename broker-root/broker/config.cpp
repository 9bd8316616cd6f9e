#include "broker-root/broker/config.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "broker-root/broker/config_keys.h"
#include "broker-root/layout.h"
#include "shared/name.h"

namespace joblet {

namespace {

struct CloseFile {
    void operator()(FILE* file) const {
        std::fclose(file); // NOLINT(cppcoreguidelines-owning-memory): unique_ptr is the owner
    }
};
using File = std::unique_ptr<FILE, CloseFile>;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

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

// NAME = "/path", or NAME = { path = "/path", proc = "masked" }.
std::optional<Base> read_base(const toml::node& node) {
    Base base;
    const auto* table = node.as_table();
    const auto path = table != nullptr ? table->get_as<std::string>("path") : node.as_string();
    if (path == nullptr || path->get().size() < 2 || path->get().front() != '/' || path->get().contains('\0')) {
        return std::nullopt;
    }
    base.directory = path->get();
    for (std::size_t known = 1; table != nullptr && known < table->size(); ++known) {
        const auto* proc = table->get_as<std::string>("proc");
        if (proc == nullptr || table->size() > 2 || (proc->get() != "pids" && proc->get() != "masked")) {
            return std::nullopt;
        }
        base.proc = proc->get() == "masked" ? protocol::ProcKind::Masked : protocol::ProcKind::Pids;
    }
    return base;
}

std::expected<void, std::string> read_bases(const toml::table& table, const std::function<std::string(const toml::node&)>& where,
                                            BrokerConfig& config) {
    for (const auto& [name, node] : table) {
        const auto base = read_base(node);
        if (!is_valid_name(name.str()) || !base) {
            return std::unexpected(
                where(node) +
                fmt::format(
                    "bases.{}: a name of {} and the absolute path of a directory in quotes are allowed, or {{ path = \"/…\", proc = "
                    "\"pids\" or \"masked\" }}",
                    name.str(), kNameForms));
        }
        config.bases[std::string(name.str())] = *base;
        if (config.bases.size() > protocol::kBasesMax) {
            return std::unexpected(where(node) +
                                   fmt::format("bases: {} of them, minimal and host counted, are allowed", protocol::kBasesMax));
        }
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

// A user who may ask for so much must not have more by asking for nothing.
bool settle(JobResource& resource) {
    if (resource.most == 0) {
        return true;
    }
    if (!resource.is_given) {
        resource.value = resource.value == 0 ? resource.most : std::min(resource.value, resource.most);
        resource.is_given = true;
    }
    return resource.value != 0 && resource.value <= resource.most;
}

// Half of it: what is in memory volumes cannot be swapped away everywhere, and the jobs themselves need some, too.
std::uint64_t half_of_memory() {
    struct sysinfo host{};
    return ::sysinfo(&host) == 0 ? std::uint64_t{host.totalram} * host.mem_unit / 2 : kMiB;
}

// As TOML has it, quotes included.
std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
        } else {
            out += c == '"' || c == '\\' ? "\\" : "";
            out += c;
        }
    }
    return out + "\"";
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

BrokerConfig defaults_below(const std::string& root) {
    const Layout layout{root};
    BrokerConfig config;
    config.bases["minimal"].directory = layout.minimal_base();
    config.bases["host"] = {layout.host_base(), protocol::ProcKind::Masked, true};
    config.memory_budget = half_of_memory();
    config.memory.value = half_of_memory();
    return config;
}

} // namespace

std::expected<BrokerConfig, std::string> load_broker_config(const std::string& root) {
    const std::string path = Layout{root}.configuration() + "/broker.toml";
    const auto text = read_file(path);
    if (!text) {
        if (text.error() == ENOENT) {
            return defaults_below(root);
        }
        return std::unexpected(fmt::format("{}: cannot be read: {}", path, std::strerror(text.error())));
    }
    return parse_broker_config(*text, path, root);
}

std::expected<BrokerConfig, std::string> parse_broker_config(std::string_view text, const std::string& path, const std::string& root) {
    BrokerConfig config = defaults_below(root);
    const toml::parse_result parsed = toml::parse(text);
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
            return std::unexpected(at(section.source()) + fmt::format("'{}' is unknown; the sections socket, admins, workers, slots, jobs, "
                                                                      "bases, volumes, audit, cgroups, limits and users are "
                                                                      "allowed",
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
    if (config.work_bytes > config.work_bytes_max || config.tmp_bytes > config.tmp_bytes_max || config.log_bytes > config.log_bytes_max) {
        return std::unexpected(
            fmt::format("{}: in [jobs], work_size, tmp_size and log_size must not be larger than the same with _max", path));
    }
    if (!settle(config.memory) || !settle(config.processes) || !settle(config.cpus)) {
        return std::unexpected(
            fmt::format("{}: in [jobs], memory, processes and cpus must not be more than the same with _max, or \"none\" beside it", path));
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
    for (const auto& [name, base] : config.bases) {
        if (!base.is_host) { // which has no directory to be named
            out += fmt::format("{} = {{ path = {}, proc = \"{}\" }}\n", quoted(name), quoted(base.directory),
                               base.proc == protocol::ProcKind::Masked ? "masked" : "pids");
        }
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
