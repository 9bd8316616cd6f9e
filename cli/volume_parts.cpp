#include "cli/volume_parts.h"

namespace joblet::cli {
namespace {

std::string name_of(rpc::VolumeType type) {
    switch (type) {
    case rpc::VolumeType::FILESYSTEM:
        return "filesystem";
    case rpc::VolumeType::MEMORY:
        return "memory";
    case rpc::VolumeType::ANY:
        break;
    }
    return "unknown"; // of a daemon newer than this rnx
}

std::string name_of(rpc::Backend backend) {
    switch (backend) {
    case rpc::Backend::IMAGE:
        return "image";
    case rpc::Backend::TMPFS:
        return "tmpfs";
    case rpc::Backend::PROJECT_QUOTA:
        return "project-quota";
    case rpc::Backend::BTRFS:
        return "btrfs";
    case rpc::Backend::AUTO:
        break;
    }
    return "unknown";
}

std::string name_of(rpc::VolumeStatus status) {
    switch (status) {
    case rpc::VolumeStatus::AVAILABLE:
        return "available";
    case rpc::VolumeStatus::IN_USE:
        return "in_use";
    case rpc::VolumeStatus::TRASHED:
        return "trashed";
    case rpc::VolumeStatus::QUARANTINED:
        return "quarantined";
    case rpc::VolumeStatus::ANY:
        break;
    }
    return "unknown";
}

} // namespace

VolumeView view_of(rpc::Volume::Reader volume) {
    VolumeView view;
    view.id = text_of(volume.getId());
    view.name = text_of(volume.getName());
    view.type = name_of(volume.getType());
    view.size_bytes = volume.getSizeBytes();
    view.status = name_of(volume.getStatus());
    view.created_ns = volume.getCreatedNs();
    view.last_used_ns = volume.getLastUsedNs();
    view.current_job = text_of(volume.getCurrentJob());
    for (const auto label : volume.getLabels()) {
        view.labels.emplace_back(text_of(label.getKey()), text_of(label.getValue()));
    }
    view.owner = volume.getOwner();
    view.backend = name_of(volume.getBackend());
    view.enforcement = text_of(volume.getEnforcement());
    view.inodes = volume.getInodes();
    view.is_protected = volume.getProtected();
    view.trashed_until_ns = volume.getStatus() == rpc::VolumeStatus::TRASHED ? volume.getTrashedUntilNs() : 0;
    view.soft_size_bytes = volume.getSoftSizeBytes();
    view.soft_inodes = volume.getSoftInodes();
    view.io = io_of(volume.getIo());
    if (volume.getType() == rpc::VolumeType::MEMORY) {
        view.no_swap = volume.getNoSwap();
    }
    return view;
}

void fill(rpc::VolumeSelector::Builder builder, const std::string& name, const Scope& scope) {
    builder.setVolume(name);
    fill(builder.getScope(), scope);
}

void fill(capnp::List<rpc::Label>::Builder builder, const std::vector<Label>& labels) {
    for (unsigned i = 0; i < builder.size(); ++i) {
        builder[i].setKey(labels[i].first);
        builder[i].setValue(labels[i].second);
    }
}

void show_changed(const VolumeView& volume, Format format) {
    write_stdout(format == Format::Table ? printable(volume.name) + "\n" : render_volume(volume, format));
}

} // namespace joblet::cli
