#include "broker-root/kernel/caps.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace joblet::kernel {

namespace {

constexpr int kCapabilityBits = 64;

bool contains(CapabilityMask mask, int capability) {
    return ((mask >> static_cast<unsigned>(capability)) & 1U) != 0;
}

Result<void> set_three_sets(CapabilityMask permitted, CapabilityMask effective, CapabilityMask inheritable) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    for (unsigned word = 0; word < data.size(); ++word) {
        data[word].permitted = static_cast<__u32>(permitted >> (32U * word));
        data[word].effective = static_cast<__u32>(effective >> (32U * word));
        data[word].inheritable = static_cast<__u32>(inheritable >> (32U * word));
    }
    if (::syscall(SYS_capset, &header, data.data()) < 0) {
        return last_errno();
    }
    return {};
}

Result<std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>> own_sets() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    if (::syscall(SYS_capget, &header, data.data()) < 0) {
        return last_errno();
    }
    return data;
}

CapabilityMask joined(std::uint32_t low, std::uint32_t high) {
    return CapabilityMask{high} << 32U | low;
}

Result<void> clear_ambient() {
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace

CapabilityMask capability_mask(std::initializer_list<int> capabilities) {
    CapabilityMask mask = 0;
    for (const int capability : capabilities) {
        mask |= CapabilityMask{1} << static_cast<unsigned>(capability);
    }
    return mask;
}

Result<void> set_capabilities(CapabilityMask keep) {
    if (const auto cleared = clear_ambient(); !cleared) {
        return cleared;
    }
    return set_three_sets(keep, keep, 0);
}

Result<void> set_capabilities_across_exec(CapabilityMask keep) {
    if (const auto cleared = clear_ambient(); !cleared) {
        return cleared;
    }
    if (const auto set = set_three_sets(keep, keep, keep); !set) {
        return set;
    }
    for (int capability = 0; capability < kCapabilityBits; ++capability) {
        if (contains(keep, capability) && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0) {
            return last_errno();
        }
    }
    return {};
}

Result<void> drop_bounding(CapabilityMask keep) {
    for (int capability = 0; capability < kCapabilityBits; ++capability) {
        if (contains(keep, capability)) {
            continue;
        }
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL && capability > CAP_CHECKPOINT_RESTORE) {
                return {}; // beyond the last capability that this kernel knows; those it knows are numbered without gaps
            }
            return last_errno();
        }
    }
    return {};
}

Result<void> confine_process(CapabilityMask keep, CapabilityMask on_demand) {
    if (const auto dropped = drop_bounding(keep | on_demand); !dropped) {
        return dropped;
    }
    if (const auto cleared = clear_ambient(); !cleared) {
        return cleared;
    }
    if (const auto set = set_three_sets(keep | on_demand, keep, 0); !set) {
        return set;
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return last_errno();
    }
    return {};
}

Result<CapabilityMask> permitted_among(CapabilityMask wanted) {
    const auto own = own_sets();
    if (!own) {
        return std::unexpected(own.error());
    }
    return wanted & joined((*own)[0].permitted, (*own)[1].permitted);
}

Result<RaisedCapabilities> RaisedCapabilities::raise(CapabilityMask more) {
    const auto own = own_sets();
    if (!own) {
        return std::unexpected(own.error());
    }
    const Sets now{.permitted = joined((*own)[0].permitted, (*own)[1].permitted),
                   .effective = joined((*own)[0].effective, (*own)[1].effective),
                   .inheritable = joined((*own)[0].inheritable, (*own)[1].inheritable)};
    if (const auto set = set_three_sets(now.permitted, now.effective | more, now.inheritable); !set) {
        return std::unexpected(set.error());
    }
    return RaisedCapabilities(now);
}

RaisedCapabilities::~RaisedCapabilities() {
    if (is_raised_ && !set_three_sets(lowered_.permitted, lowered_.effective, lowered_.inheritable)) {
        std::_Exit(EXIT_FAILURE);
    }
}

Result<void> check_inherited_descriptors(int last) {
    // One descriptor more than there should be is the directory itself.
    DIR* const directory = ::opendir("/proc/self/fd");
    if (directory == nullptr) {
        return last_errno();
    }
    int outcome = 0;
    const int own = ::dirfd(directory);
    int found = 0;
    errno = 0;
    while (const dirent* const entry = ::readdir(directory)) {
        const char* const name = &entry->d_name[0];
        if (*name == '.') {
            continue;
        }
        char* end = nullptr;
        const long number = std::strtol(name, &end, 10);
        if (number == own) {
            continue;
        }
        if (number > last) {
            outcome = EMFILE;
            break;
        }
        ++found;
    }
    if (outcome == 0 && errno != 0) {
        outcome = errno;
    }
    ::closedir(directory);
    if (outcome == 0 && found != last + 1) {
        outcome = EBADF;
    }
    if (outcome != 0) {
        return std::unexpected(outcome);
    }
    return {};
}

} // namespace joblet::kernel
