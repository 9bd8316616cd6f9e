#include "tests/boundary/attacker/edges.h"

namespace joblet::testing {

namespace {

using namespace protocol;

constexpr std::uint64_t kAll = ~std::uint64_t{0};

void numbers(EdgeList& out, const StartJob& good) {
    struct Number {
        const char* what;
        std::uint64_t StartJob::* field;
        std::uint64_t least;
        std::uint64_t most;
    };
    for (const auto& [what, field, least, most] : {Number{"timeout", &StartJob::timeout_ns, 1, kTimeoutMax},
                                                   {"work", &StartJob::work_bytes, kScratchMin, kVolumeSizeMax},
                                                   {"tmp", &StartJob::tmp_bytes, kScratchMin, kVolumeSizeMax},
                                                   {"log", &StartJob::log_bytes, kLogMin, kVolumeSizeMax},
                                                   {"memory", &StartJob::memory_bytes, kMemoryMin, kVolumeSizeMax},
                                                   {"swap", &StartJob::swap_bytes, 1, kVolumeSizeMax},
                                                   {"processes", &StartJob::processes, kProcessesMin, kProcessesMax},
                                                   {"cpu", &StartJob::cpu_milli, kCpuMilliMin, kCpuMilliMax}}) {
        const std::string name = what;
        out.add((name + ", the least").c_str(), true, good, [&](StartJob& r) { r.*field = least; });
        out.add((name + ", the most").c_str(), true, good, [&](StartJob& r) { r.*field = most; });
        out.add((name + ", more").c_str(), false, good, [&](StartJob& r) { r.*field = most + 1; });
        out.add((name + ", all").c_str(), false, good, [&](StartJob& r) { r.*field = kAll; });
        if (least > 1) {
            out.add((name + ", less").c_str(), false, good, [&](StartJob& r) { r.*field = least - 1; });
        }
    }
    for (std::uint64_t IoLimits::* const field :
         {&IoLimits::read_bytes, &IoLimits::write_bytes, &IoLimits::read_operations, &IoLimits::write_operations}) {
        out.add("I/O, the most", true, good, [field](StartJob& r) { r.io.*field = kIoLimitMax; });
        out.add("I/O, more", false, good, [field](StartJob& r) { r.io.*field = kIoLimitMax + 1; });
        out.add("I/O, less", false, good, [field](StartJob& r) { r.io.*field = 1; });
    }
    for (std::uint32_t StartJob::* const field : {&StartJob::user, &StartJob::group}) {
        out.add("the last id", true, good, [field](StartJob& r) { r.*field = kInnerIdMax; });
        for (const std::uint32_t id : {kInnerIdMax + 1, 0x80000000U, ~0U}) {
            out.add("an id that no job has", false, good, [field, id](StartJob& r) { r.*field = id; });
        }
    }
}

void places(EdgeList& out, const Scene& scene, const StartJob& good) {
    const auto with = [&scene](StartJob& r, const char* target) {
        r.volume_count = 1;
        r.volumes[0].id = scene.memory;
        r.volumes[0].target = TargetText(target);
    };
    for (const char* const free : {"/d", "/data", "/a/b/c", "/data.x", "/procx", "/home/volumes"}) {
        out.add("a place of its own", true, good, [&](StartJob& r) { with(r, free); });
    }
    out.add("the longest place", true, good, [&](StartJob& r) { with(r, ("/" + std::string(kTargetMax - 1, 'p')).c_str()); });
    out.add("a place without an end", false, good, [&](StartJob& r) {
        with(r, "/");
        r.volumes[0].target.data.fill('p');
        r.volumes[0].target.data[0] = '/';
    });
    for (const char* const bad : {"/",     "data",   "//data", "/data/",     "/data//x", "/./x",   "/x/..",     "/../canary", "/a b",
                                  "/a\n",  "/\x80",  "/proc",  "/proc/self", "/sys",     "/dev",   "/dev/null", "/volumes",   "/volumes/x",
                                  "/work", "/tmp/x", "/bin",   "/usr/x",     "/etc",     "/lib64", "/sbin",     "/lib"}) {
        out.add("a place that may not be had", false, good, [&](StartJob& r) { with(r, bad); });
    }
    const auto two = [&](StartJob& r, const char* a, const char* b) {
        with(r, a);
        r.volume_count = 2;
        r.volumes[1].id = scene.disk;
        r.volumes[1].target = TargetText(b);
    };
    out.add("two places", true, good, [&](StartJob& r) { two(r, "/a", "/ab"); });
    out.add("one place twice", false, good, [&](StartJob& r) { two(r, "/a", "/a"); });
    out.add("one place in another", false, good, [&](StartJob& r) { two(r, "/a", "/a/b"); });
    out.add("another way round", false, good, [&](StartJob& r) { two(r, "/a/b", "/a"); });
    out.add("one volume twice", false, good, [&](StartJob& r) {
        two(r, "/a", "/b");
        r.volumes[1].id = r.volumes[0].id;
    });
    out.add("no volume", false, good, [&](StartJob& r) { r.volume_count = 1; });
    out.add("a volume that is not counted", false, good, [&](StartJob& r) { r.volumes[0].id = scene.memory; });
    out.add("a place that is not counted", false, good, [](StartJob& r) { r.volumes.back().target = TargetText("/x"); });
    for (const std::uint32_t count : {static_cast<std::uint32_t>(kJobVolumesMax) + 1, 0x80000000U, ~0U}) {
        out.add("more volumes than fit", false, good, [count](StartJob& r) { r.volume_count = count; });
    }
    out.add("an access that is none", false, good, [&](StartJob& r) {
        with(r, "");
        r.volumes[0].access = static_cast<Access>(2);
    });
    out.add("what must be zero", false, good, [&](StartJob& r) {
        with(r, "");
        r.volumes[0].zero = 1;
    });
    for (const VolumeId& id : {scene.of_bob, scene.of_victim, VolumeId{scene.job.bytes}}) {
        for (const Connection connection : {scene.alice, scene.admin}) {
            out.add("with a volume of somebody else's", true, good, [&](StartJob& r) {
                r.header.connection = connection;
                r.volume_count = 1;
                r.volumes[0].id = id;
            });
        }
    }
}

void jobs(EdgeList& out, const Scene& scene) {
    const auto about = [&scene]<class R>(R request) {
        request.header.connection = scene.alice;
        request.id = scene.job;
        return request;
    };
    const auto authorities = [&out]<class R>(const R& good) {
        out.add("no id", false, good, [](R& r) { r.id = {}; });
        out.add("an id of nothing", true, good, [](R& r) { r.id.bytes.fill(0xff); });
        out.add("as an admin who is none", true, good, [](R& r) { r.authority = Authority::Admin; });
        out.add("an authority that is none", false, good, [](R& r) { r.authority = static_cast<Authority>(2); });
    };
    const auto log = about(OpenLog{});
    authorities(log);
    out.add("of a running job", true, log, [](OpenLog&) {});
    out.add("what must be zero", false, log, [](OpenLog& r) { r.zero = 1; });
    const auto release = about(ReleaseJob{});
    authorities(release);
    out.add("of a running job", true, release, [](ReleaseJob&) {});
    out.add("of a running job, by the API", true, release, [](ReleaseJob& r) { r.header.connection = 0; });
    out.add("what must be zero", false, release, [](ReleaseJob& r) { r.zero = 1; });

    AttachVolume attach;
    attach.header.connection = scene.alice;
    attach.id = scene.memory;
    attach.job = scene.job;
    out.add("no volume", false, attach, [](AttachVolume& r) { r.id = {}; });
    out.add("no job", false, attach, [](AttachVolume& r) { r.job = {}; });
    out.add("an access that is none", false, attach, [](AttachVolume& r) { r.access = static_cast<Access>(2); });
    out.add("what must be zero", false, attach, [](AttachVolume& r) { r.zero = 1; });
    out.add("somebody else's", true, attach, [&](AttachVolume& r) { r.id = scene.of_victim; });
    out.add("what it has", true, attach, [&](AttachVolume& r) { r.id = scene.held; });
    out.add("read-only", true, attach, [](AttachVolume& r) { r.access = Access::ReadOnly; });
    DetachVolume detach;
    detach.header.connection = scene.alice;
    detach.id = scene.memory;
    detach.job = scene.job;
    out.add("no volume", false, detach, [](DetachVolume& r) { r.id = {}; });
    out.add("no job", false, detach, [](DetachVolume& r) { r.job = {}; });
    out.add("what it has", true, detach, [](DetachVolume&) {});
    out.add("what it has not any more", true, detach, [](DetachVolume&) {});

    auto signal = about(SignalJob{});
    signal.signal = SIGCONT;
    authorities(signal);
    out.add("no signal", false, signal, [](SignalJob& r) { r.signal = 0; });
    out.add("the first signal", true, signal, [](SignalJob& r) { r.signal = 1; });
    out.add("the last signal", true, signal, [](SignalJob& r) { r.signal = 31; });
    for (const std::uint32_t number : {32U, 64U, 0x80000009U, ~0U}) {
        out.add("a signal that is none", false, signal, [number](SignalJob& r) { r.signal = number; });
    }
    out.add("after the last", true, ListJobs{}, [](ListJobs& r) { r.after.bytes.fill(0xff); });
    out.add("in somebody's name", false, ListJobs{}, [&](ListJobs& r) { r.header.connection = scene.alice; });
    out.add("all", true, ListBases{}, [](ListBases&) {});
    out.add("in somebody's name", false, ListBases{}, [&](ListBases& r) { r.header.connection = scene.alice; });
    out.add("of nobody", false, CloseConnection{}, [](CloseConnection&) {});
    out.add("of a forged one", true, CloseConnection{}, [&](CloseConnection& r) { r.header.connection = scene.forged; });
    out.add("of the last that there can be", true, CloseConnection{}, [](CloseConnection& r) { r.header.connection = kAll; });
}

} // namespace

std::vector<Edge> edges_of_jobs(const Scene& scene) {
    EdgeList out;
    const auto good = from(scene.alice, job_request());
    numbers(out, good);
    places(out, scene, good);
    for (const char* const bad : {"", "..", "a/b", ".", "-"}) {
        out.add("a base that is no name", false, good, [bad](StartJob& r) { r.base = NameText(bad); });
    }
    out.add("a base that is not there", true, good, [](StartJob& r) { r.base = NameText("nowhere"); });
    out.add("the base of system jobs", true, good, [](StartJob& r) { r.base = NameText("system"); });
    out.add("the other base", true, good, [](StartJob& r) { r.base = NameText("host"); });
    out.add("the longest host name", true, good, [](StartJob& r) { r.host_name = NameText(std::string(kNameMax, 'h')); });
    out.add("a host name that is none", false, good, [](StartJob& r) { r.host_name = NameText("a b"); });
    out.add("every flag", true, good, [](StartJob& r) {
        r.flags = kStartDetached | kStartHostNetwork | kStartReadOnlyWork | kStartDryRun;
        r.channel = 0;
    });
    out.add("no channel", false, good, [](StartJob& r) { r.channel = 0; });
    out.add("a channel for a dry run", false, good, [](StartJob& r) { r.flags |= kStartDryRun; });
    for (const std::uint64_t number : {std::uint64_t{1}, ~std::uint64_t{1}}) {
        out.add("a channel that is none", true, good, [number](StartJob& r) { r.channel = number; });
    }
    const auto channel = from(scene.alice, CreateChannel{});
    for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
        out.add("instead of what is no channel", true, channel, [number](CreateChannel& r) { r.replaces = number; });
    }
    out.add("a channel in nobody's name", false, channel, [](CreateChannel& r) { r.header.connection = 0; });
    out.add("the host's network", true, good, [](StartJob& r) { r.flags |= kStartHostNetwork; });
    out.add("a flag that is none", false, good, [](StartJob& r) { r.flags |= 16; });
    out.add("every bit", false, good, [](StartJob& r) { r.flags = ~0U; });
    out.add("a log of a job in the foreground", false, good, [](StartJob& r) {
        r.flags = 0;
        r.log_bytes = kLogMin;
    });
    out.add("in nobody's name", false, good, [](StartJob& r) { r.header.connection = 0; });
    jobs(out, scene);
    return std::move(out.list);
}

} // namespace joblet::testing
