// The boundary: what the API may say to the broker, from bytes to what is then ordered of a worker and of the spawner, and to the
// audit record of it. The input says which request and whether size and header are put
// right, what the host can hold, and then has the bytes.
#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "broker-root/broker/audit_words.h"
#include "broker-root/broker/job_limits.h"
#include "broker-root/broker/job_plan.h"
#include "broker-root/worker/record.h"
#include "shared/host_uids.h"
#include "shared/protocol_messages.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/meaning.h"
#include "tests/fuzz/mutate.h"

using namespace joblet;
using namespace joblet::protocol;
using joblet::fuzz::require;

namespace {

// ---- what each request means, said once more

void check(const CreateVolume& r) {
    require(fuzz::is_name(r.name) && fuzz::is_volume_size(r.size_bytes) && r.inodes <= r.size_bytes / 1024, "a volume has name and sizes");
    require(fuzz::is_stored(r.type, r.backend) ||
                (r.backend == Backend::Auto && (r.type == VolumeType::Filesystem || r.type == VolumeType::Memory)),
            "a volume has a type, and a backend that can hold it");
    require(r.soft_size_bytes < r.size_bytes && r.soft_inodes <= r.size_bytes / 1024 &&
                (r.inodes == 0 || r.soft_inodes < r.inodes || r.soft_inodes == 0),
            "soft limits are below the hard ones");
    require(fuzz::is_io(r.io) && (r.type != VolumeType::Memory || r.io == IoLimits()), "limits of I/O are of a disk, and can be held");
    require(r.zero == 0 && fuzz::is_zero_from(r.labels, r.labels_size), "behind the labels is nothing");
}
void check(const DeleteVolume& r) {
    require(!r.id.is_none() && r.flags < 8 && ((r.flags & 4U) == 0 || (r.flags & 2U) != 0), "a deletion is one of those there are");
}
void check(const StartJob& r) {
    require(fuzz::is_name(r.base) && fuzz::is_name_or_none(r.host_name) && r.flags < 16 && r.user < 65536 && r.group < 65536,
            "a job has a base, and ids of its own");
    require(r.timeout_ns <= std::uint64_t{366} * 86400 * 1'000'000'000, "a timeout is a year at most");
    require(fuzz::is_limit(r.work_bytes, 65536) && fuzz::is_limit(r.tmp_bytes, 65536) && fuzz::is_limit(r.log_bytes, 65536) &&
                fuzz::is_limit(r.memory_bytes, 4 << 20U) && fuzz::is_limit(r.swap_bytes, 0) && fuzz::is_io(r.io),
            "sizes are none, or such as can be held");
    require((r.flags & kStartDetached) != 0 || r.log_bytes == 0, "only a detached job has a log");
    require(r.processes == 0 || (r.processes >= 2 && r.processes <= 4'194'304), "a job has two processes at least");
    require(r.cpu_milli == 0 || (r.cpu_milli >= 10 && r.cpu_milli <= 1'000'000), "a job has a hundredth of a CPU at least");
    require((r.channel == 0) == ((r.flags & kStartDryRun) != 0), "a job that is started has a channel");
    require(r.volume_count <= 16, "a job has 16 volumes at most");
    std::set<VolumeId> ids;
    for (std::size_t i = 0; i < r.volumes.size(); ++i) {
        const JobVolume& volume = r.volumes[i];
        if (i >= r.volume_count) {
            require(volume.id.is_none() && volume.target == TargetText() && volume.access == Access{} && volume.zero == 0,
                    "behind the volumes is nothing");
            continue;
        }
        require(!volume.id.is_none() && ids.insert(volume.id).second && static_cast<std::uint32_t>(volume.access) <= 1 && volume.zero == 0,
                "no volume is there twice");
        require(fuzz::is_target_or_none(volume.target), "a target is free");
        for (std::size_t j = 0; j < i; ++j) {
            const auto a = volume.target.string() + "/";
            const auto b = r.volumes[j].target.string() + "/";
            require(volume.target.empty() || r.volumes[j].target.empty() || (!a.starts_with(b) && !b.starts_with(a)),
                    "no target hides another");
        }
    }
}
void check(const SignalJob& r) {
    require(!r.id.is_none() && r.signal >= 1 && r.signal <= 31, "a signal is one of those that can be sent");
}
void check(const ResizeVolume& r) {
    require(!r.id.is_none() && (r.size_bytes == 0 || fuzz::is_volume_size(r.size_bytes)) && r.inodes <= std::uint64_t{1} << 40U,
            "a volume is resized to what one can have");
    require(r.size_bytes != 0 || r.inodes != 0 || r.soft_size_bytes != 0 || r.soft_inodes != 0, "something is asked for");
    const auto is_below = [](std::uint64_t soft, std::uint64_t hard) {
        return soft == 0 || soft == ~std::uint64_t{0} || hard == 0 || soft < hard;
    };
    require(is_below(r.soft_size_bytes, r.size_bytes) && is_below(r.soft_inodes, r.inodes), "soft limits are below the hard ones");
}
void check(const RestoreVolume& r) {
    require(!r.id.is_none() && fuzz::is_name_or_none(r.name), "a volume comes back under a name");
}
void check(const RenameVolume& r) {
    require(!r.id.is_none() && fuzz::is_name(r.name), "a volume is given a name");
}
void check(const LabelVolume& r) {
    require(!r.id.is_none() && r.zero == 0 && fuzz::is_zero_from(r.labels, r.labels_size), "behind the labels is nothing");
}
void check(const ProtectVolume& r) {
    require(!r.id.is_none() && r.is_protected <= 1, "a volume is protected, or not");
}
void check(const AttachVolume& r) {
    require(!r.id.is_none() && !r.job.is_none() && static_cast<std::uint32_t>(r.access) <= 1, "a volume is attached to a job");
}
void check(const DetachVolume& r) {
    require(!r.id.is_none() && !r.job.is_none(), "a volume is detached from a job");
}
void check(const AdminRead& r) {
    require((r.id.is_none() ? 0 : 1) + (r.uid != 0 ? 1 : 0) + static_cast<int>(r.everybody) <= 1, "an admin reads one thing");
}
void check(const ListVolumes& /*any id is a position*/) {}
void check(const ListJobs& /*any id is a position*/) {}
template <class R> void check(const R& r) {
    if constexpr (requires { r.id; }) {
        require(!r.id.is_none(), "what is asked about is named");
    }
}

template <class R> void check_common(const R& r) {
    const bool by_api =
        std::is_same_v<R, StatVolume> || std::is_same_v<R, ListVolumes> || std::is_same_v<R, ListJobs> || std::is_same_v<R, ListBases>;
    const bool by_both = std::is_same_v<R, ReleaseJob>;
    require(r.header.version == 1 && r.header.type == R::kType && r.header.sequence != 0, "a header is whole");
    require(by_both || (r.header.connection == 0) == by_api, "a user asks, or the API for itself");
    if constexpr (requires { r.authority; }) {
        require(static_cast<std::uint32_t>(r.authority) <= 1, "a user asks, or an admin");
    }
}

// The record of it is one line of JSON, and not longer than the log has room for.
template <class R> void check_audit(const R& r) {
    const broker::Client client{};
    auto fields = broker::audit_fields("begin", r.header, &client);
    broker::add_asked(fields, r);
    constexpr std::size_t kRoom = 2048 - 256; // audit_log.cpp: kLineMax, less what each record has
    require(fields.text().size() <= kRoom && fields.text().find('\n') == std::string::npos, "an audit record has its bounds");
    const auto json = nlohmann::json::parse("{" + fields.text() + "}", nullptr, false);
    require(json.is_object() && json["event"] == "begin" && json["request"] == row_of(R::kType).name, "an audit record is JSON");
}

// ---- from a job that is asked for to the orders

// A volume of this id as whoever asks may have one.
worker::VolumeRecord volume_of(const VolumeId& id) {
    worker::VolumeRecord record;
    record.magic = worker::kVolumeRecordMagic;
    record.version = worker::kVolumeRecordVersion;
    record.size = sizeof record;
    record.id = id;
    record.name = NameText("v" + to_string(id));
    record.size_bytes = kVolumeSizeMin << (id.bytes[1] % 31U);
    record.inodes = id.bytes[2] % 2 == 0 ? 0 : record.size_bytes / kBytesPerInodeMin;
    record.backend = static_cast<Backend>(1 + id.bytes[0] % 4);
    record.type = record.backend == Backend::Tmpfs ? VolumeType::Memory : VolumeType::Filesystem;
    record.image_bytes = record.backend == Backend::Image ? 2 * record.size_bytes : 0;
    record.project_id = record.backend == Backend::ProjectQuota ? worker::kProjectFirst + id.bytes[3] : 0;
    if (record.type == VolumeType::Filesystem && id.bytes[4] % 2 == 1) {
        record.io = {kIoBytesMin, 0, kIoOperationsMin, 0};
    }
    require(worker::is_sound(record), "the fuzzer's volumes are sound");
    return record;
}

template <class T> auto bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

void check_plan(const StartJob& request, std::uint32_t host_bits) {
    BrokerConfig config;
    config.bases["minimal"].directory = "/m";
    config.bases["host"] = {"/h", ProcKind::Masked, true};
    config.bases["broken"].directory = "/b";
    config.host_network = (host_bits & 16U) != 0;
    config.memory = {std::uint64_t{1} << 30U, 0, (host_bits & 32U) != 0};
    config.cpus.most = (host_bits & 64U) != 0 ? 4000 : 0;
    broker::Host host;
    host.controllers = host_bits & kControllersAll;
    host.device_count = (host_bits >> 8U) % (kStoreDevicesMax + 1);
    for (std::uint32_t i = 0; i < host.device_count; ++i) {
        host.devices[i] = {8, i};
    }

    auto plan = broker::plan_job(request, config, {"minimal", "host"});
    if (!plan) {
        require(plan.error().code != ErrorCode::Ok, "a refusal says why");
        return;
    }
    require(plan->base.string() != "broken", "a base that cannot be used is none");
    require((request.flags & kStartHostNetwork) == 0 || config.host_network, "nobody has the host's network where root does not give it");
    require(plan->work_bytes <= config.work_bytes_max && plan->tmp_bytes <= config.tmp_bytes_max && plan->log_bytes <= config.log_bytes_max,
            "nobody has more than root allows");
    IoLimits io;
    bool on_disk = false;
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        const auto volume = volume_of(wanted.id);
        io = broker::lowest(io, volume.io);
        on_disk = on_disk || volume.type == VolumeType::Filesystem;
    }
    const auto limits = broker::plan_limits(request, config, host, io, on_disk);
    if (!limits) {
        require(limits.error().code != ErrorCode::Ok, "a refusal says why");
        return;
    }
    require(request.memory_bytes == 0 || limits->memory_bytes == request.memory_bytes, "memory that is asked for is held, or refused");
    require(request.swap_bytes == limits->swap_bytes && (request.cpu_milli == 0 || limits->cpu_milli == request.cpu_milli) &&
                (request.processes == 0 || limits->processes == request.processes),
            "what is asked for is held, or refused");
    require(request.io.write_bytes == 0 || limits->io.write_bytes == request.io.write_bytes, "I/O that is asked for is held, or refused");

    worker::JobRecord record;
    record.magic = worker::kJobRecordMagic;
    record.version = worker::kJobRecordVersion;
    record.size = sizeof record;
    record.id.bytes[15] = 1;
    record.limits = *limits;
    record.flags = (request.flags & kStartDetached) != 0 ? worker::kJobHasLog : 0;
    broker::name_job(*plan, record, request.host_name);
    for (const auto& wanted : std::span(request.volumes).first(request.volume_count)) {
        broker::add_volume(*plan, wanted, volume_of(wanted.id));
    }
    auto prepare = broker::prepare_order(*plan, config.shm_bytes, kSlotIds);
    prepare.header.type = worker::PrepareJob::kType; // as whoever sends it does
    const auto at_worker = worker::decode_order(bytes_of(prepare));
    require(at_worker && std::holds_alternative<worker::PrepareJob>(*at_worker) &&
                fuzz::same_bytes(std::get<worker::PrepareJob>(*at_worker), bytes_of(prepare)),
            "what a worker is ordered decodes there");
    for (std::size_t i = 0; i < request.volume_count; ++i) {
        require(prepare.volumes[i].id == request.volumes[i].id && prepare.volumes[i].target == request.volumes[i].target &&
                    prepare.volumes[i].access == request.volumes[i].access,
                "what is mounted is what was asked for, where it was asked for, and no more writable");
    }
    auto launch = broker::launch_order(*plan);
    launch.header.type = spawner::Launch::kType;
    require(spawner::decode_order(bytes_of(launch), spawner::first_volume_of(launch) + request.volume_count).has_value(),
            "what the spawner is ordered decodes there");
    require(launch.user == request.user && launch.group == request.group && launch.timeout_ns == request.timeout_ns,
            "a job is who it asked to be");

    worker::JobRecord sealed = plan->record;
    worker::seal(sealed);
    require(worker::read_job_record(bytes_of(sealed), sealed.id).has_value(), "a job's record can be read after a crash");
    auto world = broker::world_of(*plan, config.shm_bytes, kSlotIds);
    world.reply.request = RequestType::StartJob;
    world.reply.sequence = request.header.sequence;
    require(decode_message(bytes_of(world), 0).has_value(), "what the API is told of a job decodes there");
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
    require(worker::start_checksums(), "libsodium starts");
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    return fuzz::mutate_in_place(data, size, max_size, seed, 6);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const auto& row = kRequests[input.take<std::uint8_t>() % kRequests.size()];
    const bool put_right = input.take<std::uint8_t>() % 8 != 7;
    const auto host_bits = input.take<std::uint32_t>();
    const auto given = input.rest_bytes();
    std::vector<std::byte> bytes(put_right ? row.size : given.size());
    std::copy_n(given.begin(), std::min(bytes.size(), given.size()), bytes.begin());
    if (put_right) {
        RequestHeader header;
        std::memcpy(&header, bytes.data(), sizeof header);
        header.version = kVersion;
        header.type = row.type;
        header.sequence += header.sequence == 0 ? 1 : 0;
        header.connection = row.asker == Asker::User           ? std::max<std::uint64_t>(header.connection, 1)
                            : row.asker == Asker::Housekeeping ? 0
                                                               : header.connection;
        std::memcpy(bytes.data(), &header, sizeof header);
    }
    const auto request = decode(bytes);
    if (!request) {
        return 0;
    }
    require(bytes.size() == row_of(header_of(*request).type).size, "a request has its size");
    std::visit(
        [&](const auto& one) {
            require(fuzz::same_bytes(one, bytes), "a request that decodes is what was sent");
            check_common(one);
            check(one);
            check_audit(one);
        },
        *request);
    if (const auto* start = std::get_if<StartJob>(&*request)) {
        check_plan(*start, host_bits);
    }
    return 0;
}
