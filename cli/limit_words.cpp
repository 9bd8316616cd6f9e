#include "cli/limit_words.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "shared/protocol.h"
#include "shared/size.h"

namespace joblet::cli {
namespace {

constexpr std::uint64_t kCountMax = std::numeric_limits<std::uint64_t>::max() - 1; // the last one is kNoSoftLimit

std::uint64_t take_inodes(std::string_view what, std::string_view text) {
    return take_count(what, text, 1, kCountMax);
}

// `soft` and `hard` are shown as they were typed. 0: not given.
void check_below(std::string_view option, std::uint64_t soft, std::uint64_t hard, std::string_view soft_text, std::string_view hard_text) {
    if (soft != 0 && soft != kNoSoftLimit && hard != 0 && soft >= hard) {
        throw Refused{invalid("the soft limit " + in_quotes(soft_text) + " is not below the hard one, " + in_quotes(hard_text),
                              "a soft limit warns before the hard one is met: give a lower --" + std::string(option))};
    }
}

} // namespace

std::uint64_t take_count(std::string_view what, std::string_view text, std::uint64_t least, std::uint64_t most) {
    if (text.empty()) {
        return 0;
    }
    const auto count = parse_number<std::uint64_t>(text);
    if (!count || *count < least || *count > most) {
        throw Refused{invalid("the " + std::string(what) + " " + in_quotes(text) + " is not valid",
                              least == 1
                                  ? "it is a whole number above zero, for example 10000"
                                  : "it is a whole number, at least " + std::to_string(least) + " and at most " + std::to_string(most))};
    }
    return *count;
}

std::uint64_t take_size_within(std::string_view what, std::string_view text, std::uint64_t least, std::uint64_t most) {
    if (text.empty()) {
        return 0;
    }
    const auto size = take_size(what, text);
    if (size < least || size > most) {
        throw Refused{invalid("the " + std::string(what) + " " + in_quotes(text) + " is not possible",
                              "it is at least " + format_size(least) + " and at most " + format_size(most))};
    }
    return size;
}

std::uint64_t take_cpus(std::string_view text) {
    if (text.empty()) {
        return 0;
    }
    constexpr std::size_t kPlaces = 3;
    constexpr std::uint64_t kThousand = 1000;
    const auto point = text.find('.');
    const auto whole = parse_number<std::uint64_t>(text.substr(0, point));
    std::string places(point == std::string_view::npos ? "0" : text.substr(point + 1));
    const bool is_exact = !places.empty() && places.size() <= kPlaces;
    places.resize(std::max(kPlaces, places.size()), '0');
    const auto part = parse_number<std::uint64_t>(places);
    const bool is_number = whole && part && is_exact && *whole <= protocol::kCpuMilliMax / kThousand;
    const auto milli = is_number ? *whole * kThousand + *part : 0;
    if (milli < protocol::kCpuMilliMin || milli > protocol::kCpuMilliMax) {
        throw Refused{invalid("the number of CPUs " + in_quotes(text) + " is not valid",
                              "it is a number of at most three decimal places, at least 0.01 and at most 1000: 2, 1.5, 0.25")};
    }
    return milli;
}

void IoOptions::add_to(CLI::App& command, std::string_view begin, std::string_view end) {
    const auto what = [begin, end](std::string_view most) {
        return std::string(begin) + "at most so " + std::string(most) + " in a second, for each block device behind " + std::string(end);
    };
    add_value(command, "--read-bps", read_bps, "SIZE", what("much is read"));
    add_value(command, "--write-bps", write_bps, "SIZE", what("much is written"));
    add_value(command, "--read-iops", read_iops, "COUNT", what("many reads"));
    add_value(command, "--write-iops", write_iops, "COUNT", what("many writes"));
}

protocol::IoLimits IoOptions::take() const {
    const auto rate = [](std::string_view what, const std::string& text) {
        return take_size_within(what, text, protocol::kIoBytesMin, protocol::kIoLimitMax);
    };
    const auto operations = [](std::string_view what, const std::string& text) {
        return take_count(what, text, protocol::kIoOperationsMin, protocol::kIoLimitMax);
    };
    return {.read_bytes = rate("rate of reading", read_bps),
            .write_bytes = rate("rate of writing", write_bps),
            .read_operations = operations("number of reads", read_iops),
            .write_operations = operations("number of writes", write_iops)};
}

void JobLimitOptions::add_to(CLI::App& command) {
    add_value(command, "--memory", memory, "SIZE", "at most so much for its processes, /work, /tmp and memory volumes together");
    add_value(command, "--swap", swap, "SIZE", "at most so much swap besides the memory (default: none)");
    add_value(command, "--pids", processes, "COUNT", "at most so many processes and threads at one time, one of them ours");
    add_value(command, "--cpus", cpus, "NUMBER", "at most the time of so many CPUs: 2, 1.5, 0.25");
    io.add_to(command, "", "its volumes (default: the lowest limit of them)");
}

JobLimits JobLimitOptions::take() const {
    // What file systems can count is more than any host has
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return {.memory_bytes = take_size_within("size of memory", memory, protocol::kMemoryMin, kMost),
            .swap_bytes = take_size_within("size of swap", swap, 1, kMost),
            .processes = take_count("number of processes", processes, protocol::kProcessesMin, protocol::kProcessesMax),
            .cpu_milli = take_cpus(cpus),
            .io = io.take()};
}

void CapacityOptions::add_for_create(CLI::App& command) {
    add_value(command, "--size", size, "SIZE", "usable space: " + std::string(kSizeForms)).required();
    add_value(command, "--inodes", inodes, "COUNT", "how many files it can hold (default: as the backend does for this size)");
    add_value(command, "--soft-size", soft_size, "SIZE",
              "below --size: above it, writing goes on for a time of grace, then ends (backend project-quota)");
    add_value(command, "--soft-inodes", soft_inodes, "COUNT", "likewise below --inodes");
}

void CapacityOptions::take(VolumeCreate& create) const {
    create.size_bytes = take_size("size", size);
    create.inodes = take_inodes("number of inodes", inodes);
    create.soft_size_bytes = soft_size.empty() ? 0 : take_size("soft size", soft_size);
    create.soft_inodes = take_inodes("soft number of inodes", soft_inodes);
    check_below("soft-size", create.soft_size_bytes, create.size_bytes, soft_size, size);
    check_below("soft-inodes", create.soft_inodes, create.inodes, soft_inodes, inodes);
}

void CapacityOptions::add_for_resize(CLI::App& command) {
    add_value(command, "--size", size, "SIZE", "usable space from now on: " + std::string(kSizeForms));
    add_value(command, "--inodes", inodes, "COUNT", "how many files it can hold from now on");
    add_value(command, "--soft-size", soft_size, "SIZE|none",
              "above it, writing goes on for a time of grace, then ends; none: no such limit");
    add_value(command, "--soft-inodes", soft_inodes, "COUNT|none", "likewise, of files");
}

VolumeResize CapacityOptions::take_changes(std::string name) const {
    if (size.empty() && inodes.empty() && soft_size.empty() && soft_inodes.empty()) {
        throw Refused{invalid("nothing is given that shall change", "give --size, --inodes, --soft-size or --soft-inodes")};
    }
    VolumeResize changes{.name = std::move(name)};
    changes.size_bytes = size.empty() ? 0 : take_size("size", size);
    changes.inodes = take_inodes("number of inodes", inodes);
    changes.soft_size_bytes = soft_size == kNoneWord ? kNoSoftLimit : soft_size.empty() ? 0 : take_size("soft size", soft_size);
    changes.soft_inodes = soft_inodes == kNoneWord ? kNoSoftLimit : take_inodes("soft number of inodes", soft_inodes);
    check_below("soft-size", changes.soft_size_bytes, changes.size_bytes, soft_size, size);
    check_below("soft-inodes", changes.soft_inodes, changes.inodes, soft_inodes, inodes);
    return changes;
}

} // namespace joblet::cli
