#include "cli/output_usage.h"

#include <algorithm>
#include <vector>

#include "cli/output.h"
#include "cli/structured.h"
#include "cli/table.h"
#include "shared/size.h"

namespace joblet::cli {
namespace {

Json to_json(const UsageView& usage) {
    return {{"id", usage.id},
            {"name", usage.name},
            {"owner", usage.owner},
            {"used_bytes", usage.used_bytes},
            {"size_bytes", limit_or_null(usage.size_bytes)},
            {"soft_size_bytes", limit_or_null(usage.soft_size_bytes)},
            {"used_inodes", usage.used_inodes},
            {"inodes", limit_or_null(usage.inodes)},
            {"soft_inodes", limit_or_null(usage.soft_inodes)},
            {"grace_ends", time_or_null(usage.grace_ends_ns)},
            {"inodes_grace_ends", time_or_null(usage.inodes_grace_ends_ns)}};
}

std::string size_or_none(std::uint64_t bytes) {
    return bytes == 0 ? "-" : format_size(bytes);
}

std::string count_or_none(std::uint64_t count) {
    return count == 0 ? "-" : std::to_string(count);
}

// Rounded down: only what is full is 100%.
std::string percent_of(std::uint64_t used, std::uint64_t limit) {
    constexpr double kWhole = 100;
    return limit == 0 ? "-"
                      : std::to_string(static_cast<std::uint64_t>(kWhole * static_cast<double>(used) / static_cast<double>(limit))) + "%";
}

// The first of both that ends writing; 0: none does.
std::int64_t writable_until(const UsageView& usage) {
    if (usage.grace_ends_ns == 0 || usage.inodes_grace_ends_ns == 0) {
        return std::max(usage.grace_ends_ns, usage.inodes_grace_ends_ns);
    }
    return std::min(usage.grace_ends_ns, usage.inodes_grace_ends_ns);
}

} // namespace

std::string render_usage(std::span<const UsageView> volumes, Format format, bool owners, std::optional<unsigned> width) {
    if (format != Format::Table) {
        auto list = Json::array();
        for (const auto& usage : volumes) {
            list.push_back(to_json(usage));
        }
        return structured_text(list, format);
    }
    TableColumn names = {"NAME"};
    TableColumn uids = {"OWNER"};
    TableColumn used = {"BYTES"};
    TableColumn soft = {"SOFT"};
    TableColumn hard = {"HARD"};
    TableColumn full = {"FULL"};
    TableColumn used_inodes = {"INODES"};
    TableColumn soft_inodes = {"SOFT"};
    TableColumn hard_inodes = {"HARD"};
    TableColumn until = {"WRITABLE UNTIL"};
    for (const auto& usage : volumes) {
        names.push_back(printable(usage.name));
        uids.push_back(std::to_string(usage.owner));
        used.push_back(format_size(usage.used_bytes));
        soft.push_back(size_or_none(usage.soft_size_bytes));
        hard.push_back(size_or_none(usage.size_bytes));
        full.push_back(percent_of(usage.used_bytes, usage.size_bytes));
        used_inodes.push_back(std::to_string(usage.used_inodes));
        soft_inodes.push_back(count_or_none(usage.soft_inodes));
        hard_inodes.push_back(count_or_none(usage.inodes));
        until.push_back(writable_until(usage) == 0 ? "-" : rfc3339(writable_until(usage)));
    }
    std::vector<TableColumn> columns = {names};
    if (owners) {
        columns.push_back(uids);
    }
    columns.insert(columns.end(), {used, soft, hard, full, used_inodes, soft_inodes, hard_inodes});
    if (std::ranges::any_of(volumes, [](const UsageView& usage) { return writable_until(usage) != 0; })) {
        columns.push_back(until);
    }
    return render_columns(columns, width);
}

} // namespace joblet::cli
