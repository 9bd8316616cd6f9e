#include "api-unpriv/jobs/request.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

namespace joblet::api {

std::vector<std::string> environment_of(std::string_view host_name, const std::vector<std::string>& added) {
    std::vector<std::string> out;
    std::unordered_map<std::string_view, std::size_t> places; // views into `all`, which does not change below
    std::vector<std::string> all = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/work"};
    if (!host_name.empty()) {
        all.push_back(fmt::format("HOSTNAME={}", host_name));
    }
    all.insert(all.end(), added.begin(), added.end());
    for (const auto& variable : all) {
        const std::string_view name = std::string_view(variable).substr(0, variable.find('='));
        const auto [place, is_new] = places.try_emplace(name, out.size());
        if (is_new) {
            out.push_back(variable);
        } else {
            out[place->second] = variable;
        }
    }
    return out;
}

Outcome<protocol::StartJob> start_request(std::string_view base, std::string_view host_name, const std::vector<UsedVolume>& volumes) {
    if (!is_valid_name(base)) {
        return std::unexpected(invalid("base", "the name of the base is not valid", fmt::format("a name is {}", kNameForms)));
    }
    if (!host_name.empty() && !is_valid_name(host_name)) {
        return std::unexpected(invalid("hostName", "the host name is not valid", fmt::format("a host name is {}", kNameForms)));
    }
    protocol::StartJob request;
    request.base = NameText(base);
    request.host_name = NameText(host_name);
    request.volume_count = static_cast<std::uint32_t>(volumes.size());
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        auto& volume = request.volumes.at(i);
        volume.id = volumes[i].id;
        volume.target = TargetText(volumes[i].target);
        volume.access = volumes[i].read_only ? protocol::Access::ReadOnly : protocol::Access::ReadWrite;
    }
    return request;
}

std::vector<std::string> kept_command(const std::vector<std::string>& command) {
    std::vector<std::string> kept;
    std::size_t bytes = 0;
    for (const auto& argument : command) {
        bytes += argument.size() + 1;
        if (bytes > kCommandKept) {
            break;
        }
        kept.push_back(argument);
    }
    return kept;
}

} // namespace joblet::api
