#include "tests/boundary/attacker/model.h"

#include <algorithm>
#include <span>
#include <type_traits>

#include <fmt/format.h>

namespace joblet::testing {

namespace {

protocol::Reply reply_of(const protocol::Message& message) {
    return std::visit(
        [](const auto& one) -> protocol::Reply {
            using M = std::remove_cvref_t<decltype(one)>;
            if constexpr (std::is_same_v<M, protocol::Reply>) {
                return one;
            } else if constexpr (requires { one.reply; }) {
                return one.reply;
            } else {
                return {};
            }
        },
        message);
}

} // namespace

// One answer.
class Judge {
  public:
    Judge(Model& model, const std::optional<Asker>& asker, const protocol::Message& answer)
        : m_(model), asker_(asker), answer_(answer), reply_(reply_of(answer)) {}

    std::vector<std::string> judge(const protocol::Request& request) {
        if (reply_.code == ErrorCode::Internal || reply_.code == ErrorCode::Unimplemented || reply_.code == ErrorCode::Quarantined) {
            object(fmt::format("{} ({}, errno {}) in a sound installation", error_code_name(reply_.code), step_phrase(reply_.step),
                               reply_.sys_errno));
        }
        if (protocol::header_of(request).connection != 0 && !asker_) {
            must(reply_.code == ErrorCode::PermissionDenied, "an answer other than PERMISSION_DENIED for a connection that is not open");
        }
        std::visit([this](const auto& r) { keep_secrets(r); }, request);
        if (reply_.code == ErrorCode::Ok) {
            std::visit([this](const auto& r) { done(r); }, request);
        }
        return std::move(objections_);
    }

  private:
    void object(std::string what) {
        objections_.push_back(std::move(what));
    }
    void must(bool is_so, const char* otherwise) {
        if (!is_so) {
            object(otherwise);
        }
    }
    [[nodiscard]] bool is_admin(protocol::Authority authority) const {
        return authority == protocol::Authority::Admin && asker_ && asker_->admin;
    }
    [[nodiscard]] bool owns(std::uint32_t owner) const {
        return asker_ && asker_->uid == owner;
    }
    // nullptr, and an objection, unless it is there and this asker's to manage.
    ModelVolume* volume(const VolumeId& id, protocol::Authority authority = protocol::Authority::User) {
        const auto found = m_.volumes_.find(id);
        if (found == m_.volumes_.end()) {
            object("done with a volume that is not there");
            return nullptr;
        }
        must(owns(found->second.owner) || is_admin(authority), "done with a volume of somebody else");
        return &found->second;
    }
    ModelJob* job(const JobId& id, protocol::Authority authority = protocol::Authority::User) {
        const auto found = m_.jobs_.find(id);
        if (found == m_.jobs_.end()) {
            const auto released = m_.released_.find(id); // what was asked for before that may be answered after it
            if (released != m_.released_.end() && reply_.sequence < released->second.sequence) {
                must(owns(released->second.owner) || is_admin(authority), "done with a job of somebody else");
                return nullptr;
            }
            const auto listed = m_.listed_.find(id); // its StartJob is not answered yet
            must(listed != m_.listed_.end() && owns(listed->second), "done with a job that is not there");
            return nullptr;
        }
        must(owns(found->second.owner) || is_admin(authority), "done with a job of somebody else");
        return &found->second;
    }
    [[nodiscard]] bool is_name_taken(std::uint32_t owner, const std::string& name, const VolumeId& but) const {
        return std::ranges::any_of(m_.volumes_, [&](const auto& entry) {
            return !entry.second.trashed && entry.second.owner == owner && entry.second.name == name && entry.first != but;
        });
    }
    // One writer, or any number of readers.
    void must_be_free(const VolumeId& id, protocol::Access access, const JobId& but) {
        for (const auto& [other, held] : m_.jobs_) {
            const auto found = held.volumes.find(id);
            if (other != but && !held.ended && found != held.volumes.end()) {
                must(access == protocol::Access::ReadOnly && found->second.access == protocol::Access::ReadOnly,
                     "a volume that another job has was given once more");
            }
        }
    }

