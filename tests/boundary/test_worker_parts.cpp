// The worker's decoder, records and filter, without a worker.
#include <doctest/doctest.h>

#include <linux/btrfs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <algorithm>
#include <functional>

#include "broker-root/kernel/quota.h"
#include "broker-root/worker/filter_table.h"
#include "broker-root/worker/orders.h"
#include "broker-root/worker/record.h"
#include "tests/boundary/bpf_evaluator.h"
#include "tests/boundary/worker_harness.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

namespace {

constexpr std::uint64_t kMiB = 1 << 20U;

template <class O> bool decodes(O order) {
    order.header.type = O::kType;
    return decode_order(std::as_bytes(std::span(&order, 1))).has_value();
}

// An order that decodes, and does no longer when `spoil` has changed it.
template <class O> bool is_refused(O order, const std::function<void(O&)>& spoil) {
    CHECK(decodes(order));
    spoil(order);
    return !decodes(order);
}

PrepareJob two_volumes() {
    auto order =
        make_prepare({make_volume_record("a", kMiB, Backend::Image), make_volume_record("b", kMiB, Backend::Tmpfs)}, Access::ReadOnly);
    order.volumes[0].target = order.record.targets[0] = TargetText("/a");
    order.volumes[1].target = order.record.targets[1] = TargetText("/b");
    return order;
}

using Arguments = std::array<std::uint64_t, 6>;

} // namespace

TEST_CASE("a job's order is refused for each thing that is wrong with it") {
    using Spoil = std::function<void(PrepareJob&)>;
    const Spoil spoils[] = {
        [](PrepareJob& o) { o.record.magic[0] = 'x'; },
        [](PrepareJob& o) { o.record.version += 1; },
        [](PrepareJob& o) { o.record.size += 1; },
        [](PrepareJob& o) { o.record.id = {}; },
        [](PrepareJob& o) { o.record.kind = 2; },
        [](PrepareJob& o) { o.record.volume_count = 1; },
        [](PrepareJob& o) { o.record.volume_count = 17; },
        [](PrepareJob& o) { o.record.volumes[5] = make_random_id<VolumeId>(); },
        [](PrepareJob& o) { o.record.access[5] = Access::ReadOnly; },
        [](PrepareJob& o) { o.record.access[0] = Access::ReadWrite; },
        [](PrepareJob& o) { o.record.access[0] = o.volumes[0].access = static_cast<Access>(7); },
        [](PrepareJob& o) { o.base = NameText("../etc"); },
        [](PrepareJob& o) { o.base = NameText(kSystemBase); }, // of a user's job
        [](PrepareJob& o) { o.base.data[20] = 'x'; },          // after the end
        [](PrepareJob& o) { o.work_bytes = 0; },
        [](PrepareJob& o) { o.tmp_bytes = 0; },
        [](PrepareJob& o) { o.shm_bytes = 0; },
        [](PrepareJob& o) { o.slot_first = 0; },
        [](PrepareJob& o) { o.slot_first += 1; },
        [](PrepareJob& o) { o.slot_first = 0x7FFE0000; },
        [](PrepareJob& o) { o.slot_first = 0xFFFF0000; },
        [](PrepareJob& o) { o.volume_count = 1; },
        [](PrepareJob& o) { o.volume_count = 17; },
        [](PrepareJob& o) { o.volumes[0].id = make_random_id<VolumeId>(); },
        [](PrepareJob& o) { o.volumes[1].id = o.record.volumes[1] = o.volumes[0].id; },
        [](PrepareJob& o) { o.volumes[0].name = NameText(".."); },
        [](PrepareJob& o) { o.volumes[0].name = NameText("a/b"); },
        [](PrepareJob& o) { o.volumes[0].name = NameText("b"); },
        [](PrepareJob& o) { o.volumes[0].target = o.record.targets[0] = TargetText("/b/c"); },
        [](PrepareJob& o) { o.volumes[0].target = o.record.targets[0] = TargetText("/proc/x"); },
        [](PrepareJob& o) { o.volumes[0].target = o.record.targets[0] = TargetText("/etc"); },
        [](PrepareJob& o) { o.volumes[0].target = o.record.targets[0] = TargetText("/x/../y"); },
        [](PrepareJob& o) { o.volumes[0].target = o.record.targets[0] = TargetText("x"); },
        [](PrepareJob& o) { o.volumes[0].target.data.back() = o.record.targets[0].data.back() = 'x'; },
        [](PrepareJob& o) { o.volumes[0].target = TargetText("/c"); },
        [](PrepareJob& o) { o.record.targets[0] = {}; },
        [](PrepareJob& o) { o.record.targets[5] = TargetText("/c"); },
        [](PrepareJob& o) { o.record.targets[5].data[3] = 'x'; },
        [](PrepareJob& o) { o.volumes[0].backend = Backend::Auto; },
        [](PrepareJob& o) { o.volumes[0].size_bytes = 0; },
        [](PrepareJob& o) { o.volumes[0].inodes = ~0ULL; },
        [](PrepareJob& o) { o.volumes[2].inodes = 1; },
        [](PrepareJob& o) { o.volumes[15].size_bytes = 1; },
        [](PrepareJob& o) { o.header.zero = 1; },
        [](PrepareJob& o) { o.volume_owner = 1; }, // of a user's job
        [](PrepareJob& o) { o.flags = kPrepareReadOnlyWork << 1U; },
        [](PrepareJob& o) { o.record.zero = 1; },
        [](PrepareJob& o) { o.record.flags = kJobHasLog << 1U; },
    };
    for (std::size_t i = 0; i < std::size(spoils); ++i) {
        CAPTURE(i);
        CHECK(is_refused(two_volumes(), spoils[i]));
    }
}

