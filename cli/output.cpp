#include "cli/output.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "cli/output_limits.h"
#include "cli/structured.h"
#include "cli/table.h"
#include "shared/size.h"

namespace joblet::cli {
namespace {

// The one place that knows the keys; YAML is written from it too.
Json to_json(const VolumeView& volume) {
    auto labels = Json::object();
    for (const auto& [key, value] : volume.labels) {
        labels[key] = value;
    }
    return {
        {"id", volume.id},
        {"name", volume.name},
        {"type", volume.type},
        {"size_bytes", volume.size_bytes},
        {"status", volume.status},
        {"created_at", time_or_null(volume.created_ns)},
        {"last_used", time_or_null(volume.last_used_ns)},
        {"current_job_id", text_or_null(volume.current_job)},
        {"labels", std::move(labels)},
        {"owner", volume.owner},
        {"backend", volume.backend},
        {"enforcement", volume.enforcement},
        {"inodes", volume.inodes},
        {"protected", volume.is_protected},
        {"trashed_until", time_or_null(volume.trashed_until_ns)},
        {"soft_size_bytes", limit_or_null(volume.soft_size_bytes)},
        {"soft_inodes", limit_or_null(volume.soft_inodes)},
        {"io", io_json(volume.io)},
        {"no_swap", volume.no_swap ? Json(*volume.no_swap) : Json(nullptr)},
    };
}

Json to_json(std::span<const VolumeView> volumes) {
    auto list = Json::array();
    for (const auto& volume : volumes) {
        list.push_back(to_json(volume));
    }
    return list;
}

std::string time_or_never(std::int64_t ns) {
    return ns == 0 ? "never" : rfc3339(ns);
}

std::string time_or_none(std::int64_t ns) {
    return ns == 0 ? "-" : rfc3339(ns);
}

std::string labels_text(const VolumeView& volume) {
    std::string text;
    for (const auto& [key, value] : volume.labels) {
        text += (text.empty() ? "" : ",") + key;
        text += '=';
        text += value;
    }
    return text.empty() ? "-" : printable(text);
}

struct Column {
    std::string_view title;
    bool (*shown)(TableLook);
    std::string (*cell)(const VolumeView&);
};

constexpr bool always(TableLook /*look*/) {
    return true;
}

// What is cut first on a narrow terminal comes last.
constexpr std::array kColumns = {
    Column{"NAME", always, [](const VolumeView& volume) { return printable(volume.name); }},
    Column{"OWNER", [](TableLook look) { return look.owners; }, [](const VolumeView& volume) { return std::to_string(volume.owner); }},
    Column{"TYPE", always, [](const VolumeView& volume) { return printable(volume.type); }},
    Column{"SIZE", always, [](const VolumeView& volume) { return format_size(volume.size_bytes); }},
    Column{"STATUS", always, [](const VolumeView& volume) { return printable(volume.status); }},
    Column{"JOB", [](TableLook look) { return !look.trash; },
           [](const VolumeView& volume) { return volume.current_job.empty() ? "-" : printable(volume.current_job.substr(0, 12)); }},
    Column{"TRASHED UNTIL", [](TableLook look) { return look.trash; },
           [](const VolumeView& volume) { return time_or_none(volume.trashed_until_ns); }},
    Column{"CREATED", always, [](const VolumeView& volume) { return time_or_never(volume.created_ns); }},
    Column{"LABELS", always, labels_text},
};

std::string render_table(std::span<const VolumeView> volumes, TableLook look, std::optional<unsigned> width) {
    std::vector<TableColumn> columns;
    for (const auto& column : kColumns) {
        if (!column.shown(look)) {
            continue;
        }
        TableColumn cells = {std::string(column.title)};
        for (const auto& volume : volumes) {
            cells.push_back(column.cell(volume));
        }
        columns.push_back(std::move(cells));
    }
    return render_columns(columns, width);
}

std::string exact_size(std::uint64_t bytes) {
    return format_size(bytes) + " (" + std::to_string(bytes) + " bytes)";
}

std::string render_properties(const VolumeView& volume) {
    std::string text;
    const auto line = [&text](std::string_view key, std::string_view value) {
        constexpr std::size_t kKeyWidth = 15;
        text += padded(key, kKeyWidth) + printable(value) + "\n";
    };
    line("Name", volume.name);
    line("Id", volume.id);
    line("Owner", std::to_string(volume.owner));
    line("Type", volume.type);
    line("Size", exact_size(volume.size_bytes));
    line("Soft size", volume.soft_size_bytes == 0 ? "none" : exact_size(volume.soft_size_bytes));
    line("Status", volume.status);
    line("Created", time_or_never(volume.created_ns));
    line("Last used", time_or_never(volume.last_used_ns));
    line("Job", volume.current_job.empty() ? "-" : volume.current_job);
    line("Backend", volume.backend);
    line("Enforcement", volume.enforcement);
    line("Inodes", volume.inodes == 0 ? "as the backend does" : std::to_string(volume.inodes));
    line("Soft inodes", volume.soft_inodes == 0 ? "none" : std::to_string(volume.soft_inodes));
    line("Jobs read", reads_text(volume.io));
    line("Jobs write", writes_text(volume.io));
    if (volume.no_swap) {
        line("Swap", *volume.no_swap ? "never" : "possible");
    }
    line("Protected", volume.is_protected ? "yes" : "no");
    line("Trashed until", time_or_none(volume.trashed_until_ns));
    for (const auto& [key, value] : volume.labels) {
        auto label = key;
        label += '=';
        label += value;
        line("Label", label);
    }
    return text;
}

} // namespace

std::string render_list(std::span<const VolumeView> volumes, Format format, TableLook look, std::optional<unsigned> width) {
    return format == Format::Table ? render_table(volumes, look, width) : structured_text(to_json(volumes), format);
}

std::string render_volume(const VolumeView& volume, Format format) {
    return format == Format::Table ? render_properties(volume) : structured_text(to_json(volume), format);
}

std::string render_volumes(std::span<const VolumeView> volumes, Format format) {
    if (format != Format::Table) {
        return structured_text(to_json(volumes), format);
    }
    std::string text;
    for (const auto& volume : volumes) {
        if (!text.empty()) {
            text += "\n";
        }
        text += render_properties(volume);
    }
    return text;
}

std::string render_names(std::span<const std::string> names, Format format) {
    if (format != Format::Table) {
        auto list = Json::array();
        for (const auto& name : names) {
            list.push_back(name);
        }
        return structured_text(list, format);
    }
    std::string text;
    for (const auto& name : names) {
        text += printable(name) + "\n";
    }
    return text;
}

std::string render_version(const VersionView& version, Format format) {
    if (format != Format::Table) {
        const auto server = version.server ? Json(*version.server) : Json(nullptr);
        return structured_text({{"client", version.client}, {"server", server}}, format);
    }
    return "client: " + version.client +
           "\nserver: " + (version.server ? printable(*version.server) : "not reachable (" + printable(version.server_problem) + ")") +
           "\n";
}

std::string render_error(const Error& error, Format format) {
    if (format == Format::Json) {
        const Json object = {
            {"error", {{"code", error_code_name(error.code)}, {"message", error.message}, {"hint", error.hint}}},
        };
        return json_text(object, -1);
    }
    std::string text = "rnx: " + printable(error.message) + "\n";
    if (!error.hint.empty()) {
        text += "hint: " + printable(error.hint) + "\n";
    }
    return text;
}

std::string rfc3339(std::int64_t ns) {
    // Not gmtime(3): it reads the time zone's file, which the filter forbids.
    using namespace std::chrono;
    const auto time = floor<seconds>(sys_time<nanoseconds>(nanoseconds(ns)));
    const auto day = floor<days>(time);
    const year_month_day date(day);
    const hh_mm_ss clock(time - day);
    std::array<char, 64> text{};
    const int size =
        std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                      static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()),
                      static_cast<int>(clock.minutes().count()), static_cast<int>(clock.seconds().count()));
    return {text.data(), static_cast<std::size_t>(size)};
}

std::string rfc3339_milliseconds(std::int64_t ns) {
    using namespace std::chrono;
    const nanoseconds time(ns);
    const auto part = floor<milliseconds>(time - floor<seconds>(time)).count();
    auto text = rfc3339(ns);
    text.pop_back(); // Z
    const auto digits = std::to_string(part);
    return text + "." + std::string(3 - digits.size(), '0') + digits + "Z";
}

std::string printable(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        // C1 controls (U+0080 … U+009F) are two bytes in UTF-8, and terminals obey them as they do an escape sequence.
        const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
        if (c1) {
            ++i;
        }
        out += c1 || byte < 0x20 || byte == 0x7F ? '?' : text[i];
    }
    return out;
}

} // namespace joblet::cli
