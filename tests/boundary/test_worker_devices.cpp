// The block devices that limits of reading and writing are set on: those below the store, and the loop device of each image.
#include <doctest/doctest.h>

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "broker-root/kernel/block_devices.h"
#include "tests/boundary/worker_job.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::Device;

namespace {

Mounted mounted_of(const WorkerProcess::Reply& reply) {
    Mounted out;
    REQUIRE(reply.bytes.size() == sizeof out);
    std::memcpy(&out, reply.bytes.data(), sizeof out);
    REQUIRE(out.device_count <= out.devices.size());
    return out;
}

Device device_of(const Fd& fd) {
    const auto number = status_of(fd).st_dev;
    return {major(number), minor(number)};
}

fs::path in_sysfs(const Device& device) {
    return "/sys/dev/block/" + std::to_string(device.major) + ":" + std::to_string(device.minor);
}

// What the kernel says that a loop device is bound to.
std::string image_of(const Device& loop) {
    return read_text(in_sysfs(loop) / "loop/backing_file");
}

std::vector<Device> store_devices(WorkerProcess& worker) {
    const auto facts = worker.facts();
    REQUIRE(facts.device_count <= facts.devices.size());
    return {facts.devices.begin(), facts.devices.begin() + facts.device_count};
}

bool has(const std::vector<Device>& devices, const Device& device) {
    return std::ranges::find(devices, device) != devices.end();
}

// Against what sysfs says of the plain cases: a disk, and a partition of one.
void check_store_devices(World& world) {
    const auto facts = world.worker.facts();
    const Fd store(::open(world.installation.state().c_str(), O_PATH | O_CLOEXEC));
    struct statfs kind{};
    REQUIRE(::fstatfs(store.get(), &kind) == 0);
    CHECK(facts.store_magic == static_cast<std::uint32_t>(kind.f_type));

    const auto devices = store_devices(world.worker);
    const Device own = device_of(store);
    if (own.major == 0 && facts.store_magic != BTRFS_SUPER_MAGIC) {
        CHECK(devices.empty()); // tmpfs, overlay: there is nothing to be known
        return;
    }
    REQUIRE_FALSE(devices.empty());
    for (const auto& device : devices) {
        CHECK(fs::exists(in_sysfs(device) / "queue"));
        CHECK_FALSE(fs::exists(in_sysfs(device) / "partition"));
    }
    if (fs::exists(in_sysfs(own) / "partition")) {
        const std::string disk = read_text(in_sysfs(own) / "../dev");
        CHECK(disk == std::to_string(devices[0].major) + ":" + std::to_string(devices[0].minor) + "\n");
    } else if (own.major != 0 && fs::is_empty(in_sysfs(own) / "slaves") && !fs::exists(in_sysfs(own) / "loop")) {
        CHECK(devices == std::vector{own});
    }
}

// A file with ext4 in it, mounted by a loop device until the end.
class MountedFile {
  public:
    MountedFile(const fs::path& file, fs::path at) : at_(std::move(at)) {
        constexpr std::uintmax_t kBytes = 32 << 20U;
        write_text(file, "");
        fs::resize_file(file, kBytes);
        fs::create_directory(at_);
        run_command({"mkfs.ext4", "-q", file.string()});
        run_command({"mount", "-o", "loop", file.string(), at_.string()});
    }
    ~MountedFile() {
        ::umount2(at_.c_str(), MNT_DETACH);
    }
    MountedFile(const MountedFile&) = delete;
    MountedFile& operator=(const MountedFile&) = delete;

    [[nodiscard]] Fd open() const {
        return Fd(::open(at_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }

  private:
    fs::path at_;
};

} // namespace

TEST_CASE("with a job's volumes come the loop devices of their images, and of nothing else") {
    World world;
    const auto first = make_volume_record("first", 2 * kMiB, Backend::Image);
    const auto memory = make_volume_record("memory", kMiB, Backend::Tmpfs);
    const auto second = make_volume_record("second", 2 * kMiB, Backend::Image);
    for (const auto& record : {first, memory, second}) {
        create_volume(world.worker, record);
    }
    const auto order = make_prepare({first, memory, second}, Access::ReadWrite);
    auto reply = world.prepare(order);
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    const auto mounted = mounted_of(reply);
    REQUIRE(mounted.device_count == 2);
    CHECK(mounted.devices[0] == device_of(volume_of(reply, 0)));
    CHECK(mounted.devices[1] == device_of(volume_of(reply, 2)));
    CHECK(image_of(mounted.devices[0]).find(to_string(first.id)) != std::string::npos);
    CHECK(image_of(mounted.devices[1]).find(to_string(second.id)) != std::string::npos);
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);

