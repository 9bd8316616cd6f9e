// Which volumes a request is about, and who may see them.
#include <algorithm>

#include <fmt/format.h>

#include "api-unpriv/volumes/manager.h"

namespace joblet::api {

namespace {

Refusal ambiguous(std::string_view selector, const std::vector<const Volume*>& found, Among among) {
    constexpr std::size_t kShown = 16;
    std::vector<std::string> ids;
    for (const Volume* volume : std::span(found).first(std::min(found.size(), kShown))) {
        ids.push_back(to_string(volume->entry.id));
    }
    Refusal refusal = among == Among::All ? invalid("selector", fmt::format("\"{}\" may be any of {} volumes", selector, found.size()),
                                                    "give the whole id, or say whose volume it is")
                                          : invalid("selector",
                                                    fmt::format("\"{}\" may be any of {} volumes: {}{}", selector, found.size(),
                                                                fmt::join(ids, ", "), ids.size() < found.size() ? ", ..." : ""),
                                                    "give the id");
    for (auto& id : ids) {
        refusal.fields.emplace_back("volume", std::move(id));
    }
    return refusal;
}

bool is_own(const Caller& caller, const Scope& scope) {
    return scope.kind != Scope::Kind::Everybody && scope.uid == caller.uid;
}

} // namespace

Outcome<const Volume*> VolumeManager::select(std::string_view selector, const Scope& allowed, Among among) const {
    const auto found = index_.resolve(selector, allowed, among);
    if (found.empty()) {
        return std::unexpected(no_such_volume(selector));
    }
    if (found.size() > 1) {
        return std::unexpected(ambiguous(selector, found, among));
    }
    return found.front();
}

Outcome<const Volume*> VolumeManager::own(const Caller& caller, std::string_view selector, const Scope& asked,
                                          std::string_view doing) const {
    if (asked.kind != Scope::Kind::Own) {
        return std::unexpected(only_own(doing));
    }
    auto found = select(selector, {Scope::Kind::Own, caller.uid}, Among::All);
    if (found && (*found)->entry.status == protocol::VolumeStatus::Trashed) {
        return std::unexpected(in_trash((*found)->entry.name.view()));
    }
    return found;
}

// ---- reading

kj::Promise<Outcome<void>> VolumeManager::on_record(const Caller& caller, const Scope& scope, VolumeId one, std::string asked) {
    if (is_own(caller, scope)) {
        return Outcome<void>();
    }
    protocol::AdminRead request;
    request.header.connection = caller.connection;
    request.id = one;
    if (one.is_none()) {
        request.uid = scope.kind == Scope::Kind::Everybody ? 0 : scope.uid;
        request.everybody = scope.kind == Scope::Kind::Everybody ? 1 : 0;
    }
    return broker_.request(request).then([asked = std::move(asked)](const protocol::Message& message) -> Outcome<void> {
        const protocol::Reply& reply = reply_of(message);
        if (reply.code != ErrorCode::Ok) {
            return std::unexpected(refusal_from(reply, {"read what belongs to other users", asked, asked}));
        }
        return {};
    });
}

kj::Promise<Outcome<Volume>> VolumeManager::get(const Caller& caller, std::string_view selector, Scope scope) {
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return Outcome<Volume>(std::unexpected(allowed.error()));
    }
    const auto found = select(selector, *allowed, Among::All);
    if (!found) {
        return refuse_on_record<Volume>(caller, *allowed, found.error());
    }
    const VolumeId id = (*found)->entry.id;
    std::string asked(selector);
    return on_record(caller, *allowed, id, asked).then([this, id, asked](const Outcome<void>& recorded) -> Outcome<Volume> {
        if (!recorded) {
            return std::unexpected(recorded.error());
        }
        const Volume* volume = index_.find(id);
        if (volume == nullptr) {
            return std::unexpected(no_such_volume(asked));
        }
        return *volume;
    });
}

kj::Promise<Outcome<VolumeList>> VolumeManager::list(const Caller& caller, VolumeQuery query) {
    const auto allowed = permitted(caller, query.scope);
    if (!allowed) {
        return Outcome<VolumeList>(std::unexpected(allowed.error()));
    }
    query.scope = *allowed;
    return on_record(caller, *allowed).then([this, query = std::move(query)](const Outcome<void>& recorded) -> Outcome<VolumeList> {
        if (!recorded) {
            return std::unexpected(recorded.error());
        }
        auto page = index_.list(query);
        if (!page) {
            return std::unexpected(
                invalid("page.after", "this is not the end of an earlier page", "use `next` of the page before, as it was given"));
        }
        VolumeList out;
        std::ranges::transform(page->volumes, std::back_inserter(out.volumes), [](const Volume* volume) { return *volume; });
        out.next = std::move(page->next);
        out.matching = page->matching;
        return out;
    });
}

} // namespace joblet::api
