#include "tests/boundary/attacker/step_maker.h"

#include <fmt/format.h>

namespace joblet::testing {

namespace {

template <class R> R in_name_of(Connection connection, R request) {
    request.header.connection = connection;
    return request;
}

} // namespace

protocol::Request StepMaker::plain(protocol::RequestType type) {
    using namespace protocol;
    const auto about = [this]<class R>(R request) {
        request.header.connection = scene_.alice;
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(request.id)>, JobId>) {
            request.id = scene_.job;
        } else {
            request.id = scene_.memory;
        }
        return request;
    };
    switch (type) {
    case RequestType::CreateVolume:
        return in_name_of(scene_.alice, volume_request("made", VolumeType::Memory));
    case RequestType::DeleteVolume: {
        auto request = about(DeleteVolume{});
        request.flags = kDeleteForce;
        return request;
    }
    case RequestType::StatVolume: {
        StatVolume request;
        request.id = scene_.memory;
        return request;
    }
    case RequestType::ListVolumes:
        return ListVolumes{};
    case RequestType::StartJob:
        return in_name_of(scene_.alice, job_request({scene_.memory}));
    case RequestType::SignalJob: {
        auto request = about(SignalJob{});
        request.signal = SIGKILL;
        return request;
    }
    case RequestType::ListJobs:
        return ListJobs{};
    case RequestType::ReleaseJob:
        return about(ReleaseJob{});
    case RequestType::CloseConnection:
        return in_name_of(scene_.alice, CloseConnection{});
    case RequestType::RestoreVolume:
        return about(RestoreVolume{});
    case RequestType::ProtectVolume: {
        auto request = about(ProtectVolume{});
        request.is_protected = 1;
        return request;
    }
    case RequestType::LabelVolume: {
        auto request = about(LabelVolume{});
        request.labels_size = 4;
        request.labels.front() = 'x';
        return request;
    }
    case RequestType::RenameVolume: {
        auto request = about(RenameVolume{});
        request.name = NameText("made");
        return request;
    }
    case RequestType::AttachVolume: {
        auto request = about(AttachVolume{});
        request.job = scene_.job;
        return request;
    }
    case RequestType::DetachVolume: {
        auto request = about(DetachVolume{});
        request.job = scene_.job;
        return request;
    }
    case RequestType::AdminRead:
        return in_name_of(scene_.alice, AdminRead{});
    case RequestType::OpenLog:
        return about(OpenLog{});
    case RequestType::ListBases:
        return ListBases{};
    case RequestType::ResizeVolume: {
        auto request = about(ResizeVolume{});
        request.size_bytes = kVolumeSizeMin * 2;
        return request;
    }
    case RequestType::MeasureVolume:
        return about(MeasureVolume{});
    case RequestType::CreateChannel:
        return in_name_of(scene_.alice, CreateChannel{});
    case RequestType::HostReport:
        break;
    }
    return in_name_of(scene_.alice, HostReport{});
}

VolumeId StepMaker::any_volume() {
    if (below(20) == 0) {
        return make_random_id<VolumeId>();
    }
    if (below(10) == 0) {
        return scene_.of_victim;
    }
    auto at = scene_.attack.model().volumes().begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(scene_.attack.model().volumes().size())));
    return at->first;
}

JobId StepMaker::any_job() {
    if (scene_.attack.model().jobs().empty() || below(20) == 0) {
        return make_random_id<JobId>();
    }
    auto at = scene_.attack.model().jobs().begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(scene_.attack.model().jobs().size())));
    return at->first;
}

// Of one of the last requests, whatever that was.
std::uint64_t StepMaker::any_channel() {
    const auto next = scene_.attack.end().coming_sequence();
    return next - below(std::min<std::uint64_t>(next, 40));
}

