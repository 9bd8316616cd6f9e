// broker.toml and api.toml. The input is the text of one of them; its first byte says which.
#include <string>

#include "api-unpriv/config.h"
#include "broker-root/broker/config.h"
#include "broker-root/jobletd/supervision.h"
#include "broker-root/layout.h"
#include "shared/host_uids.h"
#include "shared/name.h"
#include "tests/fuzz/fuzz.h"

using namespace joblet;
using joblet::fuzz::require;

namespace {

constexpr const char* kRoot = "/root-of-it";

bool is_bounded(std::uint64_t bytes, std::uint64_t least) {
    return bytes >= least && bytes <= INT64_MAX;
}

void check(const JobResource& resource, std::uint64_t least, std::uint64_t most) {
    require(resource.value == 0 || (resource.value >= least && resource.value <= most), "a resource is none, or one that can be held");
    require(resource.most == 0 || (resource.most >= least && resource.most <= most), "and so is the most of it");
    require(resource.most == 0 || (resource.value != 0 && resource.value <= resource.most), "nobody has more than the most by not asking");
}

void check(const BrokerConfig& config) {
    require(config.socket_mode <= 0777 && config.workers >= 1 && config.workers <= kWorkersMax, "numbers are within their bounds");
    require(config.order_seconds >= 5 && config.order_seconds <= 3600, "an order takes a time that can be waited for");
    require(config.slot_first % kSlotIds == 0 && config.slot_first >= kSlotIds && config.slot_count >= 1 &&
                std::uint64_t{config.slot_first} + std::uint64_t{config.slot_count} * kSlotIds <= kForeignFirst,
            "slots are neither the host's first ids nor the foreign range");
    constexpr std::uint64_t kPebibyte = std::uint64_t{1} << 50U;
    for (const auto bytes : {config.work_bytes, config.tmp_bytes, config.shm_bytes, config.log_bytes}) {
        require(bytes >= 64 << 10U && bytes <= kPebibyte, "scratch space is bounded, as the orders want it");
    }
    require(config.work_bytes <= config.work_bytes_max && config.tmp_bytes <= config.tmp_bytes_max &&
                config.log_bytes <= config.log_bytes_max,
            "nobody has more than the most by not asking");
    check(config.memory, protocol::kMemoryMin, INT64_MAX);
    check(config.processes, protocol::kProcessesMin, protocol::kProcessesMax);
    check(config.cpus, protocol::kCpuMilliMin, protocol::kCpuMilliMax);
    require(!config.bases.empty() && config.bases.size() <= protocol::kBasesMax, "there are as many bases as a list has room for");
    for (const auto& [name, base] : config.bases) {
        require(is_valid_name(name) && base.directory.starts_with("/"), "a base has a name and a directory");
        require(base.directory.find('\0') == std::string::npos, "a directory is the one that is written there");
    }
    require(config.trash_retention.count() >= 0 && config.trash_retention.count() <= INT64_MAX / 1'000'000'000, "times can be added");
    require(config.cleaner_interval.count() >= 1 && config.memory_volume_timeout.count() >= 0, "times can be waited for");
    require(is_bounded(config.memory_budget, 1) && is_bounded(config.audit_file_bytes, 1 << 20U), "sizes are bounded");
    require((config.required_controllers & ~protocol::kControllersAll) == 0, "controllers are known");
    const auto check_limits = [](const UserLimits& limits) {
        require(is_bounded(limits.total_bytes, 1) && is_bounded(limits.largest_volume, 1) && is_bounded(limits.attached_memory, 1) &&
                    limits.connections >= 1,
                "limits of users are bounded");
    };
    check_limits(config.limits);
    for (const auto& [uid, limits] : config.users) {
        require(uid != 0xffffffffU, "a user is one");
        check_limits(limits);
    }
}

void check_broker(std::string_view text) {
    const auto config = parse_broker_config(text, "broker.toml", kRoot);
    if (!config) {
        require(config.error().starts_with("broker.toml:"), "an error says where");
        return;
    }
    check(*config);
    const std::string printed = print_broker_config(*config);
    const auto again = parse_broker_config(printed, "broker.toml", kRoot);
    if (!again) {
        std::fprintf(stderr, "%s\n%s\n", again.error().c_str(), printed.c_str());
    }
    require(again.has_value(), "what is printed can be read");
    require(print_broker_config(*again) == printed, "what is printed means the same");
}

void check_api(std::string_view text) {
    const auto config = api::parse_api_config(text, "api.toml");
    if (!config) {
        require(config.error().starts_with("api.toml:"), "an error says where");
        return;
    }
    require(config->max_message_bytes >= 64 * kKiB && config->max_message_bytes <= 64 * kMiB, "messages are bounded");
    require(config->max_unread_bytes >= 64 * kKiB && config->max_unread_bytes <= kGiB, "answers are bounded");
    require(config->unread_seconds >= 1 && config->unread_seconds <= 3600, "a time that can be waited for");
    require(config->calls_per_connection >= 1 && config->calls_per_connection <= 4096 && config->waits_per_connection >= 1 &&
                config->waits_per_connection <= 4096,
            "calls are bounded");
    const std::string printed = api::print_api_config(*config);
    const auto again = api::parse_api_config(printed, "api.toml");
    require(again.has_value() && api::print_api_config(*again) == printed, "what is printed can be read, and means the same");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const bool broker = input.take<char>() != 'a';
    broker ? check_broker(input.rest()) : check_api(input.rest());
    return 0;
}
