#include "api-unpriv/host/doctor.h"

namespace joblet::api {

kj::Promise<Outcome<Report>> Doctor::examine(const Caller& caller) {
    protocol::HostReport request;
    request.header.connection = caller.connection;
    request.authority = caller.admin ? protocol::Authority::Admin : protocol::Authority::User;
    return broker_.request(request).then([this](const protocol::Message& message) -> Outcome<Report> {
        if (const auto* facts = std::get_if<protocol::HostFacts>(&message)) {
            auto report = report_of(*facts, volumes_);
            report.checks.push_back(own_files_check(landlock_));
            return report;
        }
        return std::unexpected(refusal_from(reply_of(message), {"examine this host", {}, {}}));
    });
}

} // namespace joblet::api