    // What is named in an answer is the asker's own, or what he named himself.
    template <class R> void keep_secrets(const R& r) {
        const auto known = m_.volumes_.find(reply_.volume);
        bool named = reply_.volume.is_none() || (known != m_.volumes_.end() && owns(known->second.owner));
        bool named_job = reply_.job.is_none();
        if (const auto found = m_.jobs_.find(reply_.job); found != m_.jobs_.end()) {
            named_job = named_job || owns(found->second.owner);
        } else if (!named_job && asker_) {
            named_job = m_.named_.emplace(reply_.job, asker_->uid).first->second == asker_->uid; // one that is just being started
        }
        if constexpr (std::is_same_v<R, protocol::StartJob>) {
            for (const auto& wanted : std::span(r.volumes).first(r.volume_count)) {
                named = named || wanted.id == reply_.volume;
            }
            named_job = named_job || reply_.code == ErrorCode::Ok;
        } else {
            if constexpr (requires { r.id; }) {
                if constexpr (std::is_same_v<std::remove_cvref_t<decltype(r.id)>, VolumeId>) {
                    named = named || r.id == reply_.volume;
                } else {
                    named_job = named_job || r.id == reply_.job;
                }
            }
            if constexpr (requires { r.job; }) {
                named_job = named_job || r.job == reply_.job;
            }
            if constexpr (requires { r.authority; }) {
                named_job = named_job || is_admin(r.authority);
            }
        }
        if constexpr (std::is_same_v<R, protocol::CreateVolume>) {
            named = named || (reply_.code == ErrorCode::Ok && known == m_.volumes_.end());
        }
        must(named, "an answer that names a volume of somebody else");
        must(named_job, "an answer that names a job of somebody else");
    }

    void done(const protocol::CreateVolume& r) {
        if (!asker_) {
            return;
        }
        const auto found = m_.volumes_.find(reply_.volume);
        if ((reply_.flags & protocol::kReplyExisted) != 0) {
            must(found != m_.volumes_.end() && found->second.owner == asker_->uid && found->second.name == r.name.view(),
                 "a volume existed already that nobody made");
            return;
        }
        must(!reply_.volume.is_none() && found == m_.volumes_.end(), "a new volume has no new id");
        must(!is_name_taken(asker_->uid, r.name.string(), reply_.volume), "two volumes have one name");
        ModelVolume made{asker_->uid, r.name.string(), r.type, r.size_bytes, false, false, {}};
        made.labels.assign(reinterpret_cast<const char*>(r.labels.data()), r.labels_size);
        m_.volumes_.insert_or_assign(reply_.volume, std::move(made));
    }
    void done(const protocol::DeleteVolume& r) {
        ModelVolume* const gone = volume(r.id, r.authority);
        if (gone == nullptr) {
            return;
        }
        must(!gone->is_protected, "a protected volume was deleted");
        must((r.flags & protocol::kDeleteForce) != 0 || m_.holders(r.id).empty(), "a volume was deleted that a job has");
        for (auto& [id, one] : m_.jobs_) {
            if (!one.ended) {
                one.volumes.erase(r.id);
            }
        }
        if ((r.flags & protocol::kDeleteNow) != 0 || gone->type == protocol::VolumeType::Memory) {
            m_.volumes_.erase(r.id);
        } else {
            must(!gone->trashed, "a volume went into the trash twice");
            gone->trashed = true;
        }
    }
    void done(const protocol::RestoreVolume& r) {
        if (ModelVolume* const back = volume(r.id)) {
            must(back->trashed, "a volume was restored that was not in the trash");
            back->trashed = false;
            back->name = r.name.empty() ? back->name : r.name.string();
            must(!is_name_taken(back->owner, back->name, r.id), "two volumes have one name");
        }
    }
    void done(const protocol::ProtectVolume& r) {
        if (ModelVolume* const one = volume(r.id, r.authority)) {
            must(!one->trashed, "a volume in the trash was changed");
            one->is_protected = r.is_protected != 0;
        }
    }
    void done(const protocol::LabelVolume& r) {
        if (ModelVolume* const one = volume(r.id)) {
            must(!one->trashed, "a volume in the trash was changed");
            one->labels.assign(reinterpret_cast<const char*>(r.labels.data()), r.labels_size);
        }
    }
    void done(const protocol::RenameVolume& r) {
        if (ModelVolume* const one = volume(r.id)) {
            must(!one->trashed, "a volume in the trash was changed");
            must(one->name == r.name.view() || m_.holders(r.id).empty(), "a volume was renamed that a job has");
            one->name = r.name.string();
            must(!is_name_taken(one->owner, one->name, r.id), "two volumes have one name");
        }
    }
    void done(const protocol::ResizeVolume& r) {
        if (ModelVolume* const one = volume(r.id)) {
            must(!one->trashed, "a volume in the trash was changed");
            one->size_bytes = r.size_bytes != 0 ? r.size_bytes : one->size_bytes;
        }
    }
    void done(const protocol::MeasureVolume& r) {
        (void)volume(r.id, r.authority);
    }
    void done(const protocol::StatVolume& r) {
        const auto* const detail = std::get_if<protocol::VolumeDetail>(&answer_);
        must(detail != nullptr && detail->volume.id == r.id, "StatVolume tells of another volume");
    }
    void done(const protocol::StartJob& r) {
        if ((r.flags & protocol::kStartDryRun) != 0) {
            must(reply_.job.is_none(), "a dry run started a job");
            return;
        }
        if (!asker_) {
            return;
        }
        const bool is_new = !reply_.job.is_none() && !m_.jobs_.contains(reply_.job);
        must(is_new || (m_.jobs_.contains(reply_.job) && m_.jobs_[reply_.job].owner == asker_->uid), "a new job has no new id");
        const auto told = m_.named_.find(reply_.job);
        must(told == m_.named_.end() || told->second == asker_->uid, "a job was named to somebody else before it was known");
        ModelJob& made = m_.jobs_[reply_.job]; // news of it may have come before
        made.owner = asker_->uid;
        made.answered = true;
        made.has_log = (r.flags & protocol::kStartDetached) != 0;
        for (const auto& wanted : std::span(r.volumes).first(r.volume_count)) {
            const ModelVolume* const one = volume(wanted.id);
            must(one == nullptr || (owns(one->owner) && !one->trashed), "a job has a volume that it may not have");
            must_be_free(wanted.id, wanted.access, reply_.job);
            made.volumes.insert_or_assign(wanted.id, ModelMount{wanted.access, wanted.target.string()});
        }
    }
    void done(const protocol::SignalJob& r) {
        (void)job(r.id, r.authority);
    }
    void done(const protocol::AttachVolume& r) {
        ModelJob* const to = job(r.job);
        const ModelVolume* const one = volume(r.id);
        if (to == nullptr || one == nullptr) {
            return;
        }
        must(!one->trashed && !to->volumes.contains(r.id), "a volume was attached that could not be");
        must_be_free(r.id, r.access, r.job);
        to->volumes.insert_or_assign(r.id, ModelMount{r.access, {}});
    }
    void done(const protocol::DetachVolume& r) {
        if (ModelJob* const from = job(r.job)) {
            from->volumes.erase(r.id); // of two at once both are done
        }
    }
    void done(const protocol::ReleaseJob& r) {
        const auto found = m_.jobs_.find(r.id);
        must(found != m_.jobs_.end() && found->second.ended, "a job was forgotten that has not ended");
        if (found != m_.jobs_.end()) {
            must(r.header.connection == 0 || owns(found->second.owner) || is_admin(r.authority), "a job of somebody else was forgotten");
            m_.released_.insert_or_assign(r.id, Model::Released{found->second.owner, reply_.sequence});
            m_.jobs_.erase(found);
        }
    }
    void done(const protocol::OpenLog& r) {
        if (const ModelJob* const one = job(r.id, r.authority)) {
            must(one->has_log, "a log of a job that has none");
        }
    }
    void done(const protocol::AdminRead& /*r*/) {
        must(asker_ && asker_->admin, "AdminRead for somebody who is no admin");
    }
    template <class R> void done(const R& /*changes nothing*/) {}

