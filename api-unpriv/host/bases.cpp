#include "api-unpriv/host/bases.h"

#include <span>

#include <fmt/format.h>

#include "shared/log.h"

namespace joblet::api {

namespace {
constexpr auto kLoadRetry = 50 * kj::MILLISECONDS;
}

kj::Promise<ErrorCode> Bases::ask() {
    return broker_.request(protocol::ListBases{}).then([this](const protocol::Message& message) {
        if (const auto* list = std::get_if<protocol::BaseList>(&message)) {
            known_.clear();
            for (const auto& base : std::span(list->bases).first(list->reply.count)) {
                known_.push_back({base.name.string(), base.proc, base.is_usable != 0});
            }
        }
        return reply_of(message).code;
    });
}

kj::Promise<void> Bases::load(kj::Timer& timer) {
    return ask().then([this, &timer](ErrorCode code) -> kj::Promise<void> {
        if (code == ErrorCode::Unavailable) {
            return timer.afterDelay(kLoadRetry).then([this, &timer]() { return load(timer); });
        }
        if (code != ErrorCode::Ok) {
            log::warning(fmt::format("the broker does not name its bases: {}", error_code_name(code)));
        }
        return kj::READY_NOW;
    });
}

kj::Promise<Outcome<std::vector<Base>>> Bases::list() {
    return ask().then([this](ErrorCode code) -> Outcome<std::vector<Base>> {
        if (code == ErrorCode::Ok) {
            return known_;
        }
        protocol::Reply reply;
        reply.code = code;
        reply.request = protocol::RequestType::ListBases;
        return std::unexpected(refusal_from(reply, {"list the bases", {}, {}}));
    });
}

std::vector<std::string> Bases::usable() const {
    std::vector<std::string> names;
    for (const auto& base : known_) {
        if (base.usable) {
            names.push_back(base.name);
        }
    }
    return names;
}

} // namespace joblet::api
