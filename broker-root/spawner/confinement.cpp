#include "broker-root/spawner/confinement.h"

#include <fcntl.h>
#include <linux/capability.h>

#include <vector>

#include "broker-root/kernel/caps.h"
#include "broker-root/kernel/mount.h"
#include "broker-root/kernel/namespace.h"
#include "broker-root/spawner/filter_table_init.h"
#include "broker-root/spawner/filter_table_job.h"
#include "broker-root/spawner/filter_table_spawner.h"

namespace joblet::spawner {

std::expected<Filters, std::string> compile_filters() {
    std::vector<SyscallRule> own(job_calls().begin(), job_calls().end());
    own.insert(own.end(), stage_calls().begin(), stage_calls().end());

    auto spawner = compile_filter(own, {}, OtherCalls::FailWithEPERM);
    auto controls = compile_filter({}, refused_controls(), OtherCalls::LeaveToAllowlist);
    auto job = compile_filter(job_calls(), job_refusals(), OtherCalls::FailWithEPERM);
    auto init = compile_filter(init_calls(), {}, OtherCalls::KillProcess);
    for (const auto* compiled : {&spawner, &controls, &job, &init}) {
        if (!*compiled) {
            return std::unexpected(compiled->error());
        }
    }
    return Filters{std::move(*spawner), std::move(*controls), {std::move(*job), std::move(*init)}};
}

kernel::Result<void> enter_empty_namespace(int proc) {
    constexpr std::uint64_t kPage = 4096;
    if (const auto unshared = kernel::unshare_mounts(proc); !unshared) {
        return unshared;
    }
    const auto root = kernel::make_tmpfs({.size_bytes = kPage, .inodes = 1, .mode = 0555}, kernel::Attributes::ReadOnlyNoSuidNoDev);
    if (!root) {
        return std::unexpected(root.error());
    }
    if (const auto attached = kernel::move_mount_to(root->get(), AT_FDCWD, "/"); !attached) {
        return attached;
    }
    return kernel::pivot_to(root->get());
}

kernel::Result<void> confine(const Filters& filters) {
    const auto serving = kernel::capability_mask({CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_NET_ADMIN});
    if (const auto confined = kernel::confine_process(serving); !confined) {
        return confined;
    }
    for (const auto* filter : {&filters.controls, &filters.own}) {
        if (const int error = install_filter(*filter); error != 0) {
            return std::unexpected(error);
        }
    }
    return {};
}

} // namespace joblet::spawner
