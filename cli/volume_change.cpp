// What changes a volume that is there.
#include <string>
#include <vector>

#include "cli/volume.h"
#include "cli/volume_parts.h"

namespace joblet::cli {

int label_volume(const VolumeLabel& label, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().labelVolumeRequest();
    fill(request.getSelector(), label.name);
    fill(request.initSet(static_cast<unsigned>(label.set.size())), label.set);
    auto remove = request.initRemove(static_cast<unsigned>(label.remove.size()));
    for (unsigned i = 0; i < remove.size(); ++i) {
        remove.set(i, label.remove[i]);
    }
    const auto answer = client.wait(request.send());
    show_changed(view_of(value_of(answer.getResult())), line.format);
    return 0;
}

int rename_volume(const VolumeRename& rename, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().renameVolumeRequest();
    fill(request.getSelector(), rename.name);
    request.setName(rename.new_name);
    const auto answer = client.wait(request.send());
    show_changed(view_of(value_of(answer.getResult())), line.format);
    return 0;
}

int resize_volume(const VolumeResize& resize, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().resizeVolumeRequest();
    fill(request.getSelector(), resize.name);
    request.setSizeBytes(resize.size_bytes);
    request.setInodes(resize.inodes);
    request.setSoftSizeBytes(resize.soft_size_bytes);
    request.setSoftInodes(resize.soft_inodes);
    const auto answer = client.wait(request.send(), "resizing volume \"" + resize.name + "\"");
    show_changed(view_of(value_of(answer.getResult())), line.format);
    return 0;
}

int remove_volumes(const VolumeRemove& remove, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.volumes();
    std::vector<std::string> removed;
    const int status = for_each_name(remove.names, line.format, [&](const std::string& name) {
        auto request = service.deleteVolumeRequest();
        fill(request.getSelector(), name, remove.scope);
        request.setForce(remove.force);
        request.setNow(remove.now);
        request.setWait(remove.wait);
        const auto answer = client.wait(request.send(), "removing volume \"" + name + "\"");
        value_of(answer.getResult());
        removed.push_back(name);
    });
    write_stdout(render_names(removed, line.format));
    return status;
}

int restore_volume(const VolumeRestore& restore, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().restoreVolumeRequest();
    fill(request.getSelector(), restore.name);
    request.setName(restore.new_name);
    const auto answer = client.wait(request.send());
    show_changed(view_of(value_of(answer.getResult())), line.format);
    return 0;
}

int protect_volumes(const VolumeProtect& protect, const CommandLine& line) {
    Client client(line.socket);
    auto service = client.volumes();
    std::vector<std::string> changed;
    const int status = for_each_name(protect.names, line.format, [&](const std::string& name) {
        auto request = service.protectVolumeRequest();
        fill(request.getSelector(), name, protect.scope);
        request.setProtected(protect.is_protected);
        const auto answer = client.wait(request.send());
        value_of(answer.getResult());
        changed.push_back(name);
    });
    write_stdout(render_names(changed, line.format));
    return status;
}

int attach_volume(const VolumeAttach& attach, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().attachVolumeRequest();
    fill(request.getSelector(), attach.name);
    request.setJob(attach.job);
    request.setReadOnly(attach.read_only);
    const auto answer = client.wait(request.send());
    value_of(answer.getResult());
    write_stdout(render_names(std::vector{attach.name}, line.format));
    return 0;
}

int detach_volume(const VolumeDetach& detach, const CommandLine& line) {
    Client client(line.socket);
    auto request = client.volumes().detachVolumeRequest();
    fill(request.getSelector(), detach.name);
    request.setJob(detach.job);
    const auto answer = client.wait(request.send());
    value_of(answer.getResult());
    write_stdout(render_names(std::vector{detach.name}, line.format));
    return 0;
}

} // namespace joblet::cli
