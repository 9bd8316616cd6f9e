#include "broker-root/spawner/stage.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/namespace.h"
#include "broker-root/kernel/network.h"
#include "broker-root/kernel/process.h"
#include "broker-root/kernel/record_io.h"
#include "broker-root/kernel/selinux.h"
#include "broker-root/layout.h"
#include "broker-root/spawner/init.h"
#include "broker-root/spawner/job.h"
#include "broker-root/spawner/job_stdio.h"
#include "broker-root/spawner/proc_masks.h"
#include "shared/datagram.h"

namespace joblet::spawner {

namespace {

using kernel::last_errno;
using kernel::Result;

constexpr int kFailed = 125;

// Where a stage keeps its descriptors from PlaceDescriptors on; 0 to 2 are the job's. The log's are there if it has one.
enum Place : std::uint8_t {
    kPlacedRecord = 3,
    kPlacedSpec,
    kPlacedControl,
    kPlacedStatus,
    kPlacedUserNamespace,
    kPlacedLog,
    kPlacedMost = kPlacedLog + kLaunchLogFiles,
};

class Stage {
  public:
    Stage(const Launch& order, std::span<const Fd> descriptors, const StageFilters& filters, int label_proc)
        : order_(order), descriptors_(descriptors), filters_(filters), label_proc_(label_proc),
          channels_{descriptor(kLaunchExitRecord), descriptor(kLaunchStatus), descriptor(kLaunchControl)} {}

    // The steps, in the only order in which they work.
    Result<void> take_labels();
    Result<void> leave_spawner();
    Result<void> enter_template();
    Result<void> attach_volumes();
    Result<void> attach_targets();
    Result<void> attach_scratch();
    Result<void> attach_proc();
    Result<void> mask_proc();
    Result<void> hide_cgroup_path();
    Result<void> hand_over_mount_namespace();
    Result<void> bring_loopback_up();
    Result<void> set_host_name();
    Result<void> check_root();
    Result<void> find_stdio();
    Result<void> open_terminal();
    Result<void> place_descriptors();
    Result<void> join_user_namespace();
    Result<void> take_ids();
    Result<void> open_output();
    Result<void> give_to_user();
    Result<void> fork_job();

    [[noreturn]] void fail(Step step, int sys_errno) const {
        publish_exit(channels_, setup_failure(step, sys_errno));
        ::_exit(kFailed);
    }
    [[noreturn]] void become_init() const {
        run_init(init_, filters_.init);
    }

  private:
    [[nodiscard]] int descriptor(std::size_t index) const {
        return descriptors_[index].get();
    }
    [[nodiscard]] bool has(std::uint32_t flag) const {
        return (order_.flags & flag) != 0;
    }
    [[nodiscard]] std::span<const MountPoint> volumes() const {
        return std::span(order_.volumes).first(order_.volume_count);
    }

