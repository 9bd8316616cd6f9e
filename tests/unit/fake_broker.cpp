#include "tests/unit/fake_broker.h"

#include <doctest/doctest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace joblet::api::test {

FakeBroker::~FakeBroker() {
    hang_up();
    thread_.join();
    CHECK(faults == 0);
}

// ---- what tests say

Fd FakeBroker::connect(std::uint32_t uid, bool admin) {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    protocol::Connection connection;
    connection.uid = uid;
    connection.number = ++connections_;
    connection.admin = admin ? 1 : 0;
    {
        const std::lock_guard lock(mutex_);
        uids_[connection.number] = uid;
        if (admin) {
            admins_.insert(connection.number);
        }
    }
    REQUIRE(send_message(socket_.get(), connection, std::span(&ends[1], 1), Wait::Yes));
    ::close(ends[1]);
    return Fd(ends[0]);
}
protocol::VolumeEntry FakeBroker::add_volume(std::uint32_t owner, std::string_view name, std::string_view labels) {
    const std::lock_guard lock(mutex_);
    protocol::VolumeEntry entry;
    entry.id = make_random_id<VolumeId>();
    entry.owner_uid = owner;
    entry.name = NameText(name);
    entry.type = protocol::VolumeType::Filesystem;
    entry.backend = protocol::Backend::Image;
    entry.status = protocol::VolumeStatus::Available;
    entry.size_bytes = 1 << 20U;
    entry.labels_size = static_cast<std::uint32_t>(labels.size());
    volumes_[entry.id] = {entry, std::string(labels)};
    return entry;
}
protocol::VolumeEntry FakeBroker::add_trashed(std::uint32_t owner, std::string_view name) {
    const auto entry = add_volume(owner, name);
    const std::lock_guard lock(mutex_);
    auto& there = volumes_.at(entry.id).entry;
    there.status = protocol::VolumeStatus::Trashed;
    there.trashed_until_ns = 5000;
    return there;
}
void FakeBroker::send_garbage() {
    const std::array<std::byte, 5> bytes{};
    send_datagram(socket_.get(), bytes, {}, Wait::Yes);
}
void FakeBroker::hang_up() {
    ::shutdown(socket_.get(), SHUT_RDWR);
}
void FakeBroker::refuse_next(protocol::Reply reply) {
    const std::lock_guard lock(mutex_);
    refusal_ = reply;
}

// ---- what the daemon asks

void FakeBroker::work() {
    std::vector<std::byte> buffer(protocol::kRequestSizeMax);
    std::uint64_t expected = 1;
    while (auto received = receive_datagram(socket_.get(), buffer, Wait::Yes)) {
        auto request = protocol::decode(std::span(buffer).first(received->size));
        if (!request || !received->descriptors.empty() || protocol::header_of(*request).sequence != expected++) {
            ++faults;
            return;
        }
        const std::lock_guard lock(mutex_);
        const auto& header = protocol::header_of(*request);
        if (header.connection != 0 && header.type != protocol::RequestType::CloseConnection &&
            header.type != protocol::RequestType::CreateChannel) {
            requests_.push_back(*request);
            if (auto refusal = std::exchange(refusal_, std::nullopt)) {
                refusal->request = header.type;
                refusal->sequence = header.sequence;
                send(*refusal);
                continue;
            }
        }
        std::visit([&](const auto& r) { handle(r); }, *request);
    }
}

