#include "cli/volume.h"

#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/output.h"
#include "cli/terminal.h"

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
    return view;
}

void fill(rpc::Scope::Builder builder, const Scope& scope) {
    switch (scope.kind) {
    case Scope::Kind::Own:
        builder.setOwn();
        break;
    case Scope::Kind::User:
        builder.setUser(scope.uid);
        break;
    case Scope::Kind::Everybody:
        builder.setEverybody();
        break;
    }
}

// Calls `act` for each name. What is refused for one volume does not keep the others waiting for a second try.
template <class Act> int for_each_name(const std::vector<std::string>& names, Format format, Act&& act) {
    int status = 0;
    for (const auto& name : names) {
        try {
            act(name);
        } catch (const CommandFailure& failure) {
            write_stderr(render_error(failure.error(), format));
            status = kExitRefused;
        }
    }
    return status;
}

} // namespace

int create_volume(const VolumeCreate& create, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().createVolumeRequest();
    request.setName(create.name);
    request.setSizeBytes(create.size_bytes);
    request.setType(create.kind == VolumeKind::Memory ? rpc::VolumeType::MEMORY : rpc::VolumeType::FILESYSTEM);
    const auto answer = client.wait(request.send());
    const auto view = view_of(value_of(answer.getResult()).getVolume());
    write_stdout(line.format == Format::Table ? printable(view.name) + "\n" : render_volume(view, line.format));
    return 0;
}

int list_volumes(const VolumeList& list, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.volumes();
    constexpr std::uint32_t kPageSize = 1000; // the most that is given at once
    std::vector<VolumeView> volumes;
    for (std::string next;;) {
        auto request = service.listVolumesRequest();
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
            break;
        }
    }
    const auto owners = list.scope.kind == Scope::Kind::Own ? Owners::Hide : Owners::Show;
    write_stdout(render_list(volumes, line.format, owners, terminal_width()));
    return 0;
}

int inspect_volumes(const VolumeInspect& inspect, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.volumes();
    std::vector<VolumeView> volumes;
    const int status = for_each_name(inspect.names, line.format, [&](const std::string& name) {
        auto request = service.getVolumeRequest();
        request.getSelector().setVolume(name);
        fill(request.getSelector().getScope(), inspect.scope);
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

int remove_volumes(const VolumeRemove& remove, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.volumes();
    std::vector<std::string> removed;
    const int status = for_each_name(remove.names, line.format, [&](const std::string& name) {
        auto request = service.deleteVolumeRequest();
        request.getSelector().setVolume(name);
        fill(request.getSelector().getScope(), remove.scope);
        const auto answer = client.wait(request.send());
        value_of(answer.getResult());
        removed.push_back(name);
    });
    write_stdout(render_names(removed, line.format));
    return status;
}

} // namespace joblet::cli
