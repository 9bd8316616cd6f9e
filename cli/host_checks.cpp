#include "cli/host_checks.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <utility>

#include "shared/host_uids.h"

namespace joblet::cli {
namespace {

// The part before `end`, which is taken away with it.
std::string_view take_until(std::string_view& text, char end) {
    const auto at = std::min(text.find(end), text.size());
    const auto part = text.substr(0, at);
    text.remove_prefix(std::min(at + 1, text.size()));
    return part;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    return problem == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

std::string not_read(std::string_view path, int problem) {
    return std::string(path) + " could not be read: " + std::strerror(problem);
}

// What /proc/PID/status says after "Key:", without the white space around it.
std::string_view field_of(std::string_view status, std::string_view key) {
    while (!status.empty()) {
        auto line = take_until(status, '\n');
        if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':') {
            line.remove_prefix(key.size() + 1);
            line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
            return line;
        }
    }
    return {};
}

struct Range {
    std::uint64_t first = 0;
    std::uint64_t end = 0; // the first one that is not in it

    [[nodiscard]] bool meets(const Range& other) const {
        return first < other.end && other.first < end;
    }
};

using Ranges = std::array<Range, 2>;

bool meets_any(const Ranges& ours, const Range& range) {
    return std::ranges::any_of(ours, [&range](const Range& own) { return own.meets(range); });
}

// Lines NAME:PASSWORD:UID:GID:… ; those without numbers, which are for other sources of users, name no uid here.
void find_users(std::string_view passwd, const Ranges& ours, std::vector<std::string>& found) {
    while (!passwd.empty()) {
        auto line = take_until(passwd, '\n');
        const auto name = take_until(line, ':');
        take_until(line, ':');
        const auto uid = number_in(take_until(line, ':'));
        if (uid && meets_any(ours, {*uid, *uid + 1})) {
            found.push_back("user " + std::string(name) + " has uid " + std::to_string(*uid));
        }
    }
}

// Lines OWNER:FIRST:COUNT
void find_ranges(std::string_view path, std::string_view text, const Ranges& ours, std::vector<std::string>& found) {
    constexpr auto kIds = std::uint64_t{1} << 32U; // that there are
    while (!text.empty()) {
        auto line = take_until(text, '\n');
        const auto owner = take_until(line, ':');
        const auto first = number_in(take_until(line, ':'));
        const auto count = number_in(line);
        if (first && count && *first < kIds && meets_any(ours, {*first, *first + std::min(*count, kIds)})) {
            found.push_back(std::string(path) + " gives " + std::string(owner) + " the " + std::to_string(*count) + " ids from " +
                            std::to_string(*first) + " on");
        }
    }
}

std::string joined(const std::vector<std::string>& texts, std::string_view between) {
    std::string all;
    for (const auto& text : texts) {
        all += all.empty() ? "" : between;
        all += text;
    }
    return all;
}

// How a process is confined, as the kernel sees it.
struct Confinement {
    std::string name;
    std::string seccomp; // "2": a filter
    std::string no_new_privs;
    std::string capabilities; // hexadecimal

