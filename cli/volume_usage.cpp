// How full volumes are.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/output_usage.h"
#include "cli/volume.h"
#include "cli/volume_parts.h"

namespace joblet::cli {
namespace {

// A daemon tells of so many volumes at once, and gives no more in one page.
constexpr std::uint32_t kMost = 1000;

UsageView usage_of(rpc::VolumeUsage::Reader usage, const VolumeView& volume) {
    return {.id = volume.id,
            .name = volume.name,
            .owner = volume.owner,
            .used_bytes = usage.getUsedBytes(),
            .size_bytes = usage.getSizeBytes(),
            .soft_size_bytes = usage.getSoftSizeBytes(),
            .used_inodes = usage.getUsedInodes(),
            .inodes = usage.getInodes(),
            .soft_inodes = usage.getSoftInodes(),
            .grace_ends_ns = usage.getGraceEndsNs(),
            .inodes_grace_ends_ns = usage.getInodesGraceEndsNs()};
}

UsageView measure(Client& client, const VolumeView& volume, const Scope& scope) {
    auto request = client.volumes().getUsageRequest();
    request.initVolumes(1).set(0, volume.id);
    fill(request.getScope(), scope);
    const auto answer = client.wait(request.send(), "measuring volume \"" + volume.name + "\"");
    const auto usages = value_of(answer.getResult()).getVolumes();
    if (usages.size() != 1) {
        throw CommandFailure({ErrorCode::Internal, "the daemon did not tell how full volume \"" + volume.name + "\" is", ""});
    }
    return usage_of(usages[0], volume);
}

VolumeView find(Client& client, const std::string& name, const Scope& scope) {
    auto request = client.volumes().getVolumeRequest();
    fill(request.getSelector(), name, scope);
    const auto answer = client.wait(request.send());
    return view_of(value_of(answer.getResult()));
}

std::vector<VolumeView> list_all(Client& client, const Scope& scope) {
    std::vector<VolumeView> volumes;
    for (std::string next;;) {
        auto request = client.volumes().listVolumesRequest();
        request.getPage().setSize(kMost);
        request.getPage().setAfter(next);
        fill(request.getScope(), scope);
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

std::vector<UsageView> measure_all(Client& client, const Scope& scope) {
    auto request = client.volumes().getUsageRequest();
    fill(request.getScope(), scope);
    const auto answer = client.wait(request.send(), "measuring volumes");
    std::map<std::string, rpc::VolumeUsage::Reader> told;
    for (const auto usage : value_of(answer.getResult()).getVolumes()) {
        told.emplace(text_of(usage.getId()), usage);
    }
    std::vector<UsageView> usages;
    for (const auto& volume : list_all(client, scope)) {
        if (const auto usage = told.find(volume.id); usage != told.end()) {
            usages.push_back(usage_of(usage->second, volume));
            continue;
        }
        // One for which there was no room in the answer, or that was made since
        try {
            usages.push_back(measure(client, volume, scope));
        } catch (const CommandFailure& failure) {
            if (failure.error().code != ErrorCode::NotFound) { // removed meanwhile
                throw;
            }
        }
    }
    return usages;
}

} // namespace

int show_usage(const VolumeUsage& wanted, const CommandLine& line) {
    Client client(line.socket);
    std::vector<UsageView> usages;
    int status = 0;
    if (wanted.names.empty()) {
        usages = measure_all(client, wanted.scope);
    } else {
        status = for_each_name(wanted.names, line.format, [&](const std::string& name) {
            usages.push_back(measure(client, find(client, name, wanted.scope), wanted.scope));
        });
    }
    write_stdout(render_usage(usages, line.format, wanted.scope.kind != Scope::Kind::Own, terminal_width()));
    return status;
}

} // namespace joblet::cli