bool FakeBroker::may(const protocol::RequestHeader& header, std::uint32_t owner, protocol::Authority authority) {
    last_authority = static_cast<std::uint32_t>(authority);
    return authority == protocol::Authority::Admin ? admins_.contains(header.connection) : uids_[header.connection] == owner;
}
FakeBroker::Stored* FakeBroker::find(const protocol::RequestHeader& header, const VolumeId& id, protocol::Authority authority) {
    const auto place = volumes_.find(id);
    return place == volumes_.end() || !may(header, place->second.entry.owner_uid, authority) ? nullptr : &place->second;
}
FakeBroker::Stored* FakeBroker::holder_of(std::uint32_t owner, const NameText& name) {
    const auto place = std::ranges::find_if(volumes_, [&](const auto& one) {
        const auto& entry = one.second.entry;
        return entry.owner_uid == owner && entry.name == name && entry.status != protocol::VolumeStatus::Trashed;
    });
    return place == volumes_.end() ? nullptr : &place->second;
}
void FakeBroker::handle(const protocol::CreateVolume& r) {
    auto reply = reply_to(r);
    const auto uid = uids_[r.header.connection];
    if (const Stored* there = holder_of(uid, r.name)) {
        const auto& has = there->entry;
        const bool same = has.size_bytes == r.size_bytes && has.type == r.type && has.inodes == r.inodes &&
                          has.soft_size_bytes == r.soft_size_bytes && has.soft_inodes == r.soft_inodes;
        reply.code = same ? ErrorCode::Ok : ErrorCode::Conflict;
        reply.flags = same ? protocol::kReplyExisted : 0;
        reply.volume = there->entry.id;
        send(reply);
        return;
    }
    if (next_answer != 0) {
        reply.code = static_cast<ErrorCode>(next_answer.exchange(0));
        reply.which = static_cast<std::uint32_t>(protocol::LimitKind::BytesPerUser);
        reply.limit = 10 << 20U;
        reply.used = 9 << 20U;
        reply.asked = r.size_bytes;
        reply.sys_errno = ENOSPC;
        reply.step = Step::MakeImage;
        send(reply);
        return;
    }
    const bool wants_quota = r.backend == protocol::Backend::ProjectQuota || r.soft_size_bytes != 0 || r.soft_inodes != 0;
    if (wants_quota && !has_quota) {
        reply.code = ErrorCode::Unsupported;
        reply.step = Step::SetQuota;
        reply.sys_errno = ESRCH;
        return send(reply);
    }
    protocol::VolumeEntry entry;
    entry.id = make_random_id<VolumeId>();
    entry.owner_uid = uid;
    entry.name = r.name;
    entry.type = r.type;
    const auto best = r.type == protocol::VolumeType::Memory ? protocol::Backend::Tmpfs
                      : wants_quota                          ? protocol::Backend::ProjectQuota
                                                             : protocol::Backend::Image;
    entry.backend = r.backend == protocol::Backend::Auto ? best : r.backend;
    entry.status = protocol::VolumeStatus::Available;
    entry.size_bytes = r.size_bytes;
    entry.inodes = r.inodes;
    entry.soft_size_bytes = r.soft_size_bytes;
    entry.soft_inodes = r.soft_inodes;
    entry.io = r.io;
    entry.flags = r.type == protocol::VolumeType::Memory ? protocol::kVolumeNoSwap : 0;
    entry.labels_size = r.labels_size;
    volumes_[entry.id] = {entry, std::string(r.labels.begin(), r.labels.begin() + r.labels_size)};
    reply.volume = entry.id;
    send(reply); // the news is left out: the daemon must ask
}
void FakeBroker::handle(const protocol::DeleteVolume& r) {
    Stored* there = find(r.header, r.id, r.authority);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    if ((there->entry.flags & protocol::kVolumeProtected) != 0) {
        return refuse(r, ErrorCode::PermissionDenied);
    }
    auto reply = reply_to(r);
    while (const auto job = job_with(r.id)) {
        if ((r.flags & protocol::kDeleteForce) == 0) {
            reply.code = ErrorCode::InUse;
            reply.volume = r.id;
            reply.job = *job;
            return send(reply);
        }
        auto& entry = jobs_.at(*job);
        std::vector<VolumeId> left(entry.volumes.begin(), entry.volumes.begin() + entry.volume_count);
        std::erase(left, r.id);
        change_job(entry, left);
    }
    if ((r.flags & protocol::kDeleteNow) != 0) {
        volumes_.erase(r.id);
    } else {
        there->entry.status = protocol::VolumeStatus::Trashed;
        there->entry.trashed_until_ns = 5000;
        there->entry.current_job = {};
    }
    send(reply);
}
void FakeBroker::handle(const protocol::StatVolume& r) {
    ++stats;
    const auto place = volumes_.find(r.id);
    if (place == volumes_.end()) {
        auto reply = reply_to(r);
        reply.code = ErrorCode::NotFound;
        send(reply);
        return;
    }
    protocol::VolumeDetail detail;
    detail.reply = reply_to(r);
    detail.volume = place->second.entry;
    std::ranges::copy(place->second.labels, detail.labels.begin());
    send(detail);
}
void FakeBroker::handle(const protocol::ListVolumes& r) {
    protocol::VolumePage page;
    page.reply = reply_to(r);
    std::size_t used = 0;
    for (auto place = volumes_.upper_bound(r.after); place != volumes_.end(); ++place) {
        const auto& labels = place->second.labels;
        if (page.reply.count == protocol::kPageEntries || used + labels.size() > page.labels.size()) {
            page.reply.flags = protocol::kReplyMore;
            break;
        }
        page.volumes.at(page.reply.count++) = place->second.entry;
        std::ranges::copy(labels, page.labels.begin() + static_cast<std::ptrdiff_t>(used));
        used += labels.size();
    }
    send(page);
}
void FakeBroker::handle(const protocol::CloseConnection& r) {
    if (uids_.erase(r.header.connection) == 0) {
        ++faults;
    }
    ++closed_connections;
    send(reply_to(r));
}

void FakeBroker::handle(const protocol::RestoreVolume& r) {
    Stored* there = find(r.header, r.id, protocol::Authority::User);
    if (there == nullptr || there->entry.status != protocol::VolumeStatus::Trashed) {
        return refuse(r, ErrorCode::NotFound);
    }
    const NameText name = r.name.empty() ? there->entry.name : r.name;
    auto reply = reply_to(r);
    if (const Stored* holder = holder_of(there->entry.owner_uid, name)) {
        reply.code = ErrorCode::Conflict;
        reply.volume = holder->entry.id;
        return send(reply);
    }
    there->entry.name = name;
    there->entry.status = protocol::VolumeStatus::Available;
    there->entry.trashed_until_ns = 0;
    send(reply);
}
void FakeBroker::handle(const protocol::ProtectVolume& r) {
    Stored* there = find(r.header, r.id, r.authority);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    there->entry.flags = r.is_protected != 0 ? protocol::kVolumeProtected : 0;
    send(reply_to(r));
}
void FakeBroker::handle(const protocol::LabelVolume& r) {
    Stored* there = find(r.header, r.id, protocol::Authority::User);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    there->entry.labels_size = r.labels_size;
    there->labels.assign(r.labels.begin(), r.labels.begin() + r.labels_size);
    send(reply_to(r));
}
void FakeBroker::handle(const protocol::RenameVolume& r) {
    Stored* there = find(r.header, r.id, protocol::Authority::User);
    if (there == nullptr) {
        return refuse(r, ErrorCode::NotFound);
    }
    auto reply = reply_to(r);
    if (const Stored* holder = holder_of(there->entry.owner_uid, r.name)) {
        reply.code = ErrorCode::Conflict;
        reply.volume = holder->entry.id;
        return send(reply);
    }
    there->entry.name = r.name;
    send(reply);
}
void FakeBroker::handle(const protocol::AdminRead& r) {
    if (!admins_.contains(r.header.connection)) {
        return refuse(r, ErrorCode::PermissionDenied);
    }
    send(reply_to(r));
}

} // namespace joblet::api::test