TEST_CASE("only a user's job may have a log, and each job a read-only work") {
    auto order = two_volumes();
    order.record.flags = kJobHasLog;
    order.flags = kPrepareReadOnlyWork;
    CHECK(decodes(order));
    order.record.kind = static_cast<std::uint32_t>(JobKind::System);
    order.base = NameText(kSystemBase);
    CHECK_FALSE(decodes(order));
    order.record.flags = 0;
    CHECK(decodes(order));
}

TEST_CASE("an order about a log or the bases is refused for each thing that is wrong with it") {
    CHECK(is_refused<OpenLog>({.header = {}, .id = make_random_id<JobId>()}, [](auto& o) { o.id = {}; }));
    CHECK(is_refused<OpenLog>({.header = {}, .id = make_random_id<JobId>()}, [](auto& o) { o.header.zero = 1; }));
    CHECK(is_refused<LoadBases>({}, [](auto& o) { o.header.zero = 1; }));
    OpenLog order{.header = {}, .id = make_random_id<JobId>()};
    order.header.type = OpenLog::kType;
    std::array<std::byte, sizeof order + 1> bytes{};
    std::memcpy(bytes.data(), &order, sizeof order);
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
        CHECK(decode_order(std::span(bytes).first(size)).has_value() == (size == sizeof order));
    }
}