    auto operator<=>(const Confinement&) const = default;
};

CheckView describe(const Confinement& found, unsigned processes) {
    const bool is_filtered = found.seccomp == "2";
    const bool gains_nothing = found.no_new_privs == "1";
    std::string detail = is_filtered ? "system calls are filtered" : "system calls are not filtered";
    detail += gains_nothing ? ", no new privileges" : ", new privileges are possible";
    detail += ", capabilities " + (found.capabilities.empty() ? "unknown" : found.capabilities);
    detail += processes == 1 ? "" : ", " + std::to_string(processes) + " processes";
    CheckView check{.subject = "filter of " + found.name, .ok = is_filtered && gains_nothing, .detail = std::move(detail)};
    if (!check.ok) {
        check.lost = "a fault in this process could be used for everything that its user may do";
        check.remedy = "use the daemons as they were built, and see their log";
    }
    return check;
}

CheckView filters_unknown(std::string why) {
    return {.subject = "filters of the daemons",
            .ok = false,
            .detail = std::move(why),
            .lost = "whether the daemons are confined cannot be seen from here",
            .remedy = "ask as root, on the host itself; /proc must show the processes of others, and the kernel be built with "
                      "CONFIG_PROC_CHILDREN"};
}

} // namespace

CheckView check_kernel(std::string_view release) {
    constexpr std::pair<std::uint64_t, std::uint64_t> kLeast = {6, 1};
    auto rest = release;
    const auto major = number_in(take_until(rest, '.'));
    const auto minor = number_in(rest.substr(0, std::min(rest.find_first_not_of("0123456789"), rest.size())));
    CheckView check{.subject = "kernel", .ok = major && minor && std::pair(*major, *minor) >= kLeast, .detail = std::string(release)};
    if (!check.ok) {
        check.lost = "calls that the daemons need may not be there";
        check.remedy = "use Linux 6.1 or newer";
    }
    return check;
}

CheckView check_namespaces(const FileText& names) {
    constexpr std::array<std::string_view, 7> kNeeded = {"mnt", "pid", "ipc", "uts", "net", "user", "cgroup"};
    CheckView check{.subject = "namespaces"};
    std::vector<std::string> there;
    for (std::string_view rest = names.text; !rest.empty();) {
        there.emplace_back(take_until(rest, '\n'));
    }
    std::vector<std::string> needed;
    std::vector<std::string> absent;
    for (const auto name : kNeeded) {
        needed.emplace_back(name);
        if (std::ranges::find(there, name) == there.end()) {
            absent.emplace_back(name);
        }
    }
    check.ok = names.problem == 0 && absent.empty();
    check.detail = names.problem != 0 ? not_read("/proc/self/ns", names.problem)
                   : check.ok         ? joined(needed, ", ")
                                      : "this kernel has none of the kind " + joined(absent, ", ");
    if (!check.ok) {
        check.lost = "jobs cannot be kept apart from the host: none can be started";
        check.remedy = "use a kernel that is built with CONFIG_NAMESPACES and all that depend on it";
    }
    return check;
}

CheckView check_uids(const HostTexts& texts, const std::optional<SlotRange>& slots) {
    CheckView check{.subject = "uids of jobs"};
    check.lost = "a job or a volume may have a uid of somebody else on this host";
    if (!slots) {
        check.detail = "not compared: the daemon did not say which they are";
        check.remedy = "start the daemon";
        return check;
    }
    const Ranges ours = {Range{slots->first, slots->first + slots->count * kSlotIds}, Range{kForeignFirst, kForeignFirst + kSlotIds}};
    std::vector<std::string> found;
    find_users(texts.passwd.text, ours, found);
    find_ranges("/etc/subuid", texts.subuid.text, ours, found);
    find_ranges("/etc/subgid", texts.subgid.text, ours, found);
    check.remedy = "give these users and ranges other ids, or jobs others in broker.toml, section [slots]; " +
                   std::to_string(ours[1].first) + " to " + std::to_string(ours[1].end - 1) + " cannot be changed";
    if (found.empty()) {
        // A host without ranges for users has no such files
        for (const auto& [path, file, may_be_absent] :
             {std::tuple<std::string_view, const FileText&, bool>{"/etc/passwd", texts.passwd, false},
              {"/etc/subuid", texts.subuid, true},
              {"/etc/subgid", texts.subgid, true}}) {
            if (file.problem != 0 && !(may_be_absent && file.problem == ENOENT)) {
                check.detail = not_read(path, file.problem);
                check.remedy = "let everybody read it";
                return check;
            }
        }
        check = {.subject = std::move(check.subject),
                 .ok = true,
                 .detail = std::to_string(ours[0].first) + " to " + std::to_string(ours[0].end - 1) +
                           ", which nobody has in /etc/passwd, /etc/subuid and /etc/subgid"};
        return check;
    }
    check.detail = joined(found, "; ");
    return check;
}

std::vector<CheckView> check_filters(const DaemonTexts& daemons) {
    if (daemons.supervisor == 0) {
        return {filters_unknown("it is not known which process listens at the daemon's socket")};
    }
    const auto supervisor = std::to_string(daemons.supervisor);
    if (daemons.children.problem != 0) {
        return {filters_unknown(not_read("/proc/" + supervisor + "/task/" + supervisor + "/children", daemons.children.problem))};
    }
    if (daemons.statuses.empty()) {
        return {filters_unknown("process " + supervisor + ", which listens at the daemon's socket, has no others below it")};
    }
    std::map<Confinement, unsigned> kinds;
    std::vector<CheckView> checks;
    for (const auto& status : daemons.statuses) {
        if (status.problem != 0) {
            checks.push_back(filters_unknown(not_read("the status of a process below " + supervisor, status.problem)));
            continue;
        }
        const auto field = [&status](std::string_view key) { return std::string(field_of(status.text, key)); };
        ++kinds[{.name = field("Name"), .seccomp = field("Seccomp"), .no_new_privs = field("NoNewPrivs"), .capabilities = field("CapEff")}];
    }
    for (const auto& [kind, processes] : kinds) {
        checks.push_back(describe(kind, processes));
    }
    return checks;
}

CheckView check_selinux(const FileText& enforce) {
    CheckView check{.subject = "SELinux"};
    const std::string_view text = enforce.text;
    const auto value = text.substr(0, std::min(text.find_last_not_of('\n') + 1, text.size()));
    check.ok = enforce.problem == 0 && value == "1";
    if (check.ok) {
        check.detail = "enforcing: what the daemons and jobs may do besides is this host's policy";
        return check;
    }
    check.detail = enforce.problem == ENOENT ? "absent"
                   : enforce.problem != 0    ? not_read("/sys/fs/selinux/enforce", enforce.problem)
                   : value == "0"            ? "permissive"
                                             : "in an unknown state";
    check.lost = "jobs and volumes are not separated by labels as well";
    check.remedy = "boot with SELinux in enforcing mode, with a policy for this host";
    return check;
}

std::vector<CheckView> check_host(const HostTexts& texts, const std::optional<SlotRange>& slots) {
    std::vector<CheckView> checks = {check_kernel(texts.kernel_release), check_namespaces(texts.namespaces), check_uids(texts, slots)};
    for (auto& check : check_filters(texts.daemons)) {
        checks.push_back(std::move(check));
    }
    checks.push_back(check_selinux(texts.enforce));
    return checks;
}

} // namespace joblet::cli
