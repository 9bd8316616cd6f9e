#include "cli/audit.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <fmt/format.h>

#include "cli/audit_check.h"
#include "cli/client.h"
#include "cli/failure.h"
#include "cli/output.h"
#include "cli/output_audit.h"
#include "cli/structured.h"
#include "cli/terminal.h"

namespace joblet::cli {
namespace {

[[noreturn]] void not_read(const std::string& path, int problem) {
    throw CommandFailure({problem == ENOENT ? ErrorCode::NotFound : ErrorCode::PermissionDenied,
                          fmt::format("cannot read {}: {}", path, std::strerror(problem)),
                          problem == EACCES ? "the audit log of this host is root's: run it as root, or name a copy" : ""});
}

Fd open_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd.valid()) {
        not_read(path, errno);
    }
    return fd;
}

// The socket of a daemon below a root of its own is ROOT/run/joblet/api.sock.
std::string directory_of(const std::string& socket) {
    constexpr std::string_view kEnd = kDefaultSocket;
    const std::string root = socket.ends_with(kEnd) ? socket.substr(0, socket.size() - kEnd.size()) : "";
    return root + "/var/log/joblet";
}

// Calls `take` with each line, and gives what comes after the last newline.
template <class Take> std::string read_lines(const AuditFiles::File& file, Take&& take) {
    constexpr std::size_t kPart = 65536;
    std::string rest;
    std::string part(kPart, '\0');
    for (;;) {
        const ssize_t count = ::read(file.fd.get(), part.data(), part.size());
        if (count < 0) {
            not_read(file.path, errno);
        }
        if (count == 0) {
            return rest;
        }
        rest.append(part, 0, static_cast<std::size_t>(count));
        std::size_t from = 0;
        for (auto end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', from)) {
            if (!take(rest.substr(from, end - from))) {
                return {};
            }
            from = end + 1;
        }
        rest.erase(0, from);
    }
}

// Number of the last record that the daemon has written; 0: it cannot be asked.
std::uint64_t written_by_daemon(const std::string& socket) {
    try {
        Client client(socket);
        const auto answer = client.wait(client.host().doctorRequest().send());
        return value_of(answer.getResult()).getAuditRecords();
    } catch (const CommandFailure&) {
        return 0;
    }
}

} // namespace

AuditFiles open_audit_files(const std::vector<std::string>& paths, const std::string* public_key, const std::string& socket) {
    AuditFiles files;
    const std::string own = directory_of(socket);
    std::vector<std::string> all = paths;
    if (all.empty()) {
        const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(own.c_str()), ::closedir);
        if (!directory) {
            not_read(own, errno);
        }
        while (const auto* entry = ::readdir(directory.get())) {
            const std::string_view name = entry->d_name;
            if (name.starts_with("audit.0") && name.ends_with(".jsonl")) {
                all.push_back(own + "/" + std::string(name));
            }
        }
        std::ranges::sort(all);
        all.push_back(own + "/audit.jsonl");
    }
    for (auto& path : all) {
        auto fd = open_file(path);
        files.logs.push_back({std::move(path), std::move(fd)});
    }
    if (public_key != nullptr) {
        const auto& first = files.logs.front().path;
        const auto slash = first.rfind('/');
        const std::string path = !public_key->empty()         ? *public_key
                                 : slash == std::string::npos ? std::string("audit.pub")
                                                              : first.substr(0, slash) + "/audit.pub";
        const Fd fd = open_file(path);
        constexpr std::size_t kMost = 4096;
        files.key.resize(kMost);
        const ssize_t count = ::read(fd.get(), files.key.data(), files.key.size());
        files.key.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    }
    return files;
}

int verify_audit(const AuditVerify& verify, const AuditFiles& files, const CommandLine& line) {
    const auto key = parse_audit_key(files.key);
    if (!key) {
        throw CommandFailure(
            {ErrorCode::InvalidArgument, "the file with the public key has no key in it", "it is one line of 64 digits: audit.pub"});
    }
    // Asked first: what is written meanwhile is no more than it
    const std::uint64_t at_least = verify.files.empty() ? written_by_daemon(line.socket) : 0;
    AuditChecker checker(*key);
    std::optional<std::string> problem;
    std::string where;
    std::string rest;
    for (const auto& file : files.logs) {
        where = file.path;
        std::uint64_t number = 0;
        rest = read_lines(file, [&](const std::string& text) {
            ++number;
            problem = checker.take(text);
            where = problem ? fmt::format("{}, line {}", file.path, number) : where;
            return !problem;
        });
        if (problem || !rest.empty()) {
            break;
        }
    }
    if (!problem) {
        problem = checker.finish(rest, at_least);
    }
    if (line.format == Format::Table) {
        write_stdout(problem ? fmt::format("{}: {}\n", where, *problem)
                             : fmt::format("records {} to {} are as they were written; {} signatures\n", checker.first(), checker.last(),
                                           checker.signatures()));
    } else {
        Json result;
        result["ok"] = !problem;
        result["problem"] = problem ? Json(*problem) : Json();
        result["where"] = problem ? Json(where) : Json();
        result["first"] = checker.first();
        result["last"] = checker.last();
        result["signatures"] = checker.signatures();
        write_stdout(structured_text(result, line.format));
    }
    return problem ? kExitRefused : 0;
}

int list_audit(const AuditList& list, const AuditFiles& files, const CommandLine& line) {
    std::vector<std::string> wanted;
    for (const auto& file : files.logs) {
        (void)read_lines(file, [&](const std::string& text) {
            if (is_wanted(text, list)) {
                wanted.push_back(text);
            }
            return true;
        });
    }
    write_stdout(render_audit(wanted, line.format, terminal_width()));
    return 0;
}

} // namespace joblet::cli
