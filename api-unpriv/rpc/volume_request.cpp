#include "api-unpriv/rpc/volume_request.h"

#include "api-unpriv/rpc/answer.h"
#include "api-unpriv/rpc/limits.h"

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
        return protocol::Backend::ProjectQuota;
    case rpc::Backend::BTRFS:
        return protocol::Backend::Btrfs;
    }
    return std::unexpected(invalid("backend", "this backend is not known", "auto, image, tmpfs, projectQuota and btrfs are accepted"));
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

constexpr unsigned kLabelFiltersMax = 64;

} // namespace

Outcome<NewVolume> new_volume_from(rpc::VolumeService::CreateVolumeParams::Reader params) {
    if (params.getSparse()) {
        return std::unexpected(unimplemented("a sparse volume"));
    }
    const auto type = type_from(params.getType());
    if (!type) {
        return std::unexpected(type.error());
    }
    const auto backend = backend_from(params.getBackend());
    if (!backend) {
        return std::unexpected(backend.error());
    }
    const VolumeSizes sizes{params.getSizeBytes(), params.getInodes(), params.getSoftSizeBytes(), params.getSoftInodes()};
    return NewVolume{std::string(view(params.getName())), sizes, io_from(params.getIo()), *type, *backend, labels_from(params.getLabels())};
}

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

Outcome<SelectedVolume> selected_volume(rpc::VolumeSelector::Reader selector) {
    const auto scope = scope_from(selector.getScope());
    if (!scope) {
        return std::unexpected(scope.error());
    }
    return SelectedVolume{std::string(view(selector.getVolume())), *scope};
}

std::vector<std::string> some_texts_from(capnp::List<capnp::Text>::Reader texts, std::size_t most) {
    std::vector<std::string> out;
    for (const auto one : texts) {
        out.emplace_back(view(one));
        if (out.size() > most) {
            break;
        }
    }
    return out;
}

} // namespace joblet::api
