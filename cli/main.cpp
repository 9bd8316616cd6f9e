// rnx: the command line of Joblet Storage.
#include <sys/prctl.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <variant>
#include <vector>

#include "cli/arguments.h"
#include "cli/audit.h"
#include "cli/complete.h"
#include "cli/completion.h"
#include "cli/doctor.h"
#include "cli/failure.h"
#include "cli/filter_table.h"
#include "cli/host_texts.h"
#include "cli/job.h"
#include "cli/output.h"
#include "cli/run.h"
#include "cli/terminal.h"
#include "cli/version.h"
#include "cli/volume.h"

namespace joblet::cli {
namespace {

// Before anything is read that others wrote.
void confine() {
#ifndef JOBLET_SANITIZE // the sanitizers' own runtime makes more calls than rnx does
    const auto program = compile_filter(filter_table(), {}, OtherCalls::KillProcess);
    if (!program) {
        throw CommandFailure({ErrorCode::Internal, "rnx could not confine itself: " + program.error(), ""});
    }
    const int problem = ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? install_filter(*program) : errno;
    if (problem != 0) {
        throw CommandFailure({ErrorCode::Internal, std::string("rnx could not confine itself: ") + std::strerror(problem), ""});
    }
#endif
}

// What a command needs that can only be had before.
struct Before {
    Opened opened;  // run
    HostTexts host; // doctor
    AuditFiles audit;
};

Before prepare(const CommandLine& line) {
    if (const auto* run = std::get_if<Run>(&line.command)) {
        return {.opened = open_for(*run), .host = {}, .audit = {}};
    }
    if (const auto* verify = std::get_if<AuditVerify>(&line.command)) {
        return {.opened = {}, .host = {}, .audit = open_audit_files(verify->files, &verify->public_key, line.socket)};
    }
    if (const auto* list = std::get_if<AuditList>(&line.command)) {
        return {.opened = {}, .host = {}, .audit = open_audit_files(list->files, nullptr, line.socket)};
    }
    return {.opened = {}, .host = std::holds_alternative<Doctor>(line.command) ? read_host_texts(line.socket) : HostTexts{}, .audit = {}};
}

int carry_out(const CommandLine& line, const Before& before) {
    struct Visitor {
        const CommandLine& line;
        const Before& before;
        int operator()(const VolumeCreate& create) const {
            return create_volume(create, line);
        }
        int operator()(const VolumeList& list) const {
            return list_volumes(list, line);
        }
        int operator()(const VolumeInspect& inspect) const {
            return inspect_volumes(inspect, line);
        }
        int operator()(const VolumeLabel& label) const {
            return label_volume(label, line);
        }
        int operator()(const VolumeRename& rename) const {
            return rename_volume(rename, line);
        }
        int operator()(const VolumeResize& resize) const {
            return resize_volume(resize, line);
        }
        int operator()(const VolumeUsage& usage) const {
            return show_usage(usage, line);
        }
        int operator()(const VolumeRemove& remove) const {
            return remove_volumes(remove, line);
        }
        int operator()(const VolumeRestore& restore) const {
            return restore_volume(restore, line);
        }
        int operator()(const VolumeProtect& protect) const {
            return protect_volumes(protect, line);
        }
        int operator()(const VolumeAttach& attach) const {
            return attach_volume(attach, line);
        }
        int operator()(const VolumeDetach& detach) const {
            return detach_volume(detach, line);
        }
        int operator()(const Run& run) const {
            return run_job(run, before.opened, line);
        }
        int operator()(const JobList& list) const {
            return list_jobs(list, line);
        }
        int operator()(const JobInspect& inspect) const {
            return inspect_jobs(inspect, line);
        }
        int operator()(const JobLogs& logs) const {
            return show_log(logs, line);
        }
        int operator()(const JobStop& stop) const {
            return stop_jobs(stop, line);
        }
        int operator()(const JobKill& kill) const {
            return kill_jobs(kill, line);
        }
        int operator()(const JobWait& wait) const {
            return wait_for_jobs(wait, line);
        }
        int operator()(const JobRemove& remove) const {
            return remove_jobs(remove, line);
        }
        int operator()(const JobPrune& prune) const {
            return prune_jobs(prune, line);
        }
        int operator()(const BaseListing& /*listing*/) const {
            return list_bases(line);
        }
        int operator()(const Doctor& /*doctor*/) const {
            return show_health(before.host, line);
        }
        int operator()(const AuditVerify& verify) const {
            return verify_audit(verify, before.audit, line);
        }
        int operator()(const AuditList& list) const {
            return list_audit(list, before.audit, line);
        }
        int operator()(const Completion& completion) const {
            write_stdout(completion_script(completion.shell));
            return 0;
        }
        int operator()(const Complete& complete) const {
            return complete_words(complete, line);
        }
        int operator()(const Version& /*version*/) const {
            return show_version(line);
        }
        int operator()(const ShowText& show) const {
            write_stdout(show.text);
            return 0;
        }
    };
    return std::visit(Visitor{line, before}, line.command);
}

int main_of_rnx(const std::vector<std::string>& arguments) {
    const char* socket = std::getenv("JOBLET_SOCKET");
    const auto line = parse_command_line(arguments, socket == nullptr ? "" : socket);
    if (!line) {
        write_stderr(render_error(line.error().error, line.error().format));
        return line.error().exit_status;
    }
    try {
        const auto before = prepare(*line);
        confine();
        return carry_out(*line, before);
    } catch (const CommandFailure& failure) {
        write_stderr(render_error(failure.error(), line->format));
    } catch (const std::exception& problem) {
        write_stderr(render_error({ErrorCode::Internal, std::string("rnx failed: ") + problem.what(), ""}, line->format));
    }
    return std::holds_alternative<Run>(line->command) ? kExitRunFailed : kExitRefused;
}

} // namespace
} // namespace joblet::cli

int main(int argc, char** argv) {
    joblet::cli::open_missing_stdio();
    return joblet::cli::main_of_rnx(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
