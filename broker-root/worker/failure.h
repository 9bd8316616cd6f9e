// A failed kernel call as what crosses to the broker.
#pragma once

#include <cerrno>
#include <expected>

#include "shared/error.h"

namespace joblet::worker {

template <class T> using Outcome = std::expected<T, Failure>;

// The code that fits the errno; what fits none is Internal.
Failure failure_of(Step step, int sys_errno);

inline std::unexpected<Failure> failed(Step step, int sys_errno) {
    return std::unexpected(failure_of(step, sys_errno));
}

// More is used of a volume than its new limit allows.
inline std::unexpected<Failure> beyond_limit() {
    return std::unexpected(Failure{ErrorCode::LimitExceeded, Step::ResizeVolume, EDQUOT});
}

} // namespace joblet::worker