    const auto without = make_prepare({memory}, Access::ReadWrite);
    auto none = world.prepare(without);
    REQUIRE(none.answer.code == ErrorCode::Ok);
    CHECK(mounted_of(none).device_count == 0);
    CHECK(world.finish(without.record.id, std::move(none.descriptors)).answer.code == ErrorCode::Ok);
}

TEST_CASE("with a volume that comes to a running job comes its loop device") {
    World world;
    const auto image = make_volume_record("late", 2 * kMiB, Backend::Image);
    const auto memory = make_volume_record("memory", kMiB, Backend::Tmpfs);
    create_volume(world.worker, image);
    create_volume(world.worker, memory);
    auto order = make_prepare({}, Access::ReadWrite);
    auto prepared = world.prepare(order);
    REQUIRE(prepared.answer.code == ErrorCode::Ok);
    const RunningJob job(order, std::move(prepared), OwnedBy::Host);

    JobRecord record = order.record;
    const auto attach = [&](const VolumeRecord& volume) {
        record.volumes[record.volume_count++] = volume.id;
        const Fd job_namespace = job.mount_namespace();
        const std::array descriptors = {world.volumes_namespace.get(), job_namespace.get()};
        const auto reply = world.worker.order(
            AttachVolume{.record = record, .volume = make_mount(volume, Access::ReadWrite), .slot_first = kWorkerTestSlot}, descriptors);
        CHECK(reply.answer.code == ErrorCode::Ok);
        return mounted_of(reply);
    };
    const auto mounted = attach(image);
    REQUIRE(mounted.device_count == 1);
    CHECK(mounted.devices[0] == device_of(job.open("volumes/late")));
    CHECK(image_of(mounted.devices[0]).find(to_string(image.id)) != std::string::npos);
    CHECK(attach(memory).device_count == 0);
}

TEST_CASE("a refusal names no device") {
    World world;
    const auto image = make_volume_record("data", 2 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    auto holder = world.prepare(make_prepare({image}, Access::ReadWrite));
    REQUIRE(holder.answer.code == ErrorCode::Ok);
    const auto refused = world.prepare(make_prepare({image}, Access::ReadWrite));
    CHECK(refused.answer.code == ErrorCode::InUse);
    CHECK(mounted_of(refused).device_count == 0);
}

TEST_CASE("the devices below a store are whole ones, and its kind is told") {
    World world;
    check_store_devices(world);
}

TEST_CASE("below the store that has project quotas, too" * doctest::test_suite("quota")) {
    World world(StoreKind::Given);
    check_store_devices(world);
}

TEST_CASE("below a store on a loop device are that and what its file is on, and the same of a file on it") {
    World plain;
    const auto below = store_devices(plain.worker);
    World world(StoreKind::Btrfs);
    const auto devices = store_devices(world.worker);
    if (below.empty()) {
        MESSAGE("skipped: the devices of this machine's own file system are not known");
        CHECK(devices.empty());
        return;
    }
    REQUIRE(devices.size() == below.size() + 1);
    CHECK(image_of(devices.front()) == (world.installation.root() / "btrfs").string() + "\n");
    for (const auto& device : below) {
        CHECK(has(devices, device));
    }

    // Only btrfs itself knows what a file on it is on
    const MountedFile inner(world.installation.root() / "var/lib/joblet/inner", world.installation.root() / "inner");
    const Fd sysfs(::open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const Fd nodes(::open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
    const Fd directory = inner.open();
    const auto source = kernel::file_system_source(directory.get());
    REQUIRE(source);
    const auto found = kernel::whole_devices(sysfs.get(), *source, protocol::kStoreDevicesMax,
                                             [&](const Device& loop) { return kernel::below_loop(sysfs.get(), nodes.get(), loop); });
    REQUIRE(found);
    REQUIRE(found->size() == devices.size() + 1);
    CHECK(found->front() == device_of(directory));
    for (const auto& device : devices) {
        CHECK(has(*found, device));
    }
}

TEST_CASE("where sysfs cannot be seen the devices of the store are not known") {
    const Installation installation;
    WorkerProcess worker(installation, Surroundings::Chroot); // which has none
    CHECK(store_devices(worker).empty());
    CHECK(worker.facts().store_magic != 0);
}
