#include "cli/output_job.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "cli/output.h"
#include "cli/output_limits.h"
#include "cli/structured.h"
#include "cli/table.h"
#include "shared/duration.h"
#include "shared/size.h"

namespace joblet::cli {
namespace {

constexpr std::size_t kIdDigits = 12; // that a table shows

Json number_or_null(const std::optional<unsigned>& number) {
    return number ? Json(*number) : Json(nullptr);
}

Json to_json(const std::optional<ExitView>& exit) {
    if (!exit) {
        return nullptr;
    }
    return {{"code", number_or_null(exit->code)},
            {"signal", number_or_null(exit->signal)},
            {"reason", exit->reason},
            {"status", exit->status},
            {"ended_at", time_or_null(exit->ended_ns)}};
}

Json to_json(const JobView& job) {
    auto volumes = Json::array();
    for (const auto& volume : job.volumes) {
        volumes.push_back({{"volume", volume.volume},
                           {"name", text_or_null(volume.name)},
                           {"target", text_or_null(volume.target)},
                           {"read_only", volume.read_only}});
    }
    return {{"id", job.id},
            {"name", text_or_null(job.name)},
            {"owner", job.owner},
            {"state", job.state},
            {"started_at", time_or_null(job.started_ns)},
            {"exit", to_json(job.exit)},
            {"command", job.command},
            {"base", job.base},
            {"volumes", std::move(volumes)},
            {"host_name", job.host_name},
            {"limits", limits_json(job.limits)}};
}

Json to_json(std::span<const JobView> jobs) {
    auto list = Json::array();
    for (const auto& job : jobs) {
        list.push_back(to_json(job));
    }
    return list;
}

Json to_json(const WorldView& world) {
    auto mounts = Json::array();
    for (const auto& mount : world.mounts) {
        mounts.push_back({{"path", mount.path},
                          {"kind", mount.kind},
                          {"size_bytes", limit_or_null(mount.size_bytes)},
                          {"read_only", mount.read_only},
                          {"volume", text_or_null(mount.volume)}});
    }
    constexpr std::uint64_t kSecond = 1'000'000'000;
    return {{"base", world.base},
            {"mounts", std::move(mounts)},
            {"uid_first", world.uid_first},
            {"uid_count", world.uid_count},
            {"user", world.user},
            {"group", world.group},
            {"host_name", text_or_null(world.host_name)},
            {"working_directory", world.working_directory},
            {"environment", world.environment},
            {"command", world.command},
            {"network", world.host_network ? "host" : "none"},
            {"timeout_seconds", world.timeout_ns == 0 ? Json(nullptr) : Json(world.timeout_ns / kSecond)},
            {"log_max_bytes", limit_or_null(world.log_max_bytes)},
            {"limits", limits_json(world.limits)}};
}

std::string text_or_none(std::string_view text) {
    return text.empty() ? "-" : printable(text);
}

class Properties {
  public:
    void line(std::string_view key, std::string_view value) {
        constexpr std::size_t kKeyWidth = 15;
        text_ += padded(key, kKeyWidth) + text_or_none(value) + "\n";
    }
    void lines_of(const std::optional<LimitsView>& limits) {
        for (const auto& [key, value] : limit_lines(limits)) {
            line(key, value);
        }
    }
    [[nodiscard]] const std::string& text() const {
        return text_;
    }

