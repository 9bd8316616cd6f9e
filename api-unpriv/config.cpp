#include "api-unpriv/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "broker-root/layout.h"
#include "shared/fd.h"
#include "shared/toml.h"

namespace joblet::api {

namespace {

using Read = std::expected<void, std::string>; // an error is what is allowed

struct Key {
    std::string_view section;
    std::string_view name;
    std::string_view comment;
    std::function<Read(const toml::node&, ApiConfig&)> read;
    std::function<std::string(const ApiConfig&)> print;
};

using NumberField = std::uint64_t ApiConfig::*;

Key number_key(std::string_view section, std::string_view name, std::string_view comment, NumberField field, std::uint64_t low,
               std::uint64_t high) {
    return {section, name, comment,
            [=](const toml::node& node, ApiConfig& config) -> Read {
                const auto value = node.value_exact<std::int64_t>();
                if (!value || *value < 0 || static_cast<std::uint64_t>(*value) < low || static_cast<std::uint64_t>(*value) > high) {
                    return std::unexpected(fmt::format("a whole number from {} to {}", low, high));
                }
                config.*field = static_cast<std::uint64_t>(*value);
                return {};
            },
            [=](const ApiConfig& config) { return std::to_string(config.*field); }};
}

Key size_key(std::string_view section, std::string_view name, std::string_view comment, NumberField field, std::uint64_t low,
             std::uint64_t high) {
    return {section, name, comment,
            [=](const toml::node& node, ApiConfig& config) -> Read {
                const auto text = node.value_exact<std::string>();
                const auto bytes = text ? parse_size(*text) : std::unexpected(SizeError::NotANumber);
                if (!bytes || *bytes < low || *bytes > high) {
                    return std::unexpected(
                        fmt::format("a size in quotes from {} to {}: {}", format_size(low), format_size(high), kSizeForms));
                }
                config.*field = *bytes;
                return {};
            },
            [=](const ApiConfig& config) {
                const std::uint64_t bytes = config.*field;
                return bytes % kMiB == 0 ? fmt::format("\"{}MiB\"", bytes / kMiB) : fmt::format("\"{}\"", bytes);
            }};
}

template <class Enum, std::size_t N>
Key word_key(std::string_view section, std::string_view name, std::string_view comment, Enum ApiConfig::* field,
             const std::array<std::pair<std::string_view, Enum>, N>& words) {
    return {section, name, comment,
            [=](const toml::node& node, ApiConfig& config) -> Read {
                const auto text = node.value_exact<std::string>();
                std::string allowed;
                for (const auto& [word, value] : words) {
                    if (text && *text == word) {
                        config.*field = value;
                        return {};
                    }
                    allowed += fmt::format("{}\"{}\"", allowed.empty() ? "" : " or ", word);
                }
                return std::unexpected(allowed);
            },
            [=](const ApiConfig& config) {
                const auto found = std::ranges::find(words, config.*field, &std::pair<std::string_view, Enum>::second);
                return fmt::format("\"{}\"", found == words.end() ? "" : found->first);
            }};
}

constexpr std::array<std::pair<std::string_view, log::Level>, 3> kLevels = {
    {{"info", log::Level::Info}, {"warning", log::Level::Warning}, {"error", log::Level::Error}}};
constexpr std::array<std::pair<std::string_view, Synchronous>, 3> kSynchronous = {
    {{"off", Synchronous::Off}, {"normal", Synchronous::Normal}, {"full", Synchronous::Full}}};

// In the order in which they are printed; keys of one section together.
std::vector<Key> make_keys() {
    using C = ApiConfig;
    return {
        word_key("log", "level", "what is written to the log: everything from this level on", &C::log_level, kLevels),
        word_key("database", "synchronous",
                 "how joblet.db survives a loss of power: \"normal\" may lose the last moments of the job history, \"full\" waits for the\n"
                 "# disk at each commit, \"off\" may lose the file; volumes are never lost with it, they are rebuilt from the records",
                 &C::synchronous, kSynchronous),
        number_key("history", "ended_jobs_per_user", "ended jobs that are remembered for each user; the oldest go first",
                   &C::ended_jobs_per_user, 1, 100'000),
        number_key("history", "ended_jobs", "ended jobs that are remembered for all users together", &C::ended_jobs, 1, 1'000'000),
        size_key("rpc", "max_message", "largest message of a client; one that sends a larger one loses its connection",
                 &C::max_message_bytes, 64 * kKiB, 64 * kMiB),
        size_key("rpc", "max_unread", "answers that may wait for a client to read them; beyond it, its requests are not read",
                 &C::max_unread_bytes, 64 * kKiB, kGiB),
        number_key("rpc", "unread_seconds", "a client that reads nothing for so long while answers wait loses its connection",
                   &C::unread_seconds, 1, 3600),
        number_key("rpc", "calls_per_connection", "calls under way at once on one connection; more are refused", &C::calls_per_connection,
                   1, 4096),
        number_key("rpc", "waits_per_connection", "of these, calls that wait for the end of a job", &C::waits_per_connection, 1, 4096),
    };
}

std::string sections_of(const std::vector<Key>& keys) {
    std::vector<std::string_view> names;
    for (const auto& key : keys) {
        if (names.empty() || names.back() != key.section) {
            names.push_back(key.section);
        }
    }
    return fmt::format("{}", fmt::join(names, ", "));
}

std::string names_in(const std::vector<Key>& keys, std::string_view section) {
    std::vector<std::string_view> names;
    for (const auto& key : keys) {
        if (key.section == section) {
            names.push_back(key.name);
        }
    }
    return fmt::format("{}", fmt::join(names, ", "));
}

constexpr std::size_t kFileMax = 1 << 20; // bytes; a configuration is never near it

std::expected<std::string, int> read_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file.valid()) {
        return std::unexpected(errno);
    }
    std::string text;
    std::array<char, 4096> part{};
    for (;;) {
        const ssize_t got = ::read(file.get(), part.data(), part.size());
        if (got < 0) {
            return std::unexpected(errno);
        }
        if (got == 0) {
            return text;
        }
        text.append(part.data(), static_cast<std::size_t>(got));
        if (text.size() > kFileMax) {
            return std::unexpected(EFBIG);
        }
    }
}

} // namespace

