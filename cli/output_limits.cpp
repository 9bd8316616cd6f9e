#include "cli/output_limits.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "shared/size.h"

namespace joblet::cli {
namespace {

constexpr std::string_view kNotLimited = "not limited";
constexpr std::uint64_t kThousand = 1000;

std::string rates_text(std::uint64_t bytes, std::uint64_t operations) {
    std::string text;
    if (bytes != 0) {
        text = format_size(bytes) + "/s";
    }
    if (operations != 0) {
        text += text.empty() ? "" : ", ";
        text += std::to_string(operations) + " operations/s";
    }
    return text.empty() ? std::string(kNotLimited) : text;
}

std::string joined(std::span<const std::string> words) {
    std::string text;
    for (const auto& word : words) {
        text += text.empty() ? "" : ", ";
        text += word;
    }
    return text;
}

// "2", "1.5", "0.01"
std::string cpus_text(std::uint64_t milli) {
    auto places = std::to_string(kThousand + milli % kThousand).substr(1);
    places.erase(places.find_last_not_of('0') + 1);
    return std::to_string(milli / kThousand) + (places.empty() ? "" : "." + places);
}

// Where memory is not held, swap is not either, and no number says that.
bool holds_swap(const LimitsView& limits) {
    return std::ranges::find(limits.controllers, "memory") != limits.controllers.end();
}

} // namespace

Json io_json(const protocol::IoLimits& io) {
    return {{"read_bytes", limit_or_null(io.read_bytes)},
            {"write_bytes", limit_or_null(io.write_bytes)},
            {"read_operations", limit_or_null(io.read_operations)},
            {"write_operations", limit_or_null(io.write_operations)}};
}

std::string reads_text(const protocol::IoLimits& io) {
    return rates_text(io.read_bytes, io.read_operations);
}

std::string writes_text(const protocol::IoLimits& io) {
    return rates_text(io.write_bytes, io.write_operations);
}

Json limits_json(const std::optional<LimitsView>& limits) {
    if (!limits) {
        return nullptr;
    }
    return {{"memory_bytes", limit_or_null(limits->memory_bytes)},
            {"swap_bytes", holds_swap(*limits) ? Json(limits->swap_bytes) : Json(nullptr)},
            {"processes", limit_or_null(limits->processes)},
            {"cpus", limits->cpu_milli == 0 ? Json(nullptr) : Json(static_cast<double>(limits->cpu_milli) / kThousand)},
            {"io", io_json(limits->io)},
            {"devices", limits->devices},
            {"controllers", limits->controllers}};
}

std::vector<std::pair<std::string, std::string>> limit_lines(const std::optional<LimitsView>& limits) {
    if (!limits) {
        return {};
    }
    const std::string none(kNotLimited);
    const auto swap = !holds_swap(*limits) ? none : limits->swap_bytes == 0 ? "none" : format_size(limits->swap_bytes);
    return {{"Memory", limits->memory_bytes == 0 ? none : format_size(limits->memory_bytes)},
            {"Swap", swap},
            {"Processes", limits->processes == 0 ? none : std::to_string(limits->processes)},
            {"CPUs", limits->cpu_milli == 0 ? none : cpus_text(limits->cpu_milli)},
            {"Reads", reads_text(limits->io)},
            {"Writes", writes_text(limits->io)},
            {"Devices", joined(limits->devices)},
            {"Controllers", joined(limits->controllers)}};
}

} // namespace joblet::cli
