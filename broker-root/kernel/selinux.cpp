#include "broker-root/kernel/selinux.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "shared/fd.h"

namespace joblet::kernel {
namespace {

constexpr const char* kCurrent = "self/attr/current";
constexpr const char* kExec = "self/attr/exec";
constexpr std::string_view kStageContext = "system_u:system_r:joblet_stage_t:s0-s0:c0.c1023";

// User, role and type; the level follows.
constexpr const char* beginning_of(Labelled what) {
    switch (what) {
    case Labelled::Volume:
        return "system_u:object_r:joblet_volume_t";
    case Labelled::Image:
        return "system_u:object_r:joblet_image_t";
    case Labelled::Scratch:
        return "system_u:object_r:joblet_scratch_t";
    case Labelled::Job:
        return "system_u:system_r:joblet_job_t";
    case Labelled::SystemJob:
        return "system_u:system_r:joblet_sysjob_t";
    }
    return ""; // no context: the kernel refuses it
}

// What stands in the context of a process in that domain, and nowhere else in it.
constexpr std::string_view type_of(Domain domain) {
    return domain == Domain::Worker ? ":joblet_worker_t:" : ":joblet_spawner_t:";
}

// In one piece, as the kernel wants it.
Result<void> write_attribute(int proc, const char* name, std::string_view text) {
    const Fd file(::openat(proc, name, O_WRONLY | O_CLOEXEC));
    if (!file.valid()) {
        return last_errno();
    }
    const ssize_t size = ::write(file.get(), text.data(), text.size());
    if (size < 0) {
        return last_errno();
    }
    return static_cast<std::size_t>(size) == text.size() ? Result<void>() : std::unexpected(EIO);
}

} // namespace

// The pairs below `high` are high * (high - 1) / 2: (0,1) (0,2) (1,2) (0,3) …
CategoryPair categories_of(std::uint32_t owner_uid) {
    std::uint32_t rest = owner_uid % kCategoryPairs;
    std::uint32_t high = 1;
    while (rest >= high) {
        rest -= high;
        ++high;
    }
    return {.low = rest, .high = high};
}

Label label_of(Labelled what, std::uint32_t owner_uid) {
    const auto [low, high] = categories_of(owner_uid);
    Label label{};
    std::snprintf(label.data(), label.size(), "%s:s0:c%u,c%u", beginning_of(what), low, high);
    return label;
}

Result<bool> runs_in(int proc, Domain domain) {
    const Fd file(::openat(proc, kCurrent, O_RDONLY | O_CLOEXEC));
    if (!file.valid()) {
        return errno == ENOENT ? Result<bool>(false) : last_errno(); // a kernel without security modules
    }
    std::array<char, 256> context{};
    const ssize_t size = ::read(file.get(), context.data(), context.size());
    if (size < 0) {
        return errno == EINVAL ? Result<bool>(false) : last_errno(); // none of them is active
    }
    return std::string_view(context.data(), static_cast<std::size_t>(size)).contains(type_of(domain));
}

Result<void> label_file(int file, const Label& label) {
    return ::fsetxattr(file, "security.selinux", label.data(), label.size(), 0) == 0 ? Result<void>() : last_errno();
}

Result<void> enter_stage_domain(int proc) {
    return write_attribute(proc, kCurrent, kStageContext);
}

Result<void> label_next_program(int proc, const Label& label) {
    return write_attribute(proc, kExec, {label.data()});
}

} // namespace joblet::kernel
