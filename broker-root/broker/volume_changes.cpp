// What changes about a volume that stays: its name, its labels, its protection. One change at a time, each durable.
#include <algorithm>

#include <fmt/format.h>

#include "broker-root/broker/volumes.h"
#include "shared/log.h"

namespace joblet::broker {

namespace {

protocol::Reply about(const Volume& volume, ErrorCode code) {
    auto reply = refusal(code);
    reply.volume = volume.record.id;
    return reply;
}

protocol::Reply about(const Volume& volume, const WorkerReply& answer) {
    auto reply = answer.ok() ? protocol::Reply{} : refusal(answer.failure());
    reply.volume = volume.record.id;
    return reply;
}

} // namespace

Task<std::expected<Volumes::Change, protocol::Reply>> Volumes::begin(VolumeId id, Client client, protocol::Authority authority,
                                                                     Moves moves) {
    for (;;) {
        Volume* volume = p_.registry.find(id);
        const bool as_admin = volume != nullptr && volume->record.owner_uid != client.uid;
        if (volume == nullptr || (as_admin && !(authority == protocol::Authority::Admin && client.admin))) {
            auto reply = refusal(ErrorCode::NotFound);
            reply.volume = id;
            co_return std::unexpected(reply);
        }
        if (!volume->change) {
            if (as_admin) {
                log::info(fmt::format("admin {} changes volume {} of user {}", client.uid, to_string(id), volume->record.owner_uid));
            }
            co_return std::make_unique<ChangeOfVolume>(p_.loop, p_.registry, *volume, moves == Moves::Yes);
        }
        const Gate over = volume->change->over;
        co_await over;
    }
}

Task<protocol::Reply> Volumes::protect(protocol::ProtectVolume request, Client client) {
    const auto change = co_await begin(request.id, client, request.authority, Moves::No);
    if (!change) {
        co_return change.error();
    }
    Volume& volume = (*change)->volume();
    if (volume.trashed) {
        co_return about(volume, ErrorCode::NotFound);
    }
    worker::UpdateRecord update;
    update.record = volume.record;
    update.record.flags = request.is_protected != 0 ? protocol::kVolumeProtected : 0;
    ++update.record.generation;
    update.durable = 1;
    const WorkerReply written = co_await insist(update, Moves::No);
    if (written.ok()) {
        volume.record.flags = update.record.flags;
        volume.record.generation = update.record.generation;
        p_.news.volume_changed(volume);
    }
    co_return about(volume, written);
}

Task<protocol::Reply> Volumes::label(protocol::LabelVolume request, Client client) {
    const auto change = co_await begin(request.id, client, protocol::Authority::User, Moves::No);
    if (!change) {
        co_return change.error();
    }
    Volume& volume = (*change)->volume();
    if (volume.trashed) {
        co_return about(volume, ErrorCode::NotFound);
    }
    worker::SetLabels order;
    order.id = request.id;
    order.labels_size = request.labels_size;
    order.labels = request.labels;
    const WorkerReply written = co_await insist(order, Moves::No);
    if (written.ok()) {
        volume.labels.assign(reinterpret_cast<const char*>(request.labels.data()), request.labels_size);
        p_.news.volume_changed(volume);
    }
    co_return about(volume, written);
}

Task<protocol::Reply> Volumes::rename(protocol::RenameVolume request, Client client) {
    const auto change = co_await begin(request.id, client, protocol::Authority::User, Moves::Yes);
    if (!change) {
        co_return change.error();
    }
    Volume& volume = (*change)->volume();
    if (volume.trashed) {
        co_return about(volume, ErrorCode::NotFound);
    }
    if (request.name == volume.record.name) {
        co_return about(volume, ErrorCode::Ok);
    }
    const auto free = co_await let_go(volume, false);
    if (!free) {
        co_return free.error();
    }
    const NameKey key{volume.record.owner_uid, request.name.string()};
    co_await wait_for_name(key);
    if (const Volume* taken = p_.registry.find(key.first, key.second)) {
        co_return about(*taken, ErrorCode::Conflict);
    }
    const NameHold held(*this, key);
    worker::UpdateRecord update;
    update.record = volume.record;
    update.record.name = request.name;
    ++update.record.generation;
    update.durable = 1;
    const WorkerReply written = co_await insist(update, Moves::No);
    if (written.ok()) {
        p_.registry.rename(request.id, request.name);
        volume.record.generation = update.record.generation;
    } else {
        volume.quarantined = volume.quarantined || written.lost; // nobody knows which name it has on disk
    }
    p_.news.volume_changed(volume);
    co_return about(volume, written);
}

} // namespace joblet::broker
