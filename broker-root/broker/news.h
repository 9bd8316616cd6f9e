// What changed, for whoever tells the API; and what happens without anybody's asking, for the audit log.
#pragma once

#include <functional>
#include <vector>

#include "broker-root/broker/audit_log.h"
#include "broker-root/broker/registry.h"
#include "shared/fd.h"
#include "shared/protocol_messages.h"

namespace joblet::broker {

struct News {
    std::function<void(const Volume&)> volume_changed;
    std::function<void(VolumeId)> volume_gone;
    std::function<void(const protocol::JobEntry&)> job_changed;
    // False: no record can be written, and what is in its power must not be done.
    std::function<bool(const AuditFields&)> on_record;
};

// A reply, and what goes with it if it is Ok.
struct ReplyWithFiles {
    protocol::Reply reply;
    std::vector<Fd> files;
};

// A refusal of whatever was asked, or the plain "done"; the dispatcher adds which request it answers.
inline protocol::Reply refusal(ErrorCode code) {
    protocol::Reply reply;
    reply.code = code;
    return reply;
}
inline protocol::Reply refusal(const Failure& failure) {
    protocol::Reply reply;
    reply.code = failure.code;
    reply.step = failure.step;
    reply.sys_errno = failure.sys_errno;
    return reply;
}
inline protocol::Reply limit_refusal(protocol::LimitKind which, std::uint64_t limit, std::uint64_t used, std::uint64_t asked) {
    protocol::Reply reply;
    reply.code = ErrorCode::LimitExceeded;
    reply.which = static_cast<std::uint32_t>(which);
    reply.limit = limit;
    reply.used = used;
    reply.asked = asked;
    return reply;
}

} // namespace joblet::broker