    const Launch& order_;
    std::span<const Fd> descriptors_;
    const StageFilters& filters_;
    int label_proc_;
    Channels channels_;
    Fd proc_;
    JobStdio stdio_;
    std::array<int, 2> output_ = {-1, -1}; // reading ends of a detached job's stdout and stderr
    InitStart init_;
};

// "/volumes/<name>"
constexpr std::string_view kVolumes = "/volumes/";
using VolumePath = std::array<char, kVolumes.size() + kNameMax + 1>;
VolumePath path_of(const MountPoint& volume) {
    VolumePath path{};
    const auto name = volume.name.view();
    std::ranges::copy(name, std::ranges::copy(kVolumes, path.begin()).out);
    return path;
}

// First of all: from here on it has a stage's rights, and not the spawner's. What is set for the job is passed on by the fork.
Result<void> Stage::take_labels() {
    if (label_proc_ == kNoLabels) {
        return {};
    }
    if (const auto entered = kernel::enter_stage_domain(label_proc_); !entered) {
        return entered;
    }
    const auto what = order_.kind == worker::JobKind::System ? kernel::Labelled::SystemJob : kernel::Labelled::Job;
    return kernel::label_next_program(label_proc_, kernel::label_of(what, order_.label_owner));
}

Result<void> Stage::leave_spawner() {
    kernel::set_process_name("joblet-stage");
    ::close(kSpawnerBrokerFd); // the broker learns from its end that the spawner is gone
    for (const int signal : kIgnoredSignals) {
        if (const auto reset = kernel::default_signal(signal); !reset) {
            return reset;
        }
    }
    if (::setsid() < 0) {
        return last_errno();
    }
    return kernel::set_capabilities(kernel::capability_mask({CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_NET_ADMIN}));
}

// A copy of the template: what is attached from here on exists in this job's namespace alone.
Result<void> Stage::enter_template() {
    if (const auto entered = kernel::enter_mount_namespace(descriptor(kLaunchTemplate)); !entered) {
        return entered;
    }
    return kernel::unshare_namespace(kernel::kMountNamespace);
}

Result<void> Stage::attach_volumes() {
    if (const auto moved = kernel::move_mount_to(descriptor(kLaunchVolumesMount), AT_FDCWD, "/volumes"); !moved) {
        return moved;
    }
    std::size_t next = first_volume_of(order_);
    for (const auto& volume : volumes()) {
        if (const auto moved = kernel::move_mount_to(descriptor(next++), AT_FDCWD, path_of(volume).data()); !moved) {
            return moved;
        }
    }
    return {};
}

// Cloned from where they are attached: Linux 6.1 clones no detached mount.
Result<void> Stage::attach_targets() {
    for (const auto& volume : volumes()) {
        if (volume.target.empty()) {
            continue;
        }
        const auto clone = kernel::clone_mount(AT_FDCWD, path_of(volume).data());
        if (!clone) {
            return std::unexpected(clone.error());
        }
        if (const auto moved = kernel::move_mount_to(clone->get(), AT_FDCWD, volume.target.data.data()); !moved) {
            return moved;
        }
    }
    return {};
}

Result<void> Stage::attach_scratch() {
    struct Scratch {
        LaunchDescriptor mount;
        const char* path;
    };
    constexpr std::array kScratch = {Scratch{kLaunchWorkMount, "/work"}, Scratch{kLaunchTmpMount, "/tmp"},
                                     Scratch{kLaunchShmMount, "/dev/shm"}, Scratch{kLaunchPtsMount, "/dev/pts"}};
    for (const auto& [mount, path] : kScratch) {
        if (const auto moved = kernel::move_mount_to(descriptor(mount), AT_FDCWD, path); !moved) {
            return moved;
        }
    }
    return {};
}

// Only a member of the pid namespace can make its proc.
Result<void> Stage::attach_proc() {
    const auto parts = has(kLaunchMaskedProc) ? kernel::ProcParts::All : kernel::ProcParts::Pids;
    auto made = kernel::make_proc(kernel::HidePid::Ptraceable, kernel::Attributes::ReadOnlyAllNoExec, parts);
    if (!made) {
        return std::unexpected(made.error());
    }
    proc_ = std::move(*made);
    return kernel::move_mount_to(proc_.get(), AT_FDCWD, "/proc");
}

Result<void> Stage::mask_proc() {
    return has(kLaunchMaskedProc) ? spawner::mask_proc() : Result<void>{};
}

Result<void> Stage::hide_cgroup_path() {
    return kernel::unshare_namespace(kernel::kCgroupNamespace);
}

// For attaching volumes later: nobody but this process can open it without SYS_PTRACE, and soon it cannot either.
Result<void> Stage::hand_over_mount_namespace() {
    const auto opened = kernel::own_mount_namespace(proc_.get());
    if (!opened) {
        return std::unexpected(opened.error());
    }
    const std::array descriptors = {opened->get()};
    const StageReport report{.type = StageReportType::Namespace};
    const bool sent = send_message(channels_.status, report, descriptors, Wait::No);
    if (!sent && errno != EPIPE && errno != ECONNRESET) {
        return last_errno();
    }
    return {}; // a broker that has just died is no reason for a job not to start
}

Result<void> Stage::bring_loopback_up() {
    return has(kLaunchHostNetwork) ? Result<void>{} : kernel::bring_loopback_up();
}

// The last step that needs more than joining the slot's user namespace does.
Result<void> Stage::set_host_name() {
    if (const auto named = kernel::set_host_name(order_.host_name.data.data()); !named) {
        return named;
    }
    return kernel::set_capabilities(kernel::capability_mask({CAP_SYS_ADMIN}));
}

Result<void> Stage::check_root() {
    return kernel::enter_root_directory();
}

Result<void> Stage::find_stdio() {
    return has(kLaunchDetached) ? stdio_.open_null() : stdio_.receive(channels_.control);
}

Result<void> Stage::open_terminal() {
    return stdio_.open_terminal(channels_.control);
}

Result<void> Stage::place_descriptors() {
    std::array<int, kPlacedMost> from{};
    std::ranges::copy(stdio_.descriptors(), from.begin());
    from[kPlacedRecord] = channels_.record;
    from[kPlacedSpec] = descriptor(kLaunchSpec);
    from[kPlacedControl] = channels_.control;
    from[kPlacedStatus] = channels_.status;
    from[kPlacedUserNamespace] = descriptor(kLaunchUserNamespace);
    std::size_t count = kPlacedLog;
    if (has(kLaunchDetached)) {
        for (std::size_t file = 0; file < kLaunchLogFiles; ++file) {
            from[count++] = descriptor(kLaunchFixed + file);
        }
    }
    if (const auto placed = kernel::place_descriptors(std::span(from).first(count)); !placed) {
        return placed;
    }
    channels_ = {kPlacedRecord, kPlacedStatus, kPlacedControl};
    return {};
}

// Last of all namespaces: afterwards there is no power over any other one.
Result<void> Stage::join_user_namespace() {
    if (const auto joined = kernel::join_user_namespace(kPlacedUserNamespace); !joined) {
        return joined;
    }
    ::close(kPlacedUserNamespace);
    return {};
}

Result<void> Stage::take_ids() {
    return kernel::become_namespace_root();
}

Result<void> Stage::open_output() {
    if (!has(kLaunchDetached)) {
        return {};
    }
    const auto made = make_output_pipes();
    if (!made) {
        return std::unexpected(made.error());
    }
    output_ = *made;
    return {};
}

// Root of the slot's ids may give away what is the slot's, and only that. What the caller gave as stdio stays the caller's.
Result<void> Stage::give_to_user() {
    if (order_.user == 0 && order_.group == 0) {
        return {};
    }
    if (stdio_.has_terminal() || has(kLaunchDetached)) {
        if (const auto given = give_output_to(order_.user, order_.group); !given) {
            return given;
        }
    }
    const Fd work(::open("/work", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!work.valid()) {
        return last_errno();
    }
    const auto given = kernel::change_owner(work.get(), order_.user, order_.group);
    return given || given.error() == EROFS ? Result<void>{} : given; // read-only: see launch.h
}

Result<void> Stage::fork_job() {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK) < 0) {
        return last_errno();
    }
    if (const auto blocked = kernel::block_signal(SIGCHLD); !blocked) {
        return blocked;
    }
    const auto job = kernel::clone_process(kernel::kNoNamespace, -1);
    if (!job) {
        return std::unexpected(job.error());
    }
    if (job->pid == 0) {
        run_job({.kind = order_.kind,
                 .user = order_.user,
                 .group = order_.group,
                 .has_terminal = stdio_.has_terminal(),
                 .spec = kPlacedSpec,
                 .start_pipe = pipe[1]},
                filters_.job);
    }
    ::close(pipe[1]);
    ::close(kPlacedSpec);
    init_ = {.job = job->pid,
             .user = order_.user,
             .start_pipe = pipe[0],
             .started_ns = now_ns(),
             .timeout_ns = static_cast<std::int64_t>(order_.timeout_ns),
             .is_detached = has(kLaunchDetached),
             .channels = channels_,
             .output = output_,
             .log_files = {kPlacedLog, kPlacedLog + 1},
             .log_bytes = order_.log_bytes};
    return {};
}

struct StageStep {
    Step step; // what a failure is reported as
    Result<void> (Stage::*run)();
};
constexpr std::array kSteps = {
    StageStep{Step::DropCapabilities, &Stage::take_labels},
    StageStep{Step::CloneStage, &Stage::leave_spawner},
    StageStep{Step::EnterTemplate, &Stage::enter_template},
    StageStep{Step::MoveMounts, &Stage::attach_volumes},
    StageStep{Step::MoveMounts, &Stage::attach_targets},
    StageStep{Step::MoveMounts, &Stage::attach_scratch},
    StageStep{Step::MountProc, &Stage::attach_proc},
    StageStep{Step::MaskProc, &Stage::mask_proc},
    StageStep{Step::EnterCgroupNamespace, &Stage::hide_cgroup_path},
    StageStep{Step::EnterTemplate, &Stage::hand_over_mount_namespace},
    StageStep{Step::BringLoopbackUp, &Stage::bring_loopback_up},
    StageStep{Step::SetHostName, &Stage::set_host_name},
    StageStep{Step::CheckRoot, &Stage::check_root},
    StageStep{Step::CheckStdio, &Stage::find_stdio},
    StageStep{Step::OpenTerminal, &Stage::open_terminal},
    StageStep{Step::PlaceDescriptors, &Stage::place_descriptors},
    StageStep{Step::JoinUserNamespace, &Stage::join_user_namespace},
    StageStep{Step::SetIds, &Stage::take_ids},
    StageStep{Step::OpenLog, &Stage::open_output},
    StageStep{Step::SetIds, &Stage::give_to_user},
    StageStep{Step::ForkJob, &Stage::fork_job},
};

} // namespace

void run_stage(const Launch& order, std::span<const Fd> descriptors, const StageFilters& filters, int label_proc) noexcept {
    Stage stage(order, descriptors, filters, label_proc);
    for (const auto& [step, run] : kSteps) {
        if (const auto done = (stage.*run)(); !done) {
            stage.fail(step, done.error());
        }
    }
    stage.become_init();
}

} // namespace joblet::spawner
