#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/joblet_service.h"
#include "api-unpriv/rpc/limits.h"
#include "api-unpriv/rpc/volume_request.h"

namespace joblet::api {

namespace {

class VolumeServer final : public rpc::VolumeService::Server {
  public:
    explicit VolumeServer(kj::Own<SessionContext> session) : session_(kj::mv(session)) {}

  protected:
    kj::Promise<void> createVolume(CreateVolumeContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<CreatedVolume>> {
                auto wanted = new_volume_from(context.getParams());
                context.releaseParams();
                if (!wanted) {
                    return Outcome<CreatedVolume>(std::unexpected(wanted.error()));
                }
                return session_->managers.volumes.create(session_->caller, std::move(*wanted));
            },
            [](auto result, const CreatedVolume& created) {
                auto value = result.initValue();
                fill(value.initVolume(), created.volume);
                value.setExisted(created.existed);
            });
    }

    kj::Promise<void> listVolumes(ListVolumesContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<VolumeList>> {
                auto query = query_from(context.getParams());
                context.releaseParams();
                if (!query) {
                    return Outcome<VolumeList>(std::unexpected(query.error()));
                }
                return session_->managers.volumes.list(session_->caller, std::move(*query));
            },
            [](auto result, const VolumeList& page) {
                auto value = result.initValue();
                auto volumes = value.initVolumes(static_cast<unsigned>(page.volumes.size()));
                for (unsigned i = 0; i < volumes.size(); ++i) {
                    fill(volumes[i], page.volumes[i]);
                }
                value.setNext(text(page.next));
                value.setMatching(page.matching);
            });
    }

    kj::Promise<void> getVolume(GetVolumeContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<Volume>> {
                const auto wanted = selected_volume(context.getParams().getSelector());
                if (!wanted) {
                    return Outcome<Volume>(std::unexpected(wanted.error()));
                }
                return session_->managers.volumes.get(session_->caller, wanted->volume, wanted->scope);
            },
            [](auto result, const Volume& volume) { fill(result.initValue(), volume); });
    }

    kj::Promise<void> deleteVolume(DeleteVolumeContext context) override {
        const auto kind = context.getParams().getWait() ? Ticket::Kind::Wait : Ticket::Kind::Call;
        return answer(
            *session_, kind, context,
            [&]() -> kj::Promise<Outcome<void>> {
                const auto params = context.getParams();
                const Removal how{params.getForce(), params.getNow(), params.getWait()};
                const auto wanted = selected_volume(params.getSelector());
                context.releaseParams();
                if (!wanted) {
                    return Outcome<void>(std::unexpected(wanted.error()));
                }
                return session_->managers.volumes.remove(session_->caller, wanted->volume, wanted->scope, how);
            },
            [](auto result) { result.initValue(); });
    }

    kj::Promise<void> renameVolume(RenameVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const SelectedVolume& wanted) {
            return volumes.rename(session_->caller, wanted.volume, wanted.scope, view(params.getName()));
        });
    }
    kj::Promise<void> labelVolume(LabelVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const SelectedVolume& wanted) {
            return volumes.label(session_->caller, wanted.volume, wanted.scope,
                                 {labels_from(params.getSet()), some_texts_from(params.getRemove(), protocol::kLabelsMax)});
        });
    }
    kj::Promise<void> protectVolume(ProtectVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const SelectedVolume& wanted) {
            return volumes.protect(session_->caller, wanted.volume, wanted.scope, params.getProtected());
        });
    }
    kj::Promise<void> restoreVolume(RestoreVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const SelectedVolume& wanted) {
            return volumes.restore(session_->caller, wanted.volume, wanted.scope, view(params.getName()));
        });
    }
    kj::Promise<void> resizeVolume(ResizeVolumeContext context) override {
        const auto params = context.getParams();
        const VolumeSizes wanted{params.getSizeBytes(), params.getInodes(), params.getSoftSizeBytes(), params.getSoftInodes()};
        return change(context, [&](VolumeManager& volumes, const SelectedVolume& which) {
            return volumes.resize(session_->caller, which.volume, which.scope, wanted);
        });
    }
    kj::Promise<void> getUsage(GetUsageContext context) override {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<std::vector<MeasuredVolume>>> {
                const auto scope = scope_from(context.getParams().getScope());
                auto volumes = some_texts_from(context.getParams().getVolumes(), VolumeManager::kMeasuredMax);
                context.releaseParams();
                if (!scope) {
                    return Outcome<std::vector<MeasuredVolume>>(std::unexpected(scope.error()));
                }
                return session_->managers.volumes.usage(session_->caller, std::move(volumes), *scope);
            },
            [](auto result, const std::vector<MeasuredVolume>& measured) {
                auto volumes = result.initValue().initVolumes(static_cast<unsigned>(measured.size()));
                for (unsigned i = 0; i < volumes.size(); ++i) {
                    fill(volumes[i], measured[i].id, measured[i].usage);
                }
            });
    }
    kj::Promise<void> attachVolume(AttachVolumeContext context) override {
        const auto params = context.getParams();
        return change_job(context, [&](JobManager& jobs, const SelectedVolume& wanted) {
            return jobs.attach(session_->caller, wanted.volume, wanted.scope, view(params.getJob()), params.getReadOnly());
        });
    }
    kj::Promise<void> detachVolume(DetachVolumeContext context) override {
        const auto params = context.getParams();
        return change_job(context, [&](JobManager& jobs, const SelectedVolume& wanted) {
            return jobs.detach(session_->caller, wanted.volume, wanted.scope, view(params.getJob()));
        });
    }
    kj::Promise<void> shareVolume(ShareVolumeContext context) override {
        return refuse(context, unimplemented("sharing a volume"));
    }
    kj::Promise<void> snapshotVolume(SnapshotVolumeContext context) override {
        return refuse(context, unimplemented("a snapshot of a volume"));
    }
    kj::Promise<void> cloneVolume(CloneVolumeContext context) override {
        return refuse(context, unimplemented("a clone of a volume"));
    }

  private:
    // `make` asks for the change of what is selected; the answer is the volume.
    template <class Context, class Make> kj::Promise<void> change(Context context, const Make& make) {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<Volume>> {
                const auto wanted = selected_volume(context.getParams().getSelector());
                if (!wanted) {
                    return Outcome<Volume>(std::unexpected(wanted.error()));
                }
                return make(session_->managers.volumes, *wanted);
            },
            [](auto result, const Volume& volume) { fill(result.initValue(), volume); });
    }
    template <class Context, class Make> kj::Promise<void> change_job(Context context, const Make& make) {
        return answer(
            *session_, Ticket::Kind::Call, context,
            [&]() -> kj::Promise<Outcome<void>> {
                const auto wanted = selected_volume(context.getParams().getSelector());
                if (!wanted) {
                    return Outcome<void>(std::unexpected(wanted.error()));
                }
                return make(session_->managers.jobs, *wanted);
            },
            [](auto result) { result.initValue(); });
    }

    kj::Own<SessionContext> session_;
};

} // namespace

rpc::VolumeService::Client make_volume_service(kj::Own<SessionContext> session) {
    return kj::heap<VolumeServer>(kj::mv(session));
}

} // namespace joblet::api
