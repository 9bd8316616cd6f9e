// What became of requests that were never answered.
#include "tests/boundary/attacker/model.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

namespace joblet::testing {

namespace {

using Unanswered = std::vector<std::pair<protocol::Request, std::optional<Asker>>>;

// Whether one of them is an R that `fits` says can have done it.
template <class R, class Fits> bool may_come_of(const Unanswered& requests, Fits fits) {
    return std::ranges::any_of(requests, [&](const auto& entry) {
        const auto* const one = std::get_if<R>(&entry.first);
        return one != nullptr && entry.second && fits(*one, *entry.second);
    });
}

template <class R> auto of_owner(const VolumeId& id, std::uint32_t owner) {
    return [id, owner](const R& r, const Asker& asker) {
        if constexpr (requires { r.authority; }) {
            return r.id == id && (asker.uid == owner || (asker.admin && r.authority == protocol::Authority::Admin));
        } else {
            return r.id == id && asker.uid == owner;
        }
    };
}

} // namespace

std::vector<std::string> Model::learn(const std::vector<protocol::VolumeEntry>& volumes, const std::vector<protocol::JobEntry>& jobs,
                                      const Unanswered& unanswered) {
    std::vector<std::string> wrong;
    std::set<VolumeId> there;
    for (const auto& entry : volumes) {
        there.insert(entry.id);
        const bool trashed = entry.status == protocol::VolumeStatus::Trashed;
        const bool is_protected = (entry.flags & protocol::kVolumeProtected) != 0;
        const auto known = volumes_.find(entry.id);
        const auto complain = [&](const char* what) { wrong.push_back(fmt::format("volume {} {}", to_string(entry.id), what)); };
        if (known == volumes_.end()) {
            const bool made = may_come_of<protocol::CreateVolume>(unanswered, [&entry](const auto& r, const Asker& asker) {
                return asker.uid == entry.owner_uid && r.name == entry.name && r.type == entry.type;
            });
            if (!made) {
                complain("is there, and nobody made it");
            }
            volumes_[entry.id] = {entry.owner_uid, entry.name.string(), entry.type, entry.size_bytes, trashed, is_protected, {}};
            continue;
        }
        ModelVolume& one = known->second;
        const std::uint32_t owner = one.owner;
        if (entry.owner_uid != owner) {
            complain("has another owner");
        }
        if (entry.name.view() != one.name &&
            !may_come_of<protocol::RenameVolume>(unanswered, of_owner<protocol::RenameVolume>(entry.id, owner)) &&
            !may_come_of<protocol::RestoreVolume>(unanswered, of_owner<protocol::RestoreVolume>(entry.id, owner))) {
            complain("has another name, and nobody renamed it");
        }
        if (trashed != one.trashed && !may_come_of<protocol::DeleteVolume>(unanswered, of_owner<protocol::DeleteVolume>(entry.id, owner)) &&
            !may_come_of<protocol::RestoreVolume>(unanswered, of_owner<protocol::RestoreVolume>(entry.id, owner))) {
            complain(trashed ? "is in the trash, and nobody deleted it" : "is not in the trash, and nobody restored it");
        }
        if (is_protected != one.is_protected &&
            !may_come_of<protocol::ProtectVolume>(unanswered, of_owner<protocol::ProtectVolume>(entry.id, owner))) {
            complain("has another protection, and nobody changed it");
        }
        if (entry.size_bytes != one.size_bytes &&
            !may_come_of<protocol::ResizeVolume>(unanswered, of_owner<protocol::ResizeVolume>(entry.id, owner))) {
            complain("has another size, and nobody changed it");
        }
        one.name = entry.name.string();
        one.trashed = trashed;
        one.is_protected = is_protected;
        one.size_bytes = entry.size_bytes;
    }
    std::erase_if(volumes_, [&](const auto& entry) {
        if (there.contains(entry.first)) {
            return false;
        }
        if (!may_come_of<protocol::DeleteVolume>(unanswered, of_owner<protocol::DeleteVolume>(entry.first, entry.second.owner))) {
            wrong.push_back(fmt::format("volume {} is gone, and nobody deleted it", to_string(entry.first)));
        }
        return true;
    });

    std::map<JobId, ModelJob> before = std::move(jobs_);
    jobs_.clear();
    released_.clear();
    for (const auto& entry : jobs) {
        const auto known = before.find(entry.id);
        if (known == before.end() && !may_come_of<protocol::StartJob>(unanswered, [&entry](const auto& /*any*/, const Asker& asker) {
                return asker.uid == entry.owner_uid;
            })) {
            wrong.push_back(fmt::format("job {} is there, and nobody started it", to_string(entry.id)));
        }
        ModelJob& job = jobs_[entry.id];
        job = known != before.end() ? known->second : ModelJob{entry.owner_uid, false, false, false, {}};
        if (!job.answered) { // news of it may have come, but how it was asked for only the request says
            job.has_log = may_come_of<protocol::StartJob>(unanswered, [&entry](const auto& r, const Asker& asker) {
                return asker.uid == entry.owner_uid && (r.flags & protocol::kStartDetached) != 0;
            });
            job.answered = true;
        }
        job.ended = entry.state == protocol::JobState::Ended;
        // Which it has now, with the targets that were asked for; attached ones have none
        std::map<VolumeId, ModelMount> held;
        for (const auto& id : std::span(entry.volumes).first(entry.volume_count)) {
            const auto found = job.volumes.find(id);
            held[id] = found != job.volumes.end() ? found->second : ModelMount{};
            const auto volume = volumes_.find(id);
            if (!job.ended && (volume == volumes_.end() || volume->second.owner != entry.owner_uid)) {
                wrong.push_back(fmt::format("job {} has volume {}, which is not its user's", to_string(entry.id), to_string(id)));
            }
            if (found == job.volumes.end()) {
                // Access and target of an unanswered request
                for (const auto& [request, asker] : unanswered) {
                    if (const auto* const start = std::get_if<protocol::StartJob>(&request)) {
                        for (const auto& wanted : std::span(start->volumes).first(start->volume_count)) {
                            held[id] = wanted.id == id ? ModelMount{wanted.access, wanted.target.string()} : held[id];
                        }
                    } else if (const auto* const attach = std::get_if<protocol::AttachVolume>(&request)) {
                        held[id].access = attach->id == id ? attach->access : held[id].access;
                    }
                }
            }
        }
        job.volumes = std::move(held);
    }
    for (const auto& [id, job] : before) {
        const bool released = std::ranges::any_of(unanswered, [&id](const auto& entry) {
            const auto* const release = std::get_if<protocol::ReleaseJob>(&entry.first);
            return release != nullptr && release->id == id;
        });
        if (!jobs_.contains(id) && !released) {
            wrong.push_back(fmt::format("job {} is not known any more", to_string(id)));
        }
    }
    return wrong;
}

} // namespace joblet::testing
