// Changes of a volume that is there. Each is carried out even if its caller is gone meanwhile.
#include <algorithm>

#include <fmt/format.h>

#include "api-unpriv/volumes/manager.h"

namespace joblet::api {

namespace {

using protocol::Reply;

Outcome<void> check_name(std::string_view name) {
    if (!is_valid_name(name)) {
        return std::unexpected(invalid("name", "the name of the volume is not valid", fmt::format("a name is {}", kNameForms)));
    }
    return {};
}

// Each key once, in one of the two lists, and all of the right form.
Outcome<void> check(const LabelChange& wanted) {
    if (const auto blob = encode_labels(wanted.set); !blob) {
        return std::unexpected(invalid("set", blob.error()));
    }
    Labels removed;
    for (const auto& key : wanted.remove) {
        removed.emplace_back(key, std::string());
    }
    if (const auto blob = encode_labels(removed); !blob) {
        return std::unexpected(invalid("remove", blob.error()));
    }
    for (const auto& [key, value] : wanted.set) {
        if (std::ranges::find(wanted.remove, key) != wanted.remove.end()) {
            return std::unexpected(invalid("remove", fmt::format("label \"{}\" is both set and removed", key)));
        }
    }
    return {};
}

Outcome<protocol::LabelVolume> label_request(const Volume& volume, const LabelChange& wanted) {
    Labels labels = wanted.set;
    for (const auto& label : volume.labels) {
        const bool is_set = std::ranges::find(wanted.set, label.first, &Labels::value_type::first) != wanted.set.end();
        if (!is_set && std::ranges::find(wanted.remove, label.first) == wanted.remove.end()) {
            labels.push_back(label);
        }
    }
    const auto blob = encode_labels(std::move(labels));
    if (!blob) {
        return std::unexpected(invalid("set", blob.error()));
    }
    protocol::LabelVolume request;
    request.id = volume.entry.id;
    request.labels_size = static_cast<std::uint32_t>(blob->size());
    std::ranges::copy(*blob, request.labels.begin());
    return request;
}

Subject about(const Volume& volume, std::string_view selector, std::string doing) {
    return {std::move(doing), volume.entry.name.string(), std::string(selector)};
}

} // namespace

template <class T> kj::Promise<Outcome<T>> VolumeManager::lasting(kj::Promise<Outcome<T>> change) {
    auto forked = change.fork();
    tasks_.add(forked.addBranch().ignoreResult());
    return forked.addBranch();
}

template <class Request> kj::Promise<Outcome<Volume>> VolumeManager::change(const Caller& caller, Request request, Subject subject) {
    request.header.connection = caller.connection;
    const VolumeId id = request.id;
    return broker_.request(request).then(
        [this, id, subject = std::move(subject)](const protocol::Message& message) -> kj::Promise<Outcome<Volume>> {
            if (const Reply& reply = reply_of(message); reply.code != ErrorCode::Ok) {
                return Outcome<Volume>(std::unexpected(refusal(reply, id, subject)));
            }
            // The news of it may come after the reply
            return refresh(id).then([this, id, asked = subject.asked](bool answered) -> Outcome<Volume> {
                const Volume* volume = index_.find(id);
                if (!answered) {
                    return std::unexpected(unavailable());
                }
                if (volume == nullptr) { // and removed at once by somebody else
                    return std::unexpected(no_such_volume(asked));
                }
                return *volume;
            });
        });
}

Refusal VolumeManager::refusal(const Reply& reply, VolumeId id, Subject subject) const {
    if (reply.code == ErrorCode::InUse && holders_) {
        subject.jobs = holders_(id);
    }
    return refusal_from(reply, subject);
}

kj::Promise<Outcome<Volume>> VolumeManager::rename(const Caller& caller, std::string_view selector, Scope scope, std::string_view name) {
    const auto found = own(caller, selector, scope, "rename");
    if (!found) {
        return Outcome<Volume>(std::unexpected(found.error()));
    }
    if (auto valid = check_name(name); !valid) {
        return Outcome<Volume>(std::unexpected(valid.error()));
    }
    protocol::RenameVolume request;
    request.id = (*found)->entry.id;
    request.name = NameText(name);
    auto doing = fmt::format("rename volume \"{}\" to \"{}\"", (*found)->entry.name.view(), name);
    return lasting(change(caller, request, about(**found, selector, std::move(doing))));
}

kj::Promise<Outcome<Volume>> VolumeManager::label(const Caller& caller, std::string_view selector, Scope scope, LabelChange wanted) {
    const auto found = own(caller, selector, scope, "label");
    if (!found) {
        return Outcome<Volume>(std::unexpected(found.error()));
    }
    if (auto sound = check(wanted); !sound) {
        return Outcome<Volume>(std::unexpected(sound.error()));
    }
    const VolumeId id = (*found)->entry.id;
    auto in_turn = [this, caller, id, asked = std::string(selector), wanted = std::move(wanted)]() -> kj::Promise<Outcome<Volume>> {
        const Volume* volume = index_.find(id);
        if (volume == nullptr) {
            return Outcome<Volume>(std::unexpected(no_such_volume(asked)));
        }
        const auto request = label_request(*volume, wanted);
        if (!request) {
            return Outcome<Volume>(std::unexpected(request.error()));
        }
        return change(caller, *request, about(*volume, asked, fmt::format("label volume \"{}\"", volume->entry.name.view())));
    };
    return lasting(turn(id).then(kj::mv(in_turn)).then([this, id](Outcome<Volume> outcome) {
        end_turn(id);
        return outcome;
    }));
}

kj::Promise<void> VolumeManager::turn(VolumeId id) {
    const auto [place, is_first] = turns_.try_emplace(id);
    if (is_first) {
        return kj::READY_NOW;
    }
    auto paf = kj::newPromiseAndFulfiller<void>();
    place->second.push_back(kj::mv(paf.fulfiller));
    return kj::mv(paf.promise);
}

void VolumeManager::end_turn(VolumeId id) {
    const auto place = turns_.find(id);
    if (place->second.empty()) {
        turns_.erase(place);
        return;
    }
    auto next = kj::mv(place->second.front());
    place->second.pop_front();
    next->fulfill();
}

kj::Promise<Outcome<Volume>> VolumeManager::protect(const Caller& caller, std::string_view selector, Scope scope, bool is_protected) {
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return Outcome<Volume>(std::unexpected(allowed.error()));
    }
    const auto found = select(selector, *allowed, Among::All);
    if (!found) {
        return refuse_on_record<Volume>(caller, *allowed, found.error());
    }
    const auto& entry = (*found)->entry;
    if (entry.status == protocol::VolumeStatus::Trashed) {
        return refuse_on_record<Volume>(caller, *allowed, in_trash(entry.name.view()));
    }
    protocol::ProtectVolume request;
    request.id = entry.id;
    request.authority = authority_over(caller, entry.owner_uid);
    request.is_protected = is_protected ? 1 : 0;
    auto doing = fmt::format("{} volume \"{}\"", is_protected ? "protect" : "end the protection of", entry.name.view());
    return lasting(change(caller, request, about(**found, selector, std::move(doing))));
}

