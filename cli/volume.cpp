#include "cli/volume.h"

#include <string>
#include <vector>

#include "cli/volume_parts.h"

namespace joblet::cli {
namespace {

rpc::VolumeType wire_of(VolumeKind kind) {
    switch (kind) {
    case VolumeKind::Filesystem:
        return rpc::VolumeType::FILESYSTEM;
    case VolumeKind::Memory:
        return rpc::VolumeType::MEMORY;
    case VolumeKind::Any:
        break;
    }
    return rpc::VolumeType::ANY;
}

rpc::Backend wire_of(VolumeBackend backend) {
    switch (backend) {
    case VolumeBackend::Image:
        return rpc::Backend::IMAGE;
    case VolumeBackend::Tmpfs:
        return rpc::Backend::TMPFS;
    case VolumeBackend::ProjectQuota:
        return rpc::Backend::PROJECT_QUOTA;
    case VolumeBackend::Btrfs:
        return rpc::Backend::BTRFS;
    case VolumeBackend::Auto:
        break;
    }
    return rpc::Backend::AUTO;
}

rpc::VolumeStatus wire_of(VolumeState state) {
    switch (state) {
    case VolumeState::Available:
        return rpc::VolumeStatus::AVAILABLE;
    case VolumeState::InUse:
        return rpc::VolumeStatus::IN_USE;
    case VolumeState::Trashed:
        return rpc::VolumeStatus::TRASHED;
    case VolumeState::Quarantined:
        return rpc::VolumeStatus::QUARANTINED;
    case VolumeState::Any:
        break;
    }
    return rpc::VolumeStatus::ANY;
}

rpc::VolumeService::Sort wire_of(VolumeOrder order) {
    switch (order) {
    case VolumeOrder::Created:
        return rpc::VolumeService::Sort::CREATED;
    case VolumeOrder::Size:
        return rpc::VolumeService::Sort::SIZE;
    case VolumeOrder::LastUsed:
        return rpc::VolumeService::Sort::LAST_USED;
    case VolumeOrder::Name:
        break;
    }
    return rpc::VolumeService::Sort::NAME;
}

void fill(rpc::VolumeService::Filter::Builder builder, const VolumeList& list) {
    builder.setType(wire_of(list.kind));
    builder.setStatus(wire_of(list.state));
    auto labels = builder.initLabels(static_cast<unsigned>(list.labels.size()));
    for (unsigned i = 0; i < labels.size(); ++i) {
        labels[i].setKey(list.labels[i].key);
        if (const auto& value = list.labels[i].value) {
            labels[i].setValue(*value);
        }
    }
}

std::vector<VolumeView> fetch(const VolumeList& list, const std::string& socket) {
    Client client(socket);
    auto service = client.volumes();
    constexpr std::uint32_t kPageSize = 1000; // the most that is given at once
    std::vector<VolumeView> volumes;
    for (std::string next;;) {
        auto request = service.listVolumesRequest();
        fill(request.getFilter(), list);
        request.setSort(wire_of(list.order));
        request.setDescending(list.descending);
        request.getPage().setSize(kPageSize);
        request.getPage().setAfter(next);
        fill(request.getScope(), list.scope);
        const auto answer = client.wait(request.send());
        const auto listing = value_of(answer.getResult());
        for (const auto volume : listing.getVolumes()) {
            volumes.push_back(view_of(volume));
        }
        next = text_of(listing.getNext());
        if (next.empty()) {
            return volumes;
        }
    }
}

} // namespace

int create_volume(const VolumeCreate& create, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().createVolumeRequest();
    request.setName(create.name);
    request.setSizeBytes(create.size_bytes);
    request.setType(wire_of(create.kind));
    request.setBackend(wire_of(create.backend));
    request.setInodes(create.inodes);
    request.setSoftSizeBytes(create.soft_size_bytes);
    request.setSoftInodes(create.soft_inodes);
    if (create.io != protocol::IoLimits{}) {
        fill(request.initIo(), create.io);
    }
    fill(request.initLabels(static_cast<unsigned>(create.labels.size())), create.labels);
    const auto answer = client.wait(request.send(), "creating volume \"" + create.name + "\"");
    show_changed(view_of(value_of(answer.getResult()).getVolume()), line.format);
    return 0;
}

int list_volumes(const VolumeList& list, const CommandLine& line) {
    const auto volumes = fetch(list, line.socket);
    const TableLook look{.owners = list.scope.kind != Scope::Kind::Own, .trash = list.state == VolumeState::Trashed};
    if (!list.quiet) {
        write_stdout(render_list(volumes, line.format, look, terminal_width()));
        return 0;
    }
    // A name can be there twice: of two owners, or in the trash once for each time that it was removed.
    const bool ambiguous = list.scope.kind == Scope::Kind::Everybody || list.state == VolumeState::Trashed;
    std::vector<std::string> words;
    words.reserve(volumes.size());
    for (const auto& volume : volumes) {
        words.push_back(ambiguous ? volume.id : volume.name);
    }
    write_stdout(render_names(words, line.format));
    return 0;
}

int inspect_volumes(const VolumeInspect& inspect, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.volumes();
    std::vector<VolumeView> volumes;
    const int status = for_each_name(inspect.names, line.format, [&](const std::string& name) {
        auto request = service.getVolumeRequest();
        fill(request.getSelector(), name, inspect.scope);
        const auto answer = client.wait(request.send());
        volumes.push_back(view_of(value_of(answer.getResult())));
    });
    // How it is shown depends on what was asked, not on what was found.
    if (inspect.names.size() > 1) {
        write_stdout(render_volumes(volumes, line.format));
    } else if (!volumes.empty()) {
        write_stdout(render_volume(volumes.front(), line.format));
    }
    return status;
}

} // namespace joblet::cli