TEST_CASE("a volume's order is refused for each thing that is wrong with it") {
    using Spoil = std::function<void(StageVolume&)>;
    const Spoil spoils[] = {
        [](StageVolume& o) { o.record.magic = {}; },
        [](StageVolume& o) { o.record.id = {}; },
        [](StageVolume& o) { o.record.name = NameText("-x"); },
        [](StageVolume& o) { o.record.size_bytes = kMiB - 1; },
        [](StageVolume& o) { o.record.size_bytes = (1ULL << 50U) + 1; },
        [](StageVolume& o) { o.record.inodes = (1ULL << 32U) + 1; },
        [](StageVolume& o) { o.record.image_bytes = 1ULL << 63U; },
        [](StageVolume& o) { o.record.type = protocol::VolumeType::Memory; },
        [](StageVolume& o) { o.record.backend = Backend::Tmpfs; },
        [](StageVolume& o) { o.record.flags = 2; },
        [](StageVolume& o) { o.record.zero = 1; },
        [](StageVolume& o) { o.record.trashed_until_ns = -1; },
        [](StageVolume& o) { o.record.backend = Backend::Btrfs; }, // no image then
        [](StageVolume& o) { o.record.backend = static_cast<Backend>(3); },
        [](StageVolume& o) { o.record.reserved.back() = 1; },
        [](StageVolume& o) { o.slot_first = 0; },
        [](StageVolume& o) { o.image_is_larger = 2; },
        [](StageVolume& o) { o.record.project_id = kProjectFirst; },
        [](StageVolume& o) { o.record.soft_size_bytes = 1; },
    };
    const StageVolume good{.record = make_volume_record("a", kMiB, Backend::Image), .slot_first = kWorkerTestSlot};
    for (std::size_t i = 0; i < std::size(spoils); ++i) {
        CAPTURE(i);
        CHECK(is_refused(good, spoils[i]));
    }
    const StageVolume btrfs{.record = make_volume_record("a", kMiB, Backend::Btrfs)};
    CHECK(is_refused<StageVolume>(btrfs, [](auto& o) { o.slot_first = kWorkerTestSlot; }));
    CHECK(is_refused<StageVolume>(btrfs, [](auto& o) { o.image_is_larger = 1; }));
    CHECK(is_refused<StageVolume>(btrfs, [](auto& o) { o.record.type = protocol::VolumeType::Memory; }));
    CommitVolume commit{.record = good.record, .labels_size = 1, .labels = Labels{7}};
    CHECK(is_refused<CommitVolume>(commit, [](auto& o) { o.labels[1] = 1; }));
    CHECK(is_refused<CommitVolume>(commit, [](auto& o) { o.labels_size = 0; }));
    CHECK(is_refused<CommitVolume>(commit, [](auto& o) { o.labels_size = protocol::kLabelsMax + 1; }));
    CHECK(is_refused<CommitVolume>(commit, [](auto& o) { o.into_trash = 2; }));
    CHECK(is_refused<UpdateRecord>({.record = good.record}, [](auto& o) { o.durable = 2; }));
    auto protect = good.record;
    protect.flags = protocol::kVolumeProtected;
    CHECK(decodes(UpdateRecord{.record = protect}));
}

TEST_CASE("an order about a volume with a project quota is refused for each thing that is wrong with it") {
    auto record = make_volume_record("a", 4 * kMiB, Backend::ProjectQuota);
    record.inodes = 100;
    record.soft_size_bytes = kMiB;
    record.soft_inodes = 50;
    using Spoil = std::function<void(StageVolume&)>;
    const Spoil spoils[] = {
        [](StageVolume& o) { o.record.project_id = 0; },
        [](StageVolume& o) { o.record.project_id = kProjectFirst - 1; },
        [](StageVolume& o) { o.record.project_id = kProjectLast + 1; },
        [](StageVolume& o) { o.record.soft_size_bytes = o.record.size_bytes; },
        [](StageVolume& o) { o.record.soft_inodes = o.record.inodes; },
        [](StageVolume& o) { o.record.image_bytes = 4 * kMiB; },
        [](StageVolume& o) { o.record.type = protocol::VolumeType::Memory; },
        [](StageVolume& o) { o.slot_first = kWorkerTestSlot; },
        [](StageVolume& o) { o.image_is_larger = 1; },
    };
    for (std::size_t i = 0; i < std::size(spoils); ++i) {
        CAPTURE(i);
        CHECK(is_refused({.record = record}, spoils[i]));
    }
    CHECK(decodes(make_prepare({record}, Access::ReadWrite)));
}