    Model& m_;
    const std::optional<Asker>& asker_;
    const protocol::Message& answer_;
    protocol::Reply reply_;
    std::vector<std::string> objections_;
};

std::vector<std::string> Model::take(const protocol::Request& request, const std::optional<Asker>& asker, const protocol::Message& answer) {
    if (const auto* const page = std::get_if<protocol::JobPage>(&answer)) {
        for (const auto& entry : std::span(page->jobs).first(page->reply.count)) {
            listed_.insert_or_assign(entry.id, entry.owner_uid);
        }
    }
    auto objections = Judge(*this, asker, answer).judge(request);
    std::erase_if(listed_, [this](const auto& entry) { return jobs_.contains(entry.first); });
    return objections;
}

void Model::hear(const protocol::Message& news) {
    if (const auto* const changed = std::get_if<protocol::JobChanged>(&news)) {
        ModelJob& job = jobs_[changed->job.id];
        job.owner = changed->job.owner_uid;
        job.ended = job.ended || changed->job.state == protocol::JobState::Ended;
    }
}

std::size_t Model::alive() const {
    return static_cast<std::size_t>(std::ranges::count_if(jobs_, [](const auto& entry) { return !entry.second.ended; }));
}

std::set<JobId> Model::holders(const VolumeId& id) const {
    std::set<JobId> out;
    for (const auto& [job, one] : jobs_) {
        if (!one.ended && one.volumes.contains(id)) {
            out.insert(job);
        }
    }
    return out;
}

std::string describe(const protocol::Request& request, const std::optional<Asker>& asker) {
    const auto& header = protocol::header_of(request);
    const std::string who = asker                    ? fmt::format("uid {}", asker->uid)
                            : header.connection == 0 ? std::string("the API itself")
                                                     : fmt::format("connection {:#x}, which is not open", header.connection);
    const std::string what = std::visit(
        [](const auto& r) {
            std::string out;
            if constexpr (requires { r.id; }) {
                out += " " + to_string(r.id);
            }
            if constexpr (requires { r.job; }) {
                out += " " + to_string(r.job);
            }
            return out;
        },
        request);
    return fmt::format("{}{} for {}", protocol::row_of(header.type).name, what, who);
}

} // namespace joblet::testing
