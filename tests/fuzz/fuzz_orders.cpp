// What processes of ours say to each other, but for requests (fuzz_plan.cpp): orders to workers and to the spawner, what the broker
// tells the API, what stages and rnx say, and the command line of a job. The input says which, how many descriptors come with
// it and whether its size is put right, and then has the bytes.
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "broker-root/spawner/launch.h"
#include "broker-root/worker/orders.h"
#include "shared/exit_record.h"
#include "shared/job_spec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/meaning.h"
#include "tests/fuzz/mutate.h"

using namespace joblet;
using joblet::fuzz::require;

namespace {

// Sizes of all types that bytes may be put right for.
template <class... Types> std::vector<std::pair<std::uint32_t, std::size_t>> sizes_of(const std::variant<Types...>*) {
    return {{static_cast<std::uint32_t>(Types::kType), sizeof(Types)}...};
}

// `bytes`, as long as its type is.
std::vector<std::byte> sized(std::span<const std::byte> bytes, std::size_t size) {
    std::vector<std::byte> out(size);
    std::copy_n(bytes.begin(), std::min(size, bytes.size()), out.begin());
    return out;
}

bool is_slot(std::uint32_t first) {
    return first != 0 && first % 65536 == 0 && first < 0x7FFE0000;
}

// ---- orders of workers

void check(const worker::VolumeRecord& r) {
    require(!r.id.is_none() && fuzz::is_name(r.name) && fuzz::is_stored(r.type, r.backend) && fuzz::is_volume_size(r.size_bytes) &&
                r.inodes <= r.size_bytes / 1024 && fuzz::is_zero_from(r.reserved, 0) && fuzz::is_io(r.io),
            "an order's volume is meaningful");
}
void check(const worker::JobRecord& r) {
    require(!r.id.is_none() && r.volume_count <= protocol::kJobVolumesMax && r.limits.device_count <= protocol::kDevicesMax,
            "an order's job is meaningful");
    for (const auto& target : r.targets) {
        require(fuzz::is_target_or_none(target), "an order's targets are free");
    }
}
void check(const worker::MountVolume& v) {
    require(!v.id.is_none() && fuzz::is_name(v.name) && fuzz::is_target_or_none(v.target) && fuzz::is_volume_size(v.size_bytes) &&
                v.inodes <= v.size_bytes / 1024 && static_cast<std::uint32_t>(v.access) <= 1 &&
                static_cast<std::uint32_t>(v.backend) - 1 < 4,
            "what is mounted is meaningful");
}

template <class O> void check_order(const O& order) {
    if constexpr (requires { order.record; }) {
        check(order.record);
    }
    if constexpr (requires { order.id; }) {
        require(!order.id.is_none(), "an order names what it is about");
    }
    if constexpr (requires { order.labels; }) {
        require(fuzz::is_zero_from(order.labels, order.labels_size), "behind the labels is nothing");
    }
    if constexpr (requires { order.volume; }) {
        check(order.volume);
    }
    if constexpr (requires { order.zero; }) {
        require(order.zero == 0, "what must be zero is");
    }
    if constexpr (std::is_same_v<O, worker::PrepareJob>) {
        require(is_slot(order.slot_first) && order.work_bytes != 0 && order.tmp_bytes != 0 && order.shm_bytes != 0,
                "a job has a slot, and scratch space that is bounded");
        require(fuzz::is_name(order.base) || order.base.view() == worker::kSystemBase, "a job has a base");
        require(order.volume_count == order.record.volume_count, "what is mounted is what the record says");
        std::set<VolumeId> ids;
        std::set<std::string> names;
        for (std::size_t i = 0; i < order.volume_count; ++i) {
            const auto& volume = order.volumes[i];
            check(volume);
            require(volume.id == order.record.volumes[i] && volume.target == order.record.targets[i], "and where");
            require(ids.insert(volume.id).second && names.insert(volume.name.string()).second, "no volume and no name is there twice");
        }
    }
    if constexpr (std::is_same_v<O, worker::StageVolume>) {
        require((order.record.backend == protocol::Backend::Image) == is_slot(order.slot_first), "an image is made in a slot");
    }
    if constexpr (std::is_same_v<O, worker::DetachVolume>) {
        require(fuzz::is_name(order.name) && fuzz::is_target_or_none(order.target), "what is unmounted is a volume");
    }
    if constexpr (std::is_same_v<O, worker::AttachVolume>) {
        require(is_slot(order.slot_first) && order.record.volume_count > 0 && order.volume.target.empty(), "what is attached is recorded");
    }
}

void check_worker(fuzz::Input input, bool put_right) {
    static const auto kSizes = sizes_of(static_cast<const worker::Order*>(nullptr));
    auto bytes = sized(input.rest_bytes(), std::min<std::size_t>(input.rest_bytes().size(), worker::kOrderSizeMax));
    if (put_right) {
        const auto& [type, size] = kSizes[input.take<std::uint32_t>() % kSizes.size()];
        bytes = sized(bytes, size);
        const std::array<std::uint32_t, 2> header = {type, 0};
        std::memcpy(bytes.data(), header.data(), sizeof header);
    }
    if (const auto order = worker::decode_order(bytes)) {
        std::visit(
            [&bytes](const auto& one) {
                require(fuzz::same_bytes(one, bytes), "an order that decodes is what was sent");
                check_order(one);
            },
            *order);
    }
}

// ---- orders of the spawner

void check_spawner(fuzz::Input input, bool put_right, std::size_t descriptors) {
    auto bytes = sized(input.rest_bytes(), std::min<std::size_t>(input.rest_bytes().size(), spawner::kOrderSizeMax));
    if (put_right) {
        const bool launch = input.take<std::uint32_t>() % 8 != 0;
        bytes = sized(bytes, launch ? sizeof(spawner::Launch) : sizeof(spawner::MakeSlot));
        const std::array<std::uint32_t, 2> header = {launch ? 2U : 1U, 0};
        std::memcpy(bytes.data(), header.data(), sizeof header);
        if (launch) { // as many as there are to be, if the rest is sound
            spawner::Launch order;
            std::memcpy(&order, bytes.data(), sizeof order);
            descriptors = spawner::first_volume_of(order) + order.volume_count + (descriptors % 16 == 1 ? 1 : 0);
        }
    }
    const auto order = spawner::decode_order(bytes, descriptors);
    if (!order) {
        return;
    }
    if (const auto* slot = std::get_if<spawner::MakeSlot>(&*order)) {
        require(fuzz::same_bytes(*slot, bytes) && is_slot(slot->slot_first) && descriptors == 0, "a slot is whole, and not the host's");
        return;
    }
    const auto& launch = std::get<spawner::Launch>(*order);
    require(fuzz::same_bytes(launch, bytes), "an order that decodes is what was sent");
    const bool detached = (launch.flags & spawner::kLaunchDetached) != 0;
    require(descriptors == 12 + (detached ? 2U : 0U) + launch.volume_count, "each descriptor has its place");
    require(fuzz::is_name(launch.host_name) && launch.user < 65536 && launch.group < 65536 && (launch.flags & ~7U) == 0,
            "a job has a name and ids of its own");
    require(detached ? launch.log_bytes >= 65536 && launch.log_bytes <= std::uint64_t{1} << 50U : launch.log_bytes == 0,
            "a detached job's log is bounded");
    require(launch.timeout_ns <= std::uint64_t{366} * 86400 * 1'000'000'000, "a timeout is a year at most");
    std::set<std::string> names;
    for (std::size_t i = 0; i < launch.volumes.size(); ++i) {
        const auto& volume = launch.volumes[i];
        if (i >= launch.volume_count) {
            require(volume.name == NameText() && volume.target == TargetText(), "behind the volumes is nothing");
            continue;
        }
        require(fuzz::is_name(volume.name) && names.insert(volume.name.string()).second && fuzz::is_target_or_none(volume.target),
                "each volume has a place of its own");
    }
}

// ---- what the broker tells the API

// As the API goes through them: nothing beyond what a message has.
std::size_t walk(const protocol::VolumePage& page) {
    std::size_t labels = 0;
    for (const auto& entry : std::span(page.volumes).first(page.reply.count)) {
        labels += std::span(page.labels).subspan(labels, entry.labels_size).size();
    }
    return labels;
}
void walk(const protocol::JobLimits& limits) {
    require(std::span(limits.devices).first(limits.device_count).size() <= protocol::kDevicesMax && fuzz::is_io(limits.io),
            "limits of a job are bounded");
}
void walk(const protocol::JobEntry& job) {
    require(!job.id.is_none() && std::span(job.volumes).first(job.volume_count).size() <= protocol::kJobVolumesMax, "a job is meaningful");
    require(exit_status_of(job.exit) >= 0 && exit_status_of(job.exit) <= 255, "an exit status is a byte");
    walk(job.limits);
}
void walk(const protocol::VolumeEntry& volume, std::span<const std::uint8_t> labels) {
    require(!volume.id.is_none() && fuzz::is_name(volume.name) && fuzz::is_stored(volume.type, volume.backend) && fuzz::is_io(volume.io),
            "a volume is meaningful");
    require(fuzz::is_zero_from(labels, volume.labels_size), "behind the labels is nothing");
}

template <class M> void check_message(const M& message) {
    if constexpr (std::is_same_v<M, protocol::VolumePage>) {
        require(fuzz::is_zero_from(message.labels, walk(message)), "behind the labels is nothing");
    } else if constexpr (std::is_same_v<M, protocol::JobPage>) {
        for (const auto& job : std::span(message.jobs).first(message.reply.count)) {
            walk(job);
        }
    } else if constexpr (std::is_same_v<M, protocol::BaseList>) {
        for (const auto& base : std::span(message.bases).first(message.reply.count)) {
            require(fuzz::is_name(base.name), "a base has a name");
        }
    } else if constexpr (std::is_same_v<M, protocol::HostFacts>) {
        require(std::span(message.differences).first(message.reply.count).size() <= protocol::kDifferencesMax &&
                    std::span(message.devices).first(message.device_count).size() <= protocol::kStoreDevicesMax,
                "facts are bounded");
    } else if constexpr (std::is_same_v<M, protocol::JobWorld>) {
        walk(message.limits);
    } else if constexpr (std::is_same_v<M, protocol::JobChanged>) {
        walk(message.job);
    } else if constexpr (std::is_same_v<M, protocol::VolumeChanged>) {
        walk(message.volume, message.labels);
    }
    if constexpr (requires { message.reply; }) {
        require(message.reply.sequence != 0 && message.reply.code == ErrorCode::Ok, "only what is done has more than a reply");
    }
}

void check_messages(fuzz::Input input, bool put_right, std::size_t descriptors) {
    using namespace protocol;
    static const std::vector<std::tuple<MessageType, RequestType, std::size_t, std::size_t>> kShapes = {
        {MessageType::Reply, RequestType::CreateVolume, sizeof(Reply), 0},
        {MessageType::Reply, RequestType::OpenLog, sizeof(Reply), 2},
        {MessageType::Reply, RequestType::ListVolumes, sizeof(VolumePage), 0},
        {MessageType::Reply, RequestType::StatVolume, sizeof(VolumeDetail), 0},
        {MessageType::Reply, RequestType::ListJobs, sizeof(JobPage), 0},
        {MessageType::Reply, RequestType::StartJob, sizeof(JobWorld), 0},
        {MessageType::Reply, RequestType::ListBases, sizeof(BaseList), 0},
        {MessageType::Reply, RequestType::MeasureVolume, sizeof(VolumeMeasure), 0},
        {MessageType::Reply, RequestType::HostReport, sizeof(HostFacts), 0},
        {MessageType::Connection, {}, sizeof(Connection), 1},
        {MessageType::VolumeChanged, {}, sizeof(VolumeChanged), 0},
        {MessageType::VolumeGone, {}, sizeof(VolumeGone), 0},
        {MessageType::JobChanged, {}, sizeof(JobChanged), 0},
        {MessageType::Reply, RequestType::CreateChannel, sizeof(Reply), 2}};
    auto bytes = sized(input.rest_bytes(), std::min(input.rest_bytes().size(), kMessageSizeMax));
    if (put_right) {
        const auto& [type, request, size, wanted] = kShapes[input.take<std::uint32_t>() % kShapes.size()];
        bytes = sized(bytes, size);
        std::memcpy(bytes.data(), &type, sizeof type);
        if (type == MessageType::Reply) {
            std::memcpy(bytes.data() + offsetof(Reply, request), &request, sizeof request);
        }
        descriptors = wanted;
    }
    if (const auto message = decode_message(bytes, descriptors)) {
        std::visit(
            [&bytes](const auto& one) {
                require(fuzz::same_bytes(one, bytes), "a message that decodes is what was sent");
                check_message(one);
            },
            *message);
    }
}

// ---- what is at a job's ends

void check_ends(fuzz::Input input) {
    if (const auto control = decode_control(input.rest_bytes())) {
        require(control->signal >= 1 && control->signal <= 31 && fuzz::same_bytes(*control, input.rest_bytes()), "a signal is one");
    }
    const auto record = input.take<ExitRecord>();
    const bool valid = is_valid(record);
    require(!valid || (record.magic == kExitMagic && record.kind != ExitKind::None && record.kind != ExitKind::Killed),
            "a stage says how a job ended");
    require(!valid || (exit_status_of(record) >= 0 && exit_status_of(record) <= 255), "an exit status is a byte");
}

void check_spec(fuzz::Input input, bool put_right) {
    auto bytes = sized(input.rest_bytes(), input.rest_bytes().size());
    if (put_right && bytes.size() >= sizeof(JobSpecHeader)) {
        JobSpecHeader header;
        std::memcpy(&header, bytes.data(), sizeof header);
        header.magic = kJobSpecMagic;
        header.argument_count %= 64;
        header.environment_count %= 64;
        header.text_size = static_cast<std::uint32_t>(bytes.size() - sizeof header);
        std::memcpy(bytes.data(), &header, sizeof header);
    }
    // Of exactly that size: beyond it is nothing that could end a text
    const std::vector<char> text(reinterpret_cast<const char*>(bytes.data()), reinterpret_cast<const char*>(bytes.data() + bytes.size()));
    const auto view = parse_job_spec(text);
    if (!view) {
        return;
    }
    require(view->arguments.size() >= 2 && view->arguments.back() == nullptr && view->environment.back() == nullptr &&
                view->arguments[0][0] != '\0' && view->working_directory[0] == '/',
            "a job has a command, and a directory to begin in");
    JobSpec spec;
    spec.arguments.assign(view->arguments.begin(), view->arguments.end() - 1);
    spec.environment.assign(view->environment.begin(), view->environment.end() - 1);
    spec.working_directory = view->working_directory;
    const bool unnamed =
        std::ranges::any_of(spec.environment, [](const auto& one) { return one.find('=') == std::string::npos || one[0] == '='; });
    const auto written = encode_job_spec(spec);
    require(written.has_value() == !unnamed, "what can be parsed can be written, if its variables have names");
    require(!written || std::string_view(text.data(), text.size()).starts_with(*written), "a job's command line has one form");
}

} // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    return fuzz::mutate_in_place(data, size, max_size, seed, 3);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const auto kind = input.take<std::uint8_t>() % 5;
    const bool put_right = input.take<std::uint8_t>() % 8 != 7;
    const std::size_t descriptors = input.take<std::uint8_t>();
    switch (kind) {
    case 0:
        check_worker(input, put_right);
        break;
    case 1:
        check_spawner(input, put_right, descriptors);
        break;
    case 2:
        check_messages(input, put_right, descriptors);
        break;
    case 3:
        check_ends(input);
        break;
    default:
        check_spec(input, put_right);
    }
    return 0;
}