TEST_CASE("an order about a size is refused for each thing that is wrong with it") {
    const auto image = make_volume_record("a", kMiB, Backend::Image);
    const auto memory = make_volume_record("b", kMiB, Backend::Tmpfs);
    for (const auto& record : {image, memory}) {
        CHECK(is_refused<MeasureVolume>({.record = record, .in_trash = 1}, [](auto& o) { o.in_trash = 2; }));
        CHECK(is_refused<MeasureVolume>({.record = record}, [](auto& o) { o.zero = 1; }));
        CHECK(is_refused<MeasureVolume>({.record = record}, [](auto& o) { o.record.id = {}; }));
        CHECK(is_refused<ResizeVolume>({.record = record}, [](auto& o) { o.record.size_bytes = 1; }));
        CHECK(is_refused<ResizeVolume>({.record = record}, [](auto& o) { o.record.name = {}; }));
        CHECK(is_refused<ResizeVolume>({.record = record}, [](auto& o) { o.header.zero = 1; }));
    }
    CHECK(is_refused<OpenImage>({.record = image}, [&](auto& o) { o.record = memory; }));
    CHECK(is_refused<OpenImage>({.record = image}, [](auto& o) { o.record.magic = {}; }));
    CHECK(is_refused<CommitResize>({.record = image}, [&](auto& o) { o.record = memory; }));
    CHECK(is_refused<CommitResize>({.record = image}, [](auto& o) { o.record.image_bytes = 1ULL << 63U; }));
    CHECK(is_refused<Survey>({}, [](auto& o) { o.header.zero = 1; }));
}

TEST_CASE("an order about the trash or labels is refused for each thing that is wrong with it") {
    auto record = make_volume_record("a", kMiB, Backend::Btrfs);
    record.trashed_until_ns = INT64_MAX;
    CHECK(is_refused<TrashVolume>({.record = record}, [](auto& o) { o.forced = 2; }));
    CHECK(is_refused<TrashVolume>({.record = record, .forced = 1}, [](auto& o) { o.zero = 1; }));
    CHECK(is_refused<TrashVolume>({.record = record}, [](auto& o) { o.record.id = {}; }));
    CHECK(is_refused<TrashVolume>({.record = record}, [](auto& o) { o.record.trashed_until_ns = -1; }));
    CHECK(is_refused<RestoreVolume>({.record = record}, [](auto& o) { o.record.name = NameText(""); }));
    CHECK(is_refused<RestoreVolume>({.record = record}, [](auto& o) { o.record.version += 1; }));
    CHECK(is_refused<EmptyTrash>({.id = record.id}, [](auto& o) { o.id = {}; }));
    const SetLabels labels{.id = record.id, .labels_size = 2, .labels = Labels{1, 2}};
    CHECK(is_refused<SetLabels>(labels, [](auto& o) { o.id = {}; }));
    CHECK(is_refused<SetLabels>(labels, [](auto& o) { o.labels_size = 1; }));
    CHECK(is_refused<SetLabels>(labels, [](auto& o) { o.labels_size = protocol::kLabelsMax + 1; }));
    CHECK(is_refused<SetLabels>(labels, [](auto& o) { o.labels.back() = 1; }));
    CHECK(is_refused<SetLabels>(labels, [](auto& o) { o.zero = 1; }));
    CHECK(decodes(SetLabels{.id = record.id}));
}

