// The keys of broker.toml: for each its section, what it means, how it is read and printed.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker-root/broker/config.h"
#include "shared/toml.h"

namespace joblet {

struct Key {
    // An error is what is allowed, as the end of "KEY: … is allowed".
    using Read = std::function<std::expected<void, std::string>(const toml::node&, BrokerConfig&)>;
    using Print = std::function<std::string(BrokerConfig&)>;

    std::string_view section;
    std::string_view name;
    std::string_view comment;
    Read read;
    Print print;
};

std::vector<Key> make_keys();

// Local accounts only: these programs are static, and a name service must not be able to say who is an admin.
std::optional<std::uint32_t> user_named(const std::string& name);

} // namespace joblet
