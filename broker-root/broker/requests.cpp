#include "broker-root/broker/requests.h"

#include <fmt/format.h>

#include "broker-root/broker/audit_words.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

// The handlers: one for each row of protocol::kRequests. Each gives what goes back, a Reply or a page.
struct Handlers {
    Doorman& doorman;
    Volumes& volumes;
    Jobs& jobs;
    HostReporter& host;
    const Client* client; // nullptr: housekeeping

    Task<protocol::Reply> operator()(const protocol::CreateVolume& r) const {
        return volumes.create(r, client->uid);
    }
    Task<protocol::Reply> operator()(const protocol::DeleteVolume& r) const {
        return volumes.remove(r, *client);
    }
    Task<protocol::Reply> operator()(const protocol::RestoreVolume& r) const {
        return volumes.restore(r, *client);
    }
    Task<protocol::Reply> operator()(const protocol::ProtectVolume& r) const {
        return volumes.protect(r, *client);
    }
    Task<protocol::Reply> operator()(const protocol::LabelVolume& r) const {
        return volumes.label(r, *client);
    }
    Task<protocol::Reply> operator()(const protocol::RenameVolume& r) const {
        return volumes.rename(r, *client);
    }
    Task<protocol::Reply> operator()(const protocol::ResizeVolume& r) const {
        return volumes.resize(r, *client);
    }
    Task<protocol::VolumeMeasure> operator()(const protocol::MeasureVolume& r) const {
        return volumes.measure(r, *client);
    }
    Task<protocol::HostFacts> operator()(const protocol::HostReport& r) const {
        return host.report(r, *client);
    }
    Task<protocol::Reply> operator()(const protocol::AttachVolume& r) const {
        return jobs.attach(r, client->uid);
    }
    Task<protocol::Reply> operator()(const protocol::DetachVolume& r) const {
        return jobs.detach(r, client->uid);
    }
    protocol::Reply operator()(const protocol::AdminRead& /*all of it is on record*/) const {
        if (!client->admin) {
            return refusal(ErrorCode::PermissionDenied);
        }
        return {}; // what it is for is the record of it
    }
    protocol::VolumeDetail operator()(const protocol::StatVolume& r) const {
        return volumes.stat(r);
    }
    protocol::VolumePage operator()(const protocol::ListVolumes& r) const {
        return volumes.page(r);
    }
    Task<protocol::JobWorld> operator()(const protocol::StartJob& r) const {
        Channels* const channels = doorman.channels_of(r.header.connection);
        return jobs.start(r, client->uid, channels != nullptr ? channels->take(r.channel) : std::nullopt);
    }
    ReplyWithFiles operator()(const protocol::CreateChannel& r) const {
        Channels* const channels = doorman.channels_of(r.header.connection);
        return channels != nullptr ? channels->make(r.header.sequence, r.replaces)
                                   : ReplyWithFiles{refusal(ErrorCode::PermissionDenied), {}};
    }
    protocol::Reply operator()(const protocol::SignalJob& r) const {
        return jobs.signal(r, *client);
    }
    protocol::JobPage operator()(const protocol::ListJobs& r) const {
        return jobs.page(r);
    }
    Task<protocol::Reply> operator()(const protocol::ReleaseJob& r) const {
        return jobs.release(r, client != nullptr ? std::optional(*client) : std::nullopt);
    }
    Task<ReplyWithFiles> operator()(const protocol::OpenLog& r) const {
        return jobs.open_log(r, *client);
    }
    protocol::BaseList operator()(const protocol::ListBases& /*all there are*/) const {
        return jobs.bases();
    }
    protocol::Reply operator()(const protocol::CloseConnection& r) const {
        doorman.close(r.header.connection);
        return {};
    }
};

template <class T> inline constexpr bool kIsTask = false;
template <class T> inline constexpr bool kIsTask<Task<T>> = true;

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

template <class Request>
Task<bool> Requests::concluded(const Request& request, const Client* client, std::uint64_t begun, const protocol::Reply& reply) {
    if (begun == 0) {
        co_return true;
    }
    AuditFields fields = audit_fields("end", request.header, client);
    add_verdict(fields, reply);
    co_return co_await audit_.after(begun, std::move(fields));
}

template <class Request> Detached Requests::carry_out(Request request, std::optional<Client> client) {
    const std::uint64_t session = api_.session();
    const Client* const asker = client ? &*client : nullptr;
    std::uint64_t begun = 0; // the record of its beginning
    if (is_audited(request)) {
        AuditFields fields = audit_fields("begin", request.header, asker);
        add_asked(fields, request);
        const auto written = co_await audit_.before(std::move(fields));
        if (!written) {
            protocol::Reply refused = refusal(Failure{ErrorCode::Unavailable, Step::WriteAudit, written.error()});
            refused.request = request.header.type;
            refused.sequence = request.header.sequence;
            api_.reply(session, refused);
            co_return;
        }
        begun = *written;
    }
    const auto answer = [this, session, &request](auto message) {
        protocol::Reply& reply = reply_in(message);
        reply.request = request.header.type;
        reply.sequence = request.header.sequence;
        // A refusal goes back bare, whatever would have gone back otherwise
        if (reply.code != ErrorCode::Ok) {
            api_.reply(session, protocol::Reply(reply));
        } else if constexpr (std::is_same_v<decltype(message), ReplyWithFiles>) {
            api_.reply(session, reply, std::move(message.files));
        } else {
            api_.reply(session, message);
        }
    };
    const Handlers handlers{doorman_, volumes_, jobs_, host_, asker};
    if (request.header.connection != 0 && asker == nullptr) {
        // Gone, or never there: nobody in whose name this could be done. No offence, the client may just have hung up
        protocol::Reply refused = refusal(ErrorCode::PermissionDenied);
        co_await concluded(request, asker, begun, refused);
        answer(refused);
    } else if constexpr (kIsTask<decltype(handlers(request))>) {
        auto done = co_await handlers(request);
        co_await concluded(request, asker, begun, reply_in(done));
        answer(std::move(done));
    } else {
        auto done = handlers(request);
        co_await concluded(request, asker, begun, reply_in(done));
        answer(std::move(done));
    }
}

Detached Requests::serve(protocol::Request request) {
    const protocol::RequestHeader header = protocol::header_of(request);
    const std::uint64_t session = api_.session();
    if (protocol::row_of(header.type).phase == protocol::Phase::Serving) {
        co_await serving_;
        supervisor_.ready(); // the API reads its configuration before it asks for anything
    }
    if (api_.session() != session) {
        co_return; // the API that asked is gone, and its connections with it
    }
    const Client* found = header.connection == 0 ? nullptr : doorman_.find(header.connection);
    // A copy: the connection may end while this is worked on
    const std::optional<Client> client = found != nullptr ? std::optional(*found) : std::nullopt;
    std::visit([&](const auto& one) { carry_out(one, client); }, request);
}

} // namespace joblet::broker
