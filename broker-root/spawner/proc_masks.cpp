#include "broker-root/spawner/proc_masks.h"

#include <fcntl.h>

#include <array>

#include "broker-root/kernel/mount.h"

namespace joblet::spawner {

namespace {

using enum MaskKind;
using kernel::Result;

constexpr std::string_view kMemoryOfHost = "the host's memory itself";
constexpr std::string_view kPages = "which pages of memory are used how: finds other tenants' pages, and those to attack";
constexpr std::string_view kAllocator = "how the kernel's free memory lies: what an attack on its allocator needs to know";
constexpr std::string_view kAddresses = "addresses inside the kernel, or what is loaded where";
constexpr std::string_view kKeys = "keys of the host's users: who has how many, and what they are called";
constexpr std::string_view kTimes = "timers and run queues with the host's processes in them";
constexpr std::string_view kBoot = "how the host was booted; passwords and tokens are given that way";
constexpr std::string_view kHardware = "which devices the host has, and how its drivers are set";

constexpr auto kMasks = std::to_array<ProcMask>({
    {"/proc/kcore", File, kMemoryOfHost},
    {"/proc/vmcore", File, kMemoryOfHost},
    {"/proc/kpagecount", File, kPages},
    {"/proc/kpageflags", File, kPages},
    {"/proc/kpagecgroup", File, kPages},
    {"/proc/buddyinfo", File, kAllocator},
    {"/proc/pagetypeinfo", File, kAllocator},
    {"/proc/zoneinfo", File, kAllocator},
    {"/proc/slabinfo", File, kAllocator},
    {"/proc/vmallocinfo", File, kAddresses},
    {"/proc/kallsyms", File, kAddresses},
    {"/proc/modules", File, kAddresses},
    {"/proc/iomem", File, kAddresses},
    {"/proc/ioports", File, kAddresses},
    {"/proc/keys", File, kKeys},
    {"/proc/key-users", File, kKeys},
    {"/proc/timer_list", File, kTimes},
    {"/proc/timer_stats", File, kTimes},
    {"/proc/sched_debug", File, kTimes},
    {"/proc/latency_stats", File, kTimes},
    {"/proc/interrupts", File, "counts of each device's interrupts: when somebody types, when packets arrive"},
    {"/proc/locks", File, "which files of the host are locked, by number"},
    {"/proc/sysrq-trigger", File, "reboots the host, or kills everything on it"},
    {"/proc/kmsg", File, "the kernel's log"},
    {"/proc/cmdline", File, kBoot},
    {"/proc/bootconfig", File, kBoot},
    {"/proc/mtrr", File, "sets how the processor caches memory"},
    {"/proc/acpi", Directory, kHardware},
    {"/proc/asound", Directory, kHardware},
    {"/proc/bus", Directory, kHardware},
    {"/proc/driver", Directory, kHardware},
    {"/proc/scsi", Directory, kHardware},
    {"/proc/tty", Directory, kHardware},
    {"/proc/irq", Directory, "which processor serves which device"},
    {"/proc/fs", Directory, "the host's file systems by device, with their settings"},
    {"/proc/dynamic_debug", Directory, "makes the kernel log more"},
    // Most of it is harmless to read, but it names the host (boot_id, core_pattern's program, file system and driver settings), and grows
    // with each kernel. Programs live without any of it, as they do where proc shows only processes
    {"/proc/sys", Directory, "the host's settings"},
});

} // namespace

std::span<const ProcMask> proc_masks() {
    return kMasks;
}

Result<void> mask_proc() {
    constexpr std::uint64_t kPage = 4096;
    const auto empty = kernel::make_tmpfs({.size_bytes = kPage, .inodes = 1, .mode = 0555}, kernel::Attributes::ReadOnlyAllNoExec);
    if (!empty) {
        return std::unexpected(empty.error());
    }
    // Clones are made of what is attached: Linux 6.1 clones no detached mount
    const char* attached_empty = nullptr;
    for (const auto& mask : kMasks) {
        const bool is_first_directory = mask.kind == Directory && attached_empty == nullptr;
        Result<Fd> clone = Fd();
        if (!is_first_directory) {
            clone = kernel::clone_mount(AT_FDCWD, mask.kind == File ? "/dev/null" : attached_empty);
            if (!clone) {
                return std::unexpected(clone.error());
            }
        }
        const auto moved = kernel::move_mount_to(is_first_directory ? empty->get() : clone->get(), AT_FDCWD, mask.path);
        if (!moved && moved.error() != ENOENT) {
            return moved;
        }
        if (moved && is_first_directory) {
            attached_empty = mask.path;
        }
    }
    return {};
}

} // namespace joblet::spawner
