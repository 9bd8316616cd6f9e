// Seeds that are structs: one of each kind that decodes.
#include "tests/fuzz/seeds.h"

#include <array>
#include <cstring>

#include <fmt/format.h>

#include "broker-root/spawner/launch.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/record.h"
#include "shared/exit_record.h"
#include "shared/job_spec.h"
#include "shared/protocol_messages.h"

namespace joblet::fuzz {

namespace {

using namespace protocol;

template <class IdType> IdType some_id(std::uint8_t number) {
    IdType id;
    id.bytes.fill(number);
    return id;
}

// ---- plan: index of the row, anything that is not 7 modulo 8, bits of the host, the request

std::string request_prefix(RequestType type, std::uint32_t host_bits) {
    const auto row = static_cast<std::uint8_t>(&row_of(type) - kRequests.data());
    return prefix({row, 0}) + raw(host_bits);
}

// What decodes of most types.
template <class R> R plain() {
    R r;
    r.header.type = R::kType;
    r.header.sequence = 1;
    r.header.connection = row_of(R::kType).asker == Asker::Housekeeping ? 0 : 7;
    if constexpr (requires { r.id; }) {
        r.id = some_id<decltype(r.id)>(1);
    }
    if constexpr (requires { r.job; }) {
        r.job = some_id<JobId>(2);
    }
    if constexpr (requires { r.name; }) {
        r.name = NameText("data");
    }
    if constexpr (requires { r.signal; }) {
        r.signal = 15;
    }
    if constexpr (requires { r.channel; }) {
        r.channel = 1;
    }
    if constexpr (requires { r.size_bytes; }) {
        r.size_bytes = kVolumeSizeMin;
    }
    if constexpr (requires { r.labels; }) {
        r.labels_size = 4;
        r.labels[0] = 'k';
        r.labels[2] = 'v';
    }
    return r;
}

template <class... Requests> void add_each(Seeds& seeds, const std::variant<Requests...>*) {
    const auto add = [&seeds]<class R>(R r) {
        if constexpr (std::is_same_v<R, CreateVolume>) {
            r.type = VolumeType::Filesystem;
        } else if constexpr (std::is_same_v<R, StartJob>) {
            r.base = NameText("minimal");
        }
        seeds.add(row_of(R::kType).name, request_prefix(R::kType, 0) + raw(r));
    };
    (add(plain<Requests>()), ...);
}

void add_plan(Seeds seeds) {
    add_each(seeds, static_cast<const Request*>(nullptr));
    auto create = plain<CreateVolume>();
    create.type = VolumeType::Filesystem;
    create.backend = Backend::ProjectQuota;
    create.inodes = 512;
    create.soft_size_bytes = kVolumeSizeMin - 1;
    create.soft_inodes = 511;
    create.io = {kIoBytesMin, kIoBytesMin, kIoOperationsMin, kIoOperationsMin};
    seeds.add("CreateVolume-limits", request_prefix(create.kType, 0) + raw(create));
    auto start = plain<StartJob>();
    start.base = NameText("host");
    start.host_name = NameText("worker-1");
    start.timeout_ns = kTimeoutMax;
    start.memory_bytes = kMemoryMin;
    start.processes = kProcessesMin;
    start.cpu_milli = kCpuMilliMin;
    start.flags = kStartDetached | kStartReadOnlyWork;
    start.log_bytes = kLogMin;
    start.volume_count = 3;
    for (std::uint8_t i = 0; i < 3; ++i) {
        start.volumes.at(i).id = some_id<VolumeId>(static_cast<std::uint8_t>(i + 1));
    }
    start.volumes[0].target = TargetText("/data");
    start.volumes[1].target = TargetText("/srv/a/b");
    start.volumes[2].access = Access::ReadOnly;
    seeds.add("StartJob-volumes", request_prefix(start.kType, 0x30F) + raw(start));
    start.volume_count = kJobVolumesMax;
    for (std::uint8_t i = 0; i < kJobVolumesMax; ++i) {
        start.volumes.at(i) = {some_id<VolumeId>(static_cast<std::uint8_t>(i + 1)), TargetText(fmt::format("/d{}", i)), Access::ReadOnly,
                               0};
    }
    seeds.add("StartJob-full", request_prefix(start.kType, 0x30F) + raw(start));
    start.flags = kStartHostNetwork;
    start.log_bytes = 0;                                                                 // not detached
    seeds.add("StartJob-host-network", request_prefix(start.kType, 0x31F) + raw(start)); // as root gives it
    seeds.add("StartJob-no-host-network", request_prefix(start.kType, 0x30F) + raw(start));
}

// ---- records

worker::VolumeRecord volume_record(Backend backend) {
    worker::VolumeRecord record;
    record.magic = worker::kVolumeRecordMagic;
    record.version = worker::kVolumeRecordVersion;
    record.size = sizeof record;
    record.id = some_id<VolumeId>(1);
    record.name = NameText("data");
    record.size_bytes = kVolumeSizeMin;
    record.created_ns = 1'700'000'000'000'000'000;
    record.owner_uid = 1000;
    record.backend = backend;
    record.type = backend == Backend::Tmpfs ? VolumeType::Memory : VolumeType::Filesystem;
    record.image_bytes = backend == Backend::Image ? 2 * kVolumeSizeMin : 0;
    if (backend == Backend::ProjectQuota) {
        record.project_id = worker::kProjectFirst;
        record.soft_size_bytes = 4096;
        record.io = {kIoBytesMin, 0, 0, kIoLimitMax};
    }
    return record;
}

worker::JobRecord job_record(std::uint32_t volumes) {
    worker::JobRecord record;
    record.magic = worker::kJobRecordMagic;
    record.version = worker::kJobRecordVersion;
    record.size = sizeof record;
    record.id = some_id<JobId>(2);
    record.started_ns = 1'700'000'000'000'000'000;
    record.owner_uid = 1000;
    record.volume_count = volumes;
    for (std::uint32_t i = 0; i < volumes; ++i) {
        record.volumes.at(i) = some_id<VolumeId>(static_cast<std::uint8_t>(i + 1));
        record.targets.at(i) = i % 2 == 0 ? TargetText(fmt::format("/d{}", i)) : TargetText();
    }
    record.flags = worker::kJobHasLog;
    record.limits.controllers = kControllersAll;
    record.limits.memory_bytes = kMemoryMin;
    record.limits.device_count = 2;
    return record;
}

void add_records(Seeds seeds) {
    int number = 0;
    for (const auto backend : {Backend::Image, Backend::Tmpfs, Backend::ProjectQuota, Backend::Btrfs}) {
        seeds.add(fmt::format("volume-{}", number++), prefix({0, 0, 1, 0}) + raw(volume_record(backend)));
    }
    for (const unsigned char damage : {129, 130, 131, 132, 133, 134}) {
        seeds.add(fmt::format("damaged-{}", damage), prefix({0, damage, 9, 1}) + raw(volume_record(Backend::Image)));
    }
    seeds.add("job-0", prefix({1, 0, 1, 0}) + raw(job_record(0)));
    seeds.add("job-3", prefix({1, 0, 1, 0}) + raw(job_record(3)));
    seeds.add("job-16", prefix({1, 0, 1, 0}) + raw(job_record(kJobVolumesMax)));
    seeds.add("labels", prefix({2, 0, 0, 0}) + raw(some_id<VolumeId>(1)) + std::string("k\0v\0", 4));
    seeds.add("labels-damaged", prefix({2, 132, 5, 0}) + raw(some_id<VolumeId>(1)) + std::string("k\0v\0", 4));
}

// ---- orders: kind, anything that is not 7 modulo 8, descriptors, the bytes, whose first four choose among the types of a kind

template <class T> std::string chosen(unsigned char kind, std::uint32_t index, const T& value) {
    std::string bytes = raw(value);
    std::memcpy(bytes.data(), &index, sizeof index);
    return prefix({kind, 0, 0}) + bytes;
}

worker::MountVolume mounted(std::uint8_t number) {
    return {some_id<VolumeId>(number),
            NameText(fmt::format("v{}", number)),
            number % 2 == 1 ? TargetText(fmt::format("/d{}", number - 1)) : TargetText(),
            kVolumeSizeMin,
            0,
            Backend::Image,
            Access::ReadWrite};
}

template <class... Orders> void add_worker_orders(Seeds& seeds, const std::variant<Orders...>*) {
    std::uint32_t index = 0;
    const auto add = [&]<class O>(O order) {
        if constexpr (requires { order.id; }) {
            order.id = some_id<decltype(order.id)>(1);
        }
        if constexpr (std::is_same_v<O, worker::PrepareJob>) {
            order.record = job_record(3);
            order.base = NameText("minimal");
            order.work_bytes = order.tmp_bytes = order.shm_bytes = kVolumeSizeMin;
            order.slot_first = 0x70000000;
            order.volume_count = 3;
            for (std::uint8_t i = 0; i < 3; ++i) {
                order.volumes.at(i) = mounted(static_cast<std::uint8_t>(i + 1));
            }
        } else if constexpr (std::is_same_v<O, worker::AttachVolume>) {
            order.record = job_record(2);
            order.volume = mounted(2);
            order.slot_first = 0x70000000;
        } else if constexpr (std::is_same_v<O, worker::DetachVolume>) {
            order.record = job_record(1);
            order.name = NameText("v1");
        } else if constexpr (requires { order.record; }) {
            order.record = volume_record(Backend::Image);
        }
        if constexpr (std::is_same_v<O, worker::StageVolume>) {
            order.slot_first = 0x70000000;
        }
        seeds.add(fmt::format("worker-{:02}", index), chosen(0, index, order));
        ++index;
    };
    (add(Orders{}), ...);
}

void add_messages(Seeds& seeds) {
    std::uint32_t index = 0; // as kShapes in fuzz_orders.cpp
    const auto add = [&](auto message) {
        if constexpr (requires { message.sequence; }) {
            message.sequence = 1;
        }
        if constexpr (requires { message.reply; }) {
            message.reply.sequence = 1;
        }
        seeds.add(fmt::format("message-{:02}", index), chosen(2, index, message));
        ++index;
    };
    VolumeEntry volume;
    volume.id = some_id<VolumeId>(1);
    volume.name = NameText("data");
    volume.type = VolumeType::Filesystem;
    volume.backend = Backend::Image;
    volume.status = VolumeStatus::Available;
    volume.labels_size = 4;
    JobEntry job;
    job.id = some_id<JobId>(2);
    job.state = JobState::Ended;
    job.exit.magic = kExitMagic;
    job.exit.kind = ExitKind::Exited;
    VolumePage volumes;
    volumes.reply.count = 2;
    volumes.volumes[0] = volumes.volumes[1] = volume;
    JobPage jobs;
    jobs.reply.count = 2;
    jobs.jobs[0] = jobs.jobs[1] = job;
    BaseList bases;
    bases.reply.count = 1;
    bases.bases[0].name = NameText("minimal");
    HostFacts facts;
    facts.reply.count = 1;
    facts.differences[0].kind = DifferenceKind::MissingVolume;
    Connection connection;
    connection.number = 7;
    add(Reply{});
    add(Reply{});
    add(volumes);
    add(VolumeDetail{.reply = {}, .volume = volume});
    add(jobs);
    add(JobWorld{});
    add(bases);
    add(VolumeMeasure{});
    add(facts);
    add(connection);
    add(VolumeChanged{.volume = volume});
    add(VolumeGone{.id = volume.id});
    add(JobChanged{.job = job});
    add(Reply{});
}

void add_orders(Seeds seeds) {
    add_worker_orders(seeds, static_cast<const worker::Order*>(nullptr));
    add_messages(seeds);
    spawner::MakeSlot slot;
    slot.slot_first = 0x70000000;
    seeds.add("spawner-slot", chosen(1, 0, slot));
    spawner::Launch launch;
    launch.host_name = NameText("worker-1");
    launch.volume_count = 3;
    for (std::uint8_t i = 0; i < 3; ++i) {
        const auto volume = mounted(static_cast<std::uint8_t>(i + 1));
        launch.volumes.at(i) = {volume.name, volume.target};
    }
    seeds.add("spawner-launch", chosen(1, 1, launch));
    launch.flags = spawner::kLaunchDetached;
    launch.log_bytes = kLogMin;
    seeds.add("spawner-detached", chosen(1, 1, launch));
    ExitRecord exit;
    exit.magic = kExitMagic;
    exit.kind = ExitKind::Signaled;
    exit.signal = 9;
    seeds.add("exit", prefix({3, 0, 0}) + raw(exit));
    seeds.add("control", prefix({3, 0, 0}) + raw(ControlRequest{ControlKind::Signal, 15}));
    const std::string words("sh\0-c\0true\0PATH=/bin\0HOME=/work\0/work\0", 38);
    const JobSpecHeader header{kJobSpecMagic, 3, 2, static_cast<std::uint32_t>(words.size())};
    seeds.add("spec", prefix({4, 0, 0}) + raw(header) + words);
}

} // namespace

void add_boundary_seeds(const std::filesystem::path& directory) {
    add_plan({directory, "plan"});
    add_records({directory, "records"});
    add_orders({directory, "orders"});
}

} // namespace joblet::fuzz
