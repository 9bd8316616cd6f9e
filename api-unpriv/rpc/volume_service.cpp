#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/joblet_service.h"

namespace joblet::api {

namespace {

Outcome<protocol::VolumeType> type_from(rpc::VolumeType type) {
    switch (type) {
    case rpc::VolumeType::ANY:
    case rpc::VolumeType::FILESYSTEM:
        return protocol::VolumeType::Filesystem;
    case rpc::VolumeType::MEMORY:
        return protocol::VolumeType::Memory;
    }
    return std::unexpected(invalid("type", "this type of volume is not known", "filesystem and memory are accepted"));
}

Outcome<protocol::Backend> backend_from(rpc::Backend backend) {
    switch (backend) {
    case rpc::Backend::AUTO:
        return protocol::Backend::Auto;
    case rpc::Backend::IMAGE:
        return protocol::Backend::Image;
    case rpc::Backend::TMPFS:
        return protocol::Backend::Tmpfs;
    case rpc::Backend::PROJECT_QUOTA:
        return std::unexpected(unimplemented("backend project-quota"));
    case rpc::Backend::BTRFS:
        return protocol::Backend::Btrfs;
    }
    return std::unexpected(invalid("backend", "this backend is not known", "auto, image, btrfs and tmpfs are accepted"));
}

Outcome<std::optional<protocol::VolumeStatus>> status_from(rpc::VolumeStatus status) {
    using Status = protocol::VolumeStatus;
    switch (status) {
    case rpc::VolumeStatus::ANY:
        return std::nullopt;
    case rpc::VolumeStatus::AVAILABLE:
        return Status::Available;
    case rpc::VolumeStatus::IN_USE:
        return Status::InUse;
    case rpc::VolumeStatus::TRASHED:
        return Status::Trashed;
    case rpc::VolumeStatus::QUARANTINED:
        return Status::Quarantined;
    }
    return std::unexpected(invalid("filter.status", "this status is not known", "available, in_use, trashed and quarantined are accepted"));
}

Outcome<VolumeSort> sort_from(rpc::VolumeService::Sort sort) {
    switch (sort) {
    case rpc::VolumeService::Sort::NAME:
        return VolumeSort::Name;
    case rpc::VolumeService::Sort::CREATED:
        return VolumeSort::Created;
    case rpc::VolumeService::Sort::SIZE:
        return VolumeSort::Size;
    case rpc::VolumeService::Sort::LAST_USED:
        return VolumeSort::LastUsed;
    }
    return std::unexpected(invalid("sort", "this order is not known", "name, created, size and lastUsed are accepted"));
}

bool asks_for(rpc::IoLimits::Reader io) {
    return io.getReadBytes() != 0 || io.getWriteBytes() != 0 || io.getReadOperations() != 0 || io.getWriteOperations() != 0;
}

Outcome<NewVolume> new_volume_from(rpc::VolumeService::CreateVolumeParams::Reader params) {
    if (params.getSoftSizeBytes() != 0 || params.getSoftInodes() != 0) {
        return std::unexpected(unimplemented("a soft limit of a volume"));
    }
    if (params.getSparse()) {
        return std::unexpected(unimplemented("a sparse volume"));
    }
    if (asks_for(params.getIo())) {
        return std::unexpected(unimplemented("an I/O limit of a volume"));
    }
    const auto type = type_from(params.getType());
    if (!type) {
        return std::unexpected(type.error());
    }
    const auto backend = backend_from(params.getBackend());
    if (!backend) {
        return std::unexpected(backend.error());
    }
    return NewVolume{std::string(view(params.getName())), params.getSizeBytes(), params.getInodes(), *type, *backend,
                     labels_from(params.getLabels())};
}

constexpr unsigned kLabelFiltersMax = 64;

Outcome<VolumeQuery> query_from(rpc::VolumeService::ListVolumesParams::Reader params) {
    const auto filter = params.getFilter();
    VolumeQuery query;
    const auto scope = scope_from(params.getScope());
    if (!scope) {
        return std::unexpected(scope.error());
    }
    query.scope = *scope;
    if (filter.getType() != rpc::VolumeType::ANY) {
        const auto type = type_from(filter.getType());
        if (!type) {
            return std::unexpected(type.error());
        }
        query.type = *type;
    }
    if (filter.getBackend() != rpc::Backend::AUTO) {
        const auto backend = backend_from(filter.getBackend());
        if (!backend) {
            return std::unexpected(backend.error());
        }
        query.backend = *backend;
    }
    const auto status = status_from(filter.getStatus());
    if (!status) {
        return std::unexpected(status.error());
    }
    query.status = *status;
    const auto sort = sort_from(params.getSort());
    if (!sort) {
        return std::unexpected(sort.error());
    }
    query.sort = *sort;
    if (filter.getLabels().size() > kLabelFiltersMax) {
        return std::unexpected(invalid("filter.labels", "there are more than 64 label filters"));
    }
    for (const auto label : filter.getLabels()) {
        LabelFilter& wanted = query.labels.emplace_back(std::string(view(label.getKey())), std::nullopt);
        switch (label.which()) {
        case rpc::VolumeService::LabelFilter::PRESENT:
            continue;
        case rpc::VolumeService::LabelFilter::VALUE:
            wanted.value = std::string(view(label.getValue()));
            continue;
        }
        return std::unexpected(unimplemented("this kind of label filter"));
    }
    query.name_prefix = view(filter.getNamePrefix());
    query.descending = params.getDescending();
    query.page_size = page_size_from(params.getPage());
    query.after = view(params.getPage().getAfter());
    return query;
}

struct Selected {
    std::string volume;
    Scope scope;
};
Outcome<Selected> selected(rpc::VolumeSelector::Reader selector) {
    const auto scope = scope_from(selector.getScope());
    if (!scope) {
        return std::unexpected(scope.error());
    }
    return Selected{std::string(view(selector.getVolume())), *scope};
}

std::vector<std::string> keys_from(capnp::List<capnp::Text>::Reader keys) {
    std::vector<std::string> out;
    for (const auto key : keys) {
        out.emplace_back(view(key));
        if (out.size() > protocol::kLabelsMax) {
            break; // as many labels do not fit in a volume: they are refused
        }
    }
    return out;
}

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
                const auto wanted = selected(context.getParams().getSelector());
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
                const auto wanted = selected(params.getSelector());
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
        return change(context, [&](VolumeManager& volumes, const Selected& wanted) {
            return volumes.rename(session_->caller, wanted.volume, wanted.scope, view(params.getName()));
        });
    }
    kj::Promise<void> labelVolume(LabelVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const Selected& wanted) {
            return volumes.label(session_->caller, wanted.volume, wanted.scope,
                                 {labels_from(params.getSet()), keys_from(params.getRemove())});
        });
    }
    kj::Promise<void> protectVolume(ProtectVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const Selected& wanted) {
            return volumes.protect(session_->caller, wanted.volume, wanted.scope, params.getProtected());
        });
    }
    kj::Promise<void> restoreVolume(RestoreVolumeContext context) override {
        const auto params = context.getParams();
        return change(context, [&](VolumeManager& volumes, const Selected& wanted) {
            return volumes.restore(session_->caller, wanted.volume, wanted.scope, view(params.getName()));
        });
    }
    kj::Promise<void> resizeVolume(ResizeVolumeContext context) override {
        return refuse(context, unimplemented("resizing a volume"));
    }
    kj::Promise<void> getUsage(GetUsageContext context) override {
        return refuse(context, unimplemented("the usage of a volume"));
    }
    kj::Promise<void> attachVolume(AttachVolumeContext context) override {
        const auto params = context.getParams();
        return change_job(context, [&](JobManager& jobs, const Selected& wanted) {
            return jobs.attach(session_->caller, wanted.volume, wanted.scope, view(params.getJob()), params.getReadOnly());
        });
    }
    kj::Promise<void> detachVolume(DetachVolumeContext context) override {
        const auto params = context.getParams();
        return change_job(context, [&](JobManager& jobs, const Selected& wanted) {
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
                const auto wanted = selected(context.getParams().getSelector());
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
                const auto wanted = selected(context.getParams().getSelector());
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