TEST_CASE("an order about a running job's volume is refused for each thing that is wrong with it") {
    const auto first = make_volume_record("a", kMiB, Backend::Tmpfs);
    const auto last = make_volume_record("b", kMiB, Backend::Btrfs);
    AttachVolume attach{.record = make_prepare({first, last}, Access::ReadOnly).record};
    attach.record.targets[0] = TargetText("/a");
    attach.volume = make_mount(last, Access::ReadOnly);
    attach.slot_first = kWorkerTestSlot;
    using Spoil = std::function<void(AttachVolume&)>;
    const Spoil spoils[] = {
        [](AttachVolume& o) { o.record.id = {}; },
        [](AttachVolume& o) { o.record.kind = static_cast<std::uint32_t>(JobKind::System); },
        [](AttachVolume& o) { o.record.targets[0] = TargetText("/etc/x"); },
        [](AttachVolume& o) { o.record.targets[1] = TargetText("/b"); },
        [](AttachVolume& o) { o.record.targets[1] = o.volume.target = TargetText("/b"); },
        [](AttachVolume& o) { std::swap(o.record.volumes[0], o.record.volumes[1]); },
        [](AttachVolume& o) { o.record.volume_count = 0; },
        [](AttachVolume& o) {
            o.record.volume_count = 1;
            o.record.volumes[1] = {};
            o.record.access[1] = {};
        },
        [](AttachVolume& o) { o.volume.id = make_random_id<VolumeId>(); },
        [](AttachVolume& o) { o.volume.access = Access::ReadWrite; },
        [](AttachVolume& o) { o.record.access[1] = o.volume.access = static_cast<Access>(2); },
        [](AttachVolume& o) { o.volume.name = NameText("a/b"); },
        [](AttachVolume& o) { o.volume.name = NameText(".."); },
        [](AttachVolume& o) { o.volume.name = {}; },
        [](AttachVolume& o) { o.volume.size_bytes = 0; },
        [](AttachVolume& o) { o.volume.backend = Backend::Auto; },
        [](AttachVolume& o) { o.slot_first = 0; },
        [](AttachVolume& o) { o.slot_first += 1; },
        [](AttachVolume& o) { o.zero = 1; },
    };
    for (std::size_t i = 0; i < std::size(spoils); ++i) {
        CAPTURE(i);
        CHECK(is_refused(attach, spoils[i]));
    }
    DetachVolume detach{.record = make_prepare({first}, Access::ReadOnly).record, .name = NameText("b"), .target = {}};
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.name = {}; }));
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.name = NameText("../tmp"); }));
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.name.data.back() = 'x'; }));
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.target = TargetText("/tmp"); }));
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.target = TargetText("b"); }));
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.target.data.back() = 'x'; }));
    CHECK(is_refused<DetachVolume>(detach, [](auto& o) { o.record.magic = {}; }));
    detach.target = TargetText("/b");
    CHECK(decodes(detach));
}

TEST_CASE("labels with any bit changed are no labels, and another volume's are not this one's") {
    REQUIRE(start_checksums());
    const auto id = make_random_id<VolumeId>();
    for (const std::string& text : {std::string("a=b"), std::string(), std::string(protocol::kLabelsMax, 'x')}) {
        auto bytes = sealed_labels(id, make_labels(text));
        const auto read = read_labels(bytes, id);
        REQUIRE(read);
        CHECK(read->size == text.size());
        CHECK(read->bytes == make_labels(text).bytes);
        CHECK_FALSE(read_labels(bytes, make_random_id<VolumeId>()));
        CHECK_FALSE(read_labels(std::span(bytes).first(bytes.size() - 1), id));
        for (std::size_t bit = 0; bit < std::min<std::size_t>(bytes.size(), 64) * 8; ++bit) {
            bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
            CHECK_FALSE(read_labels(bytes, id));
            bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        }
        bytes.push_back({});
        CHECK_FALSE(read_labels(bytes, id));
    }
}

TEST_CASE("no shorter or longer datagram decodes") {
    auto order = two_volumes();
    order.header.type = PrepareJob::kType;
    std::array<std::byte, sizeof order + 1> bytes{};
    std::memcpy(bytes.data(), &order, sizeof order);
    for (std::size_t size = 0; size <= bytes.size(); ++size) {
        CHECK(decode_order(std::span(bytes).first(size)).has_value() == (size == sizeof order));
    }
}

TEST_CASE("a record with any bit changed is no record") {
    REQUIRE(start_checksums());
    auto record = make_volume_record("data", kMiB, Backend::Image);
    seal(record);
    std::array<std::byte, sizeof record> bytes{};
    std::memcpy(bytes.data(), &record, sizeof record);
    REQUIRE(read_volume_record(bytes, record.id));
    CHECK_FALSE(read_volume_record(bytes, make_random_id<VolumeId>()));
    CHECK_FALSE(read_volume_record(std::span(bytes).first(bytes.size() - 1), record.id));
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        auto changed = bytes;
        changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CHECK_FALSE(read_volume_record(changed, record.id));
    }
}

