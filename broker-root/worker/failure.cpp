#include "broker-root/worker/failure.h"

#include <array>
#include <cerrno>

namespace joblet::worker {
namespace {

struct Row {
    int sys_errno;
    ErrorCode code;
};
constexpr auto kCodes = std::to_array<Row>({
    {ENOENT, ErrorCode::NotFound},
    {EEXIST, ErrorCode::Conflict},
    {EWOULDBLOCK, ErrorCode::InUse}, // a lock that somebody else holds
    {EBUSY, ErrorCode::InUse},
    {ENOSPC, ErrorCode::OutOfSpace},
    {EDQUOT, ErrorCode::OutOfSpace},
    {EOPNOTSUPP, ErrorCode::Unsupported},
    {EFBIG, ErrorCode::Unsupported},
    {ENOTTY, ErrorCode::Unsupported},   // a file system that is no btrfs
    {ENOTCONN, ErrorCode::Unsupported}, // btrfs without quotas
    {ESRCH, ErrorCode::Unsupported},    // a file system whose project quotas are off
    {ENOSYS, ErrorCode::Unsupported},   // a kernel without them
    {EUCLEAN, ErrorCode::Quarantined},  // ext4: the structure needs cleaning
    {EBADMSG, ErrorCode::Quarantined},  // ext4: a checksum is wrong
});

} // namespace

Failure failure_of(Step step, int sys_errno) {
    for (const auto& row : kCodes) {
        if (row.sys_errno == sys_errno) {
            return {row.code, step, sys_errno};
        }
    }
    return {ErrorCode::Internal, step, sys_errno};
}

} // namespace joblet::worker
