#include "broker-root/broker/requests.h"

#include <fmt/format.h>

#include "shared/log.h"

namespace joblet::broker {

namespace {

// The handlers: one for each row of protocol::kRequests. Each gives what goes back, a Reply or a page.
struct Handlers {
    Doorman& doorman;
    Volumes& volumes;
    Jobs& jobs;
    const Client* client; // nullptr: housekeeping
    std::vector<Fd>& descriptors;

    Task<protocol::Reply> operator()(const protocol::CreateVolume& r) const {
        return volumes.create(r, client->uid);
    }
    Task<protocol::Reply> operator()(const protocol::DeleteVolume& r) const {
        return volumes.remove(r, *client);
    }
    protocol::VolumeDetail operator()(const protocol::StatVolume& r) const {
        return volumes.stat(r);
    }
    protocol::VolumePage operator()(const protocol::ListVolumes& r) const {
        return volumes.page(r);
    }
    Task<protocol::Reply> operator()(const protocol::StartJob& r) const {
        return jobs.start(r, client->uid, std::move(descriptors));
    }
    protocol::Reply operator()(const protocol::SignalJob& r) const {
        return jobs.signal(r, *client);
    }
    protocol::JobPage operator()(const protocol::ListJobs& r) const {
        return jobs.page(r);
    }
    protocol::Reply operator()(const protocol::ReleaseJob& r) const {
        return jobs.release(r, client);
    }
    protocol::Reply operator()(const protocol::CloseConnection& r) const {
        doorman.close(r.header.connection);
        return {};
    }
};

protocol::Reply& reply_in(protocol::Reply& reply) {
    return reply;
}
template <class Page> protocol::Reply& reply_in(Page& page) {
    return page.reply;
}

} // namespace

Detached Requests::load() {
    const auto jobs = co_await jobs_.load();
    if (!jobs) {
        log::error(fmt::format("could not {}", step_phrase(jobs.error().step)));
        loop_.stop();
        co_return;
    }
    const auto volumes = co_await volumes_.load();
    if (!volumes) {
        log::error(fmt::format("could not {}", step_phrase(volumes.error().step)));
        loop_.stop();
        co_return;
    }
    jobs_.resume();
    volumes_.keep_records_fresh();
    volumes_.keep_clean();
    serving_.open();
}

Detached Requests::serve(protocol::Request request, std::vector<Fd> descriptors) {
    const std::uint64_t session = api_.session();
    const protocol::RequestHeader header = protocol::header_of(request);
    const auto answer = [this, session, &header](auto message) {
        protocol::Reply& reply = reply_in(message);
        reply.request = header.type;
        reply.sequence = header.sequence;
        // A refusal goes back bare, whatever would have gone back otherwise
        if (reply.code != ErrorCode::Ok) {
            api_.reply(session, protocol::Reply(reply));
        } else {
            api_.reply(session, message);
        }
    };
    if (protocol::row_of(header.type).phase == protocol::Phase::Serving) {
        co_await serving_;
    }
    const Client* found = header.connection == 0 ? nullptr : doorman_.find(header.connection);
    if (header.connection != 0 && found == nullptr) {
        // Gone, or never there: nobody in whose name this could be done. No offence, the client may just have hung up
        answer(refusal(ErrorCode::PermissionDenied));
        co_return;
    }
    const Client client = found != nullptr ? *found : Client{}; // a copy: the connection may end while this is worked on
    const Handlers handlers{doorman_, volumes_, jobs_, found != nullptr ? &client : nullptr, descriptors};
    if (const auto* r = std::get_if<protocol::CreateVolume>(&request)) {
        answer(co_await handlers(*r));
    } else if (const auto* d = std::get_if<protocol::DeleteVolume>(&request)) {
        answer(co_await handlers(*d));
    } else if (const auto* s = std::get_if<protocol::StartJob>(&request)) {
        answer(co_await handlers(*s));
    } else {
        std::visit(
            [&](const auto& at_once) {
                if constexpr (!std::is_same_v<decltype(handlers(at_once)), Task<protocol::Reply>>) {
                    answer(handlers(at_once));
                }
            },
            request);
    }
}

} // namespace joblet::broker
