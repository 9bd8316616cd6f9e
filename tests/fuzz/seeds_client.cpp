// Seeds that are a client's calls: see fuzz_client.cpp.
#include "tests/fuzz/seeds.h"

#include <initializer_list>

#include <fmt/format.h>

#include "tests/fuzz/client_calls.h"

namespace joblet::fuzz {

namespace {

using Volumes = rpc::VolumeService;
using Jobs = rpc::JobService;

// One call: its method, a length, and its parameters.
template <class Params, class Fill> std::string one(std::uint64_t interface, std::uint16_t number, const Fill& fill) {
    std::uint8_t index = 0;
    while (methods()[index].interface != interface || methods()[index].number != number) {
        ++index;
    }
    capnp::MallocMessageBuilder message(1024);
    fill(message.initRoot<Params>());
    const auto segments = message.getSegmentsForOutput();
    require(segments.size() == 1, "the parameters of a seed are one segment");
    const auto bytes = segments[0].asBytes();
    return raw(index) + raw(static_cast<std::uint16_t>(bytes.size())) +
           std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}
template <class Params, class Fill> std::string volume_call(std::uint16_t number, const Fill& fill) {
    return one<Params>(capnp::typeId<Volumes>(), number, fill);
}
template <class Params, class Fill> std::string job_call(std::uint16_t number, const Fill& fill) {
    return one<Params>(capnp::typeId<Jobs>(), number, fill);
}
void add_volumes(Seeds& seeds) {
    const auto add = [&seeds](std::string_view name, const std::string& call) { seeds.add(name, prefix({0, 2}) + call); };
    add("create", volume_call<Volumes::CreateVolumeParams>(0, [](auto params) {
            params.setName("new");
            params.setSizeBytes(1 << 20U);
            params.setBackend(rpc::Backend::PROJECT_QUOTA);
            params.setSoftSizeBytes(4096);
            params.initIo().setReadBytes(4096);
            auto labels = params.initLabels(2);
            labels[0].setKey("app");
            labels[0].setValue("web");
            labels[1].setKey("x/y");
        }));
    add("list", volume_call<Volumes::ListVolumesParams>(1, [](auto params) {
            auto filter = params.initFilter();
            filter.setNamePrefix("d");
            auto labels = filter.initLabels(2);
            labels[0].setKey("k");
            labels[0].setValue("v");
            labels[1].setKey("k");
            params.setSort(Volumes::Sort::CREATED);
            params.initPage().setSize(2);
        }));
    add("get", volume_call<Volumes::GetVolumeParams>(2, [](auto params) { params.initSelector().setVolume("data"); }));
    add("get-prefix", volume_call<Volumes::GetVolumeParams>(2, [](auto params) { params.initSelector().setVolume("11111111"); }));
    add("delete", volume_call<Volumes::DeleteVolumeParams>(3, [](auto params) {
            params.initSelector().setVolume("data");
            params.setNow(true);
            params.setWait(true);
        }));
    add("rename", volume_call<Volumes::RenameVolumeParams>(4, [](auto params) {
            params.initSelector().setVolume("data");
            params.setName("other");
        }));
    add("label", volume_call<Volumes::LabelVolumeParams>(5, [](auto params) {
            params.initSelector().setVolume("data");
            params.initSet(1)[0].setKey("new");
            params.initRemove(1).set(0, "k");
        }));
    add("protect", volume_call<Volumes::ProtectVolumeParams>(6, [](auto params) {
            params.initSelector().setVolume("data");
            params.setProtected(true);
        }));
    add("restore", volume_call<Volumes::RestoreVolumeParams>(7, [](auto params) {
            params.initSelector().setVolume("data");
            params.setName("back");
        }));
    add("resize", volume_call<Volumes::ResizeVolumeParams>(8, [](auto params) {
            params.initSelector().setVolume("data");
            params.setSizeBytes(1 << 21U);
            params.setSoftInodes(~std::uint64_t{0});
        }));
    add("usage", volume_call<Volumes::GetUsageParams>(9, [](auto params) { params.initVolumes(1).set(0, "data"); }));
    add("attach", volume_call<Volumes::AttachVolumeParams>(10, [](auto params) {
            params.initSelector().setVolume("data");
            params.setJob("31313131");
        }));
    add("detach", volume_call<Volumes::DetachVolumeParams>(11, [](auto params) {
            params.initSelector().setVolume("data");
            params.setJob("31313131");
        }));
}

void add_jobs(Seeds& seeds) {
    const auto run = [](auto fill) {
        return job_call<Jobs::RunParams>(0, [&fill](auto params) {
            auto request = params.initRequest();
            request.initCommand(2).set(0, "true");
            request.getCommand().set(1, "x");
            request.initEnvironment(1).set(0, "A=b");
            request.setBase("minimal");
            auto volumes = request.initVolumes(2);
            volumes[0].setVolume("data");
            volumes[0].setTarget("/data");
            volumes[1].setVolume("logs");
            fill(request);
        });
    };
    const auto add = [&seeds](std::string_view name, const std::string& call, unsigned char flags = 0) {
        seeds.add(name, prefix({flags, 2}) + call);
    };
    add("run-dry", run([](auto request) { request.setDryRun(true); }));
    add("run-detached", run([](auto request) {
            request.setDetached(true);
            request.setLogMaxBytes(65536);
            request.setTimeoutNs(1);
            request.setName("job");
            request.setHostName("h");
            request.initLimits().setMemoryBytes(4 << 20U);
        }));
    add("run-control", run([](auto request) { request.setWorkingDirectory("/tmp"); }), 0x40);
    add("open-control", job_call<Jobs::OpenControlParams>(9, [](auto) {}));
    add("list-jobs", job_call<Jobs::ListJobsParams>(1, [](auto params) { params.initPage().setAfter("1"); }));
    const auto selecting = [](auto params) { params.initSelector().setJob("31313131"); };
    add("get-job", job_call<Jobs::GetJobParams>(2, selecting));
    add("wait", job_call<Jobs::WaitParams>(3, selecting));
    add("signal", job_call<Jobs::SignalParams>(4, [](auto params) {
            params.initSelector().setJob("31313131");
            params.setSignal(15);
        }));
    add("stop", job_call<Jobs::StopParams>(5, selecting));
    add("remove", job_call<Jobs::RemoveParams>(6, [](auto params) { params.initSelector().setJob("32323232"); }));
    add("logs", job_call<Jobs::LogsParams>(7, selecting));
    add("prune", job_call<Jobs::PruneParams>(8, [](auto params) { params.initScope().setEverybody(); }), 2);
}

} // namespace

void add_client_seeds(const std::filesystem::path& directory) {
    Seeds seeds(directory, "client");
    add_volumes(seeds);
    add_jobs(seeds);
    const auto everybody = volume_call<Volumes::ListVolumesParams>(1, [](auto params) { params.initScope().setEverybody(); });
    seeds.add("everybody", prefix({0, 5}) + everybody);
    seeds.add("everybody-admin", prefix({2, 5}) + everybody);
    const auto of_bob = volume_call<Volumes::GetVolumeParams>(2, [](auto params) {
        params.initSelector().setVolume("secret");
        params.getSelector().initScope().setUser(1001);
    });
    seeds.add("of-another", prefix({0, 1}) + of_bob + of_bob);
    seeds.add("of-another-admin", prefix({2, 1}) + of_bob + everybody);
    seeds.add("host", prefix({0, 0}) + one<rpc::HostService::ListBasesParams>(capnp::typeId<rpc::HostService>(), 0, [](auto) {}) +
                          one<rpc::HostService::DoctorParams>(capnp::typeId<rpc::HostService>(), 1, [](auto) {}));
    seeds.add("raw-greeting", prefix({1, 0}) + greeting());
    seeds.add("raw-call", prefix({5, 0}) + call(methods()[4], 9, ""));
}

} // namespace joblet::fuzz