std::expected<ApiConfig, std::string> parse_api_config(std::string_view text, const std::string& path) {
    const auto at = [&path](const toml::source_region& region) { return fmt::format("{}:{}: ", path, region.begin.line); };
    const toml::parse_result parsed = toml::parse(text);
    if (!parsed) {
        return std::unexpected(at(parsed.error().source()) + std::string(parsed.error().description()) +
                               "; lines of the form KEY = VALUE below a [SECTION] are allowed");
    }
    ApiConfig config;
    const auto keys = make_keys();
    for (const auto& [section, content] : parsed.table()) {
        const bool known = std::ranges::any_of(keys, [&section](const Key& key) { return key.section == section.str(); });
        if (!known || !content.is_table()) {
            return std::unexpected(at(section.source()) +
                                   fmt::format("'{}' is not known; the sections {} are allowed", section.str(), sections_of(keys)));
        }
        for (const auto& [name, node] : *content.as_table()) {
            const auto key =
                std::ranges::find_if(keys, [&](const Key& row) { return row.section == section.str() && row.name == name.str(); });
            if (key == keys.end()) {
                return std::unexpected(at(name.source()) + fmt::format("'{}' is not known in [{}]; the keys {} are allowed", name.str(),
                                                                       section.str(), names_in(keys, section.str())));
            }
            if (const auto done = key->read(node, config); !done) {
                return std::unexpected(at(name.source()) + fmt::format("{}.{}: {} is allowed", section.str(), name.str(), done.error()));
            }
        }
    }
    return config;
}

std::expected<ApiConfig, std::string> load_api_config(const std::string& root) {
    const std::string path = Layout{root}.configuration() + "/api.toml";
    const auto text = read_file(path);
    if (!text) {
        if (text.error() == ENOENT) {
            return ApiConfig{};
        }
        return std::unexpected(fmt::format("{}: cannot be read: {}", path, std::strerror(text.error())));
    }
    return parse_api_config(*text, path);
}

std::string print_api_config(const ApiConfig& config) {
    std::string out = "# api.toml: how the public interface is served. Every key, with its value in force.\n";
    std::string_view section;
    for (const Key& key : make_keys()) {
        if (key.section != section) {
            section = key.section;
            out += fmt::format("\n[{}]\n", section);
        }
        out += fmt::format("# {}\n{} = {}\n", key.comment, key.name, key.print(config));
    }
    return out;
}

} // namespace joblet::api
