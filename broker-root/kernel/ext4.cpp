#include "broker-root/kernel/ext4.h"

#include <sys/ioctl.h>

namespace joblet::kernel {

Result<void> grow_ext4(int directory, std::uint64_t blocks) {
    if (::ioctl(directory, kExt4Resize, &blocks) < 0) {
        return last_errno();
    }
    return {};
}

} // namespace joblet::kernel