kj::Promise<Outcome<Volume>> VolumeManager::restore(const Caller& caller, std::string_view selector, Scope scope, std::string_view name) {
    if (scope.kind != Scope::Kind::Own) {
        return Outcome<Volume>(std::unexpected(only_own("restore")));
    }
    if (auto valid = name.empty() ? Outcome<void>() : check_name(name); !valid) {
        return Outcome<Volume>(std::unexpected(valid.error()));
    }
    const auto found = select(selector, {Scope::Kind::Own, caller.uid}, Among::Trash);
    if (!found) {
        return Outcome<Volume>(std::unexpected(found.error()));
    }
    protocol::RestoreVolume request;
    request.id = (*found)->entry.id;
    request.name = NameText(name);
    auto doing = fmt::format("restore volume \"{}\"", (*found)->entry.name.view());
    if (!name.empty()) {
        doing += fmt::format(" as \"{}\"", name);
    }
    return lasting(change(caller, request, about(**found, selector, std::move(doing))));
}

kj::Promise<Outcome<Volume>> VolumeManager::resize(const Caller& caller, std::string_view selector, Scope scope,
                                                   const VolumeSizes& wanted) {
    const auto found = own(caller, selector, scope, "resize");
    if (!found) {
        return Outcome<Volume>(std::unexpected(found.error()));
    }
    const auto& entry = (*found)->entry;
    const auto request = resize_request(entry, wanted);
    if (!request) {
        return Outcome<Volume>(std::unexpected(request.error()));
    }
    Subject subject = about(**found, selector, fmt::format("resize volume \"{}\"", entry.name.view()));
    subject.inodes_asked = sizes_after(entry, *request).inodes;
    return lasting(change(caller, *request, std::move(subject)));
}

kj::Promise<Outcome<void>> VolumeManager::remove(const Caller& caller, std::string_view selector, Scope scope, Removal how) {
    if (how.wait && !how.now) { // what goes to the trash keeps its contents
        return Outcome<void>(
            std::unexpected(invalid("wait", "waiting until the contents are gone is possible only where they are not kept in the trash",
                                    "delete it with --now as well")));
    }
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return Outcome<void>(std::unexpected(allowed.error()));
    }
    const auto found = select(selector, *allowed, how.now ? Among::AllAndTrashNames : Among::All);
    if (!found) {
        return refuse_on_record<void>(caller, *allowed, found.error());
    }
    const auto& entry = (*found)->entry;
    if (entry.status == protocol::VolumeStatus::Trashed && !how.now) {
        return refuse_on_record<void>(caller, *allowed, in_trash_already(entry.name.view()));
    }
    protocol::DeleteVolume request;
    request.header.connection = caller.connection;
    request.id = entry.id;
    request.authority = authority_over(caller, entry.owner_uid);
    request.flags =
        (how.force ? protocol::kDeleteForce : 0) | (how.now ? protocol::kDeleteNow : 0) | (how.wait ? protocol::kDeleteWait : 0);
    auto subject = about(**found, selector, fmt::format("remove volume \"{}\"", entry.name.view()));
    return lasting(broker_.request(request).then(
        [this, id = entry.id, subject = std::move(subject)](const protocol::Message& message) -> kj::Promise<Outcome<void>> {
            if (const Reply& reply = reply_of(message); reply.code != ErrorCode::Ok) {
                return Outcome<void>(std::unexpected(refusal(reply, id, subject)));
            }
            // Whoever removed it does not see it again, even if the news of it comes later
            return refresh(id).then([this, id](bool answered) -> Outcome<void> {
                const Volume* known = index_.find(id);
                if (!answered && known != nullptr && known->entry.status != protocol::VolumeStatus::Trashed) {
                    gone(id);
                }
                return {};
            });
        }));
}

} // namespace joblet::api