  private:
    std::string text_;
};

std::string render_properties(const JobView& job) {
    Properties out;
    out.line("Name", job.name);
    out.line("Id", job.id);
    out.line("Owner", std::to_string(job.owner));
    out.line("State", job.state);
    out.line("Started", job.started_ns == 0 ? "never" : rfc3339(job.started_ns));
    if (job.exit) {
        out.line("Ended", job.exit->ended_ns == 0 ? "" : rfc3339(job.exit->ended_ns));
        out.line("Exit status", std::to_string(job.exit->status) + " (" + job.exit->reason + ")");
    }
    out.line("Command", shell_words(job.command));
    out.line("Base", job.base);
    out.line("Host name", job.host_name);
    for (const auto& volume : job.volumes) {
        std::string text = volume.name.empty() ? volume.volume : volume.name;
        if (!volume.target.empty()) {
            text += " at ";
            text += volume.target;
        }
        text += volume.read_only ? ", read-only" : "";
        out.line("Volume", text);
    }
    out.lines_of(job.limits);
    return out.text();
}

std::string describe(const MountView& mount) {
    std::string text = mount.kind;
    if (!mount.volume.empty()) {
        text += ' ';
        text += mount.volume;
    }
    if (mount.size_bytes != 0) {
        text += ", ";
        text += format_size(mount.size_bytes);
    }
    text += mount.read_only ? ", read-only" : "";
    return text;
}

} // namespace

std::string render_job_list(std::span<const JobView> jobs, Format format, bool owners, std::optional<unsigned> width) {
    if (format != Format::Table) {
        return structured_text(to_json(jobs), format);
    }
    TableColumn ids = {"ID"};
    TableColumn names = {"NAME"};
    TableColumn uids = {"OWNER"};
    TableColumn states = {"STATE"};
    TableColumn started = {"STARTED"};
    TableColumn exits = {"EXIT"};
    TableColumn commands = {"COMMAND"};
    for (const auto& job : jobs) {
        ids.push_back(printable(job.id.substr(0, kIdDigits)));
        names.push_back(text_or_none(job.name));
        uids.push_back(std::to_string(job.owner));
        states.push_back(printable(job.state));
        started.push_back(job.started_ns == 0 ? "-" : rfc3339(job.started_ns));
        exits.push_back(job.exit ? std::to_string(job.exit->status) : "-");
        commands.push_back(text_or_none(shell_words(job.command)));
    }
    std::vector<TableColumn> columns = {ids, names};
    if (owners) {
        columns.push_back(uids);
    }
    columns.insert(columns.end(), {states, started, exits, commands});
    return render_columns(columns, width);
}

std::string render_job(const JobView& job, Format format) {
    return format == Format::Table ? render_properties(job) : structured_text(to_json(job), format);
}

std::string render_jobs(std::span<const JobView> jobs, Format format) {
    if (format != Format::Table) {
        return structured_text(to_json(jobs), format);
    }
    std::string text;
    for (const auto& job : jobs) {
        text += text.empty() ? "" : "\n";
        text += render_properties(job);
    }
    return text;
}

std::string render_statuses(std::span<const unsigned> statuses, Format format) {
    if (format != Format::Table) {
        return structured_text(Json(std::vector(statuses.begin(), statuses.end())), format);
    }
    std::string text;
    for (const auto status : statuses) {
        text += std::to_string(status) + "\n";
    }
    return text;
}

std::string render_world(const WorldView& world, Format format) {
    if (format != Format::Table) {
        return structured_text(to_json(world), format);
    }
    Properties out;
    out.line("Command", shell_words(world.command));
    out.line("Directory", world.working_directory);
    out.line("Base", world.base);
    out.line("User", std::to_string(world.user) + ":" + std::to_string(world.group) + " inside; on the host " +
                         std::to_string(world.uid_first) + " and the " + std::to_string(world.uid_count) + " from there on");
    out.line("Host name", world.host_name.empty() ? "the first digits of its id" : world.host_name);
    out.line("Network", world.host_network ? "host" : "none");
    out.line("Timeout", world.timeout_ns == 0
                            ? "none"
                            : format_duration(std::chrono::floor<std::chrono::seconds>(std::chrono::nanoseconds(world.timeout_ns))));
    out.line("Log", world.log_max_bytes == 0 ? "none" : "at most " + format_size(world.log_max_bytes));
    for (const auto& variable : world.environment) {
        out.line("Environment", variable);
    }
    out.lines_of(world.limits);
    TableColumn paths = {"MOUNT"};
    TableColumn kinds = {"WHAT"};
    for (const auto& mount : world.mounts) {
        paths.push_back(printable(mount.path));
        kinds.push_back(printable(describe(mount)));
    }
    const std::array columns = {paths, kinds};
    return out.text() + "\n" + render_columns(columns, std::nullopt);
}

std::string render_bases(std::span<const BaseView> bases, Format format, std::optional<unsigned> width) {
    if (format != Format::Table) {
        auto list = Json::array();
        for (const auto& base : bases) {
            list.push_back({{"name", base.name}, {"proc", base.proc}, {"usable", base.usable}});
        }
        return structured_text(list, format);
    }
    TableColumn names = {"NAME"};
    TableColumn procs = {"PROC"};
    TableColumn usable = {"USABLE"};
    for (const auto& base : bases) {
        names.push_back(printable(base.name));
        procs.push_back(printable(base.proc));
        usable.emplace_back(base.usable ? "yes" : "no: the daemon's log says why");
    }
    const std::array columns = {names, procs, usable};
    return render_columns(columns, width);
}

std::string shell_words(std::span<const std::string> words) {
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("_./:=@%+,-").contains(c);
    };
    std::string text;
    for (const auto& word : words) {
        text += text.empty() ? "" : " ";
        if (!word.empty() && std::ranges::all_of(word, is_plain)) {
            text += word;
            continue;
        }
        text += '\'';
        for (const char c : word) {
            text += c == '\'' ? "'\\'" : "";
            text += c;
        }
        text += '\'';
    }
    return text;
}

} // namespace joblet::cli