TEST_CASE("a job's record with any bit changed is no record") {
    REQUIRE(start_checksums());
    auto record = make_prepare({make_volume_record("data", kMiB, Backend::Tmpfs)}, Access::ReadWrite).record;
    record.flags = kJobHasLog;
    seal(record);
    std::array<std::byte, sizeof record> bytes{};
    std::memcpy(bytes.data(), &record, sizeof record);
    REQUIRE(read_job_record(bytes, record.id));
    CHECK(read_job_record(bytes, record.id)->flags == kJobHasLog);
    CHECK_FALSE(read_job_record(bytes, make_random_id<JobId>()));
    CHECK_FALSE(read_job_record(std::span(bytes).first(bytes.size() - 1), record.id));
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        auto changed = bytes;
        changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        CHECK_FALSE(read_job_record(changed, record.id));
    }
}

TEST_CASE("case_27: the filter lets through what its table says, and kills for the rest") {
    const auto compiled = compile_filter(worker_calls(), {}, OtherCalls::KillProcess);
    REQUIRE(compiled);
    const auto check = [&compiled](int number, const Arguments& arguments) {
        const bool allowed =
            std::ranges::any_of(worker_calls(), [&](const auto& row) { return row.number == number && holds(row.arguments, arguments); });
        CAPTURE(number);
        CHECK(evaluate(*compiled, number, arguments) == (allowed ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS));
    };
    for (int number = 0; number <= 600; ++number) {
        check(number, {});
        check(number, {~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL});
    }
    for (const auto& row : worker_calls()) {
        Arguments exact{};
        for (const auto& rule : row.arguments) {
            exact[rule.argument] |= rule.test == ArgumentRule::Test::None ? 0 : rule.value;
        }
        for (std::size_t argument = 0; argument < exact.size(); ++argument) {
            for (unsigned bit = 0; bit < 64; ++bit) {
                auto changed = exact;
                changed[argument] ^= 1ULL << bit;
                check(row.number, changed);
            }
        }
    }
    const auto kills = [&compiled](int number, const Arguments& arguments = {}) {
        return evaluate(*compiled, number, arguments) == SECCOMP_RET_KILL_PROCESS;
    };
    for (const int number :
         {SYS_mount, SYS_open, SYS_execve, SYS_execveat, SYS_fork, SYS_clone, SYS_clone3, SYS_socket, SYS_ptrace, SYS_bpf,
          SYS_io_uring_setup, SYS_open_by_handle_at, SYS_mprotect, SYS_mknodat, SYS_prctl, SYS_chroot, SYS_quotactl}) {
        CHECK(kills(number));
    }
    CHECK(kills(SYS_fsmount, {0, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV}));
    CHECK(kills(SYS_ioctl, {0, LOOP_CLR_FD}));
    CHECK(kills(SYS_ioctl, {0, BTRFS_IOC_QUOTA_CTL}));
    CHECK(kills(SYS_ioctl, {0, BTRFS_IOC_SNAP_CREATE}));
    CHECK(kills(kernel::kQuotactlFd, {0, 0x80000302})); // Q_QUOTAOFF for projects
    CHECK(kills(kernel::kQuotactlFd, {0, 0x80000800})); // Q_SETQUOTA for users
    CHECK(kills(SYS_fspick, {0, 0, FSPICK_CLOEXEC}));
    CHECK(kills(SYS_ioctl, {0, LOOP_SET_FD}));
    CHECK(kills(SYS_ioctl, {0, LOOP_SET_STATUS64}));
    CHECK(kills(SYS_umount2, {0, 0}));
    CHECK(kills(SYS_umount2, {0, MNT_FORCE}));
    CHECK(kills(SYS_setns, {0, CLONE_NEWUSER}));
    CHECK(kills(SYS_unshare, {CLONE_NEWUSER}));
    CHECK(kills(SYS_openat, {0, 0, O_WRONLY}));
}