void StepMaker::vary(protocol::Request& request) {
    std::visit(
        [this](auto& r) {
            using R = std::remove_cvref_t<decltype(r)>;
            if constexpr (requires { r.job; }) {
                r.job = any_job();
            }
            if constexpr (std::is_same_v<R, protocol::StatVolume> || (requires { r.id; } && !std::is_same_v<R, protocol::AdminRead>)) {
                if constexpr (std::is_same_v<std::remove_cvref_t<decltype(r.id)>, JobId>) {
                    r.id = any_job();
                } else {
                    r.id = any_volume();
                }
            }
            if constexpr (requires { r.authority; }) {
                r.authority = below(3) == 0 ? Authority::Admin : Authority::User;
            }
            if constexpr (requires { r.access; }) {
                r.access = below(2) == 0 ? Access::ReadOnly : Access::ReadWrite;
            }
            if constexpr (requires { r.name; }) {
                r.name = NameText(fmt::format("name{}", below(12)));
            }
            if constexpr (std::is_same_v<R, protocol::CreateVolume>) {
                r.type = below(4) == 0 ? VolumeType::Filesystem : VolumeType::Memory;
                r.size_bytes = protocol::kVolumeSizeMin * (1 + below(3));
            }
            if constexpr (std::is_same_v<R, protocol::DeleteVolume>) {
                r.flags = one_of<std::uint32_t>({0, protocol::kDeleteForce, protocol::kDeleteNow,
                                                 protocol::kDeleteNow | protocol::kDeleteForce | protocol::kDeleteWait});
            }
            if constexpr (std::is_same_v<R, protocol::ProtectVolume>) {
                r.is_protected = below(3) == 0 ? 1 : 0; // mostly off, or nothing could be deleted any more
            }
            if constexpr (std::is_same_v<R, protocol::ResizeVolume>) {
                r.size_bytes = protocol::kVolumeSizeMin * (1 + below(4));
            }
            if constexpr (std::is_same_v<R, protocol::CreateChannel>) {
                r.replaces = below(2) == 0 ? 0 : any_channel();
            }
            if constexpr (std::is_same_v<R, protocol::SignalJob>) {
                r.signal = one_of<std::uint32_t>({SIGKILL, SIGTERM, SIGSTOP, SIGCONT, SIGUSR1});
            }
            if constexpr (std::is_same_v<R, protocol::StartJob>) {
                r.flags = one_of<std::uint32_t>({0, protocol::kStartDetached, protocol::kStartDetached, protocol::kStartDryRun});
                r.channel = r.flags == protocol::kStartDryRun ? 0 : below(10) == 0 ? any_channel() : kNoChannel;
                std::set<VolumeId> wanted;
                for (std::uint64_t i = below(4); i > 0; --i) {
                    wanted.insert(any_volume());
                }
                r.volumes = {};
                r.volume_count = 0;
                for (const auto& id : wanted) {
                    auto& volume = r.volumes[r.volume_count++];
                    volume.id = id;
                    volume.access = below(2) == 0 ? Access::ReadOnly : Access::ReadWrite;
                    if (below(2) == 0) {
                        volume.target = TargetText(fmt::format("/place{}", r.volume_count));
                    }
                }
            }
        },
        request);
}

protocol::Request StepMaker::any() {
    auto request = plain(protocol::kRequests[below(protocol::kRequests.size())].type);
    vary(request);
    std::visit(
        [this](auto& r) {
            if (protocol::row_of(r.kType).asker == protocol::Asker::Housekeeping) {
                return;
            }
            const std::vector<Connection> names = {scene_.alice, scene_.alice, scene_.alice, scene_.bob,
                                                   scene_.bob,   scene_.admin, scene_.gone,  scene_.forged};
            r.header.connection = one_of(names);
            // What an admin may do to the victim is no attack
            if constexpr (requires {
                              r.id == scene_.of_victim;
                              r.authority;
                          }) {
                r.authority = r.id == scene_.of_victim ? Authority::User : r.authority;
            }
            if (std::is_same_v<std::remove_cvref_t<decltype(r)>, protocol::ReleaseJob> && below(4) == 0) {
                r.header.connection = kNobody;
            }
        },
        request);
    return request;
}

} // namespace joblet::testing
