// The log of a job: opened by the broker, read by whoever asked.
#include <fmt/format.h>

#include "api-unpriv/jobs/manager.h"

namespace joblet::api {

kj::Promise<Outcome<JobLog>> JobManager::logs(const Caller& caller, std::string_view selector, Scope scope) {
    const auto found = get(caller, selector, scope);
    if (!found) {
        return Outcome<JobLog>(std::unexpected(found.error()));
    }
    const Job& job = **found;
    protocol::OpenLog request;
    request.header.connection = caller.connection;
    request.id = job.id;
    request.authority = authority_over(caller, job.owner_uid);
    // Whether there is one is the broker's to say: of a job whose history was lost it is not known here
    return broker_.request_all(request).then([asked = std::string(selector), detached = job.detached](Answer answer) -> Outcome<JobLog> {
        const protocol::Reply& reply = reply_of(answer.message);
        if (reply.code == ErrorCode::NotFound) {
            return std::unexpected(detached ? log_gone(asked) : no_log(asked));
        }
        if (reply.code != ErrorCode::Ok) {
            return std::unexpected(refusal_from(reply, {fmt::format("open the log of job {}", asked), {}, asked, true}));
        }
        static_assert(protocol::kLogDescriptors == 2);
        return JobLog{std::move(answer.descriptors.at(0)), std::move(answer.descriptors.at(1))};
    });
}

} // namespace joblet::api
