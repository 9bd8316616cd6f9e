#include "api-unpriv/jobs/request.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "api-unpriv/io_limits.h"
#include "shared/size.h"

namespace joblet::api {

namespace {

std::uint32_t flags_of(const JobOptions& options) {
    return (options.detached ? protocol::kStartDetached : 0) | (options.host_network ? protocol::kStartHostNetwork : 0) |
           (options.read_only_work ? protocol::kStartReadOnlyWork : 0) | (options.dry_run ? protocol::kStartDryRun : 0);
}

struct Number {
    std::string_view field;
    std::string_view what;
    std::uint64_t value;
    std::uint64_t least;
    std::uint64_t most = protocol::kVolumeSizeMax;
};

// 0 asks for nothing.
bool is_within(const Number& number) {
    return number.value == 0 || (number.value >= number.least && number.value <= number.most);
}

Outcome<void> check(const WantedLimits& limits) {
    for (const auto& number : {Number{"limits.memoryBytes", "limit of memory", limits.memory_bytes, protocol::kMemoryMin},
                               Number{"limits.swapBytes", "limit of swap", limits.swap_bytes, 0}}) {
        if (!is_within(number)) {
            return std::unexpected(invalid(number.field, fmt::format("a {} is {} to {}, not {} bytes", number.what,
                                                                     format_size(number.least), format_size(number.most), number.value)));
        }
    }
    for (const auto& number :
         {Number{"limits.processes", "number of processes", limits.processes, protocol::kProcessesMin, protocol::kProcessesMax},
          Number{"limits.cpuMilli", "number of thousandths of a CPU", limits.cpu_milli, protocol::kCpuMilliMin, protocol::kCpuMilliMax}}) {
        if (!is_within(number)) {
            return std::unexpected(
                invalid(number.field, fmt::format("the {} is {} to {}, not {}", number.what, number.least, number.most, number.value)));
        }
    }
    return check_io("limits.io", limits.io);
}

// As the broker decodes them: what does not decode there would be fatal.
Outcome<void> check(const JobOptions& options) {
    for (const auto& [field, id] : {std::pair{"user", options.user}, std::pair{"group", options.group}}) {
        if (id > protocol::kInnerIdMax) {
            return std::unexpected(
                invalid(field, fmt::format("the {} inside a job is a number up to {}, not {}", field, protocol::kInnerIdMax, id)));
        }
    }
    if (options.timeout_ns > protocol::kTimeoutMax) {
        return std::unexpected(invalid("timeoutNs", "the timeout is longer than a year"));
    }
    for (const auto& number : {Number{"workBytes", "size of /work", options.work_bytes, protocol::kScratchMin},
                               Number{"tmpBytes", "size of /tmp", options.tmp_bytes, protocol::kScratchMin},
                               Number{"logMaxBytes", "size of the log", options.log_bytes, protocol::kLogMin}}) {
        if (!is_within(number)) {
            return std::unexpected(
                invalid(number.field, fmt::format("the {} is {} to {}, not {} bytes", number.what, format_size(number.least),
                                                  format_size(protocol::kVolumeSizeMax), number.value)));
        }
    }
    if (!options.detached && options.log_bytes != 0) {
        return std::unexpected(invalid("logMaxBytes", "only a detached job has a log"));
    }
    if (!options.detached && options.remove_at_end) {
        return std::unexpected(
            invalid("removeAfterwards", "only a detached job can be removed at its end", "remove another one when its exit was seen"));
    }
    return check(options.limits);
}

} // namespace

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

Outcome<protocol::StartJob> start_request(std::string_view base, std::string_view host_name, const std::vector<UsedVolume>& volumes,
                                          const JobOptions& options) {
    if (!is_valid_name(base)) {
        return std::unexpected(invalid("base", "the name of the base is not valid", fmt::format("a name is {}", kNameForms)));
    }
    if (!host_name.empty() && !is_valid_name(host_name)) {
        return std::unexpected(invalid("hostName", "the host name is not valid", fmt::format("a host name is {}", kNameForms)));
    }
    if (auto sound = check(options); !sound) {
        return std::unexpected(sound.error());
    }
    protocol::StartJob request;
    request.base = NameText(base);
    request.host_name = NameText(host_name);
    request.timeout_ns = options.timeout_ns;
    request.work_bytes = options.work_bytes;
    request.tmp_bytes = options.tmp_bytes;
    request.log_bytes = options.log_bytes;
    request.memory_bytes = options.limits.memory_bytes;
    request.swap_bytes = options.limits.swap_bytes;
    request.processes = options.limits.processes;
    request.cpu_milli = options.limits.cpu_milli;
    request.io = options.limits.io;
    request.user = options.user;
    request.group = options.group;
    request.flags = flags_of(options);
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
