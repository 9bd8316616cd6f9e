// The boundary's other direction: what the broker says decodes, and nothing else does.
#include <doctest/doctest.h>

#include <cstring>
#include <span>

#include "shared/protocol_messages.h"

using namespace joblet;
using namespace joblet::protocol;

TEST_CASE("messages of the broker decode to themselves and not with a field spoilt") {
    VolumeChanged changed;
    changed.volume.id = make_random_id<VolumeId>();
    changed.volume.name = NameText("data");
    changed.volume.type = VolumeType::Memory;
    changed.volume.backend = Backend::Tmpfs;
    changed.volume.status = VolumeStatus::Available;
    const auto decode_one = [](const auto& message, std::size_t descriptors = 0) {
        return decode_message(std::as_bytes(std::span(&message, 1)), descriptors);
    };
    REQUIRE(decode_one(changed).has_value());
    CHECK(decode_one(changed, 1).error() == DecodeError::Descriptors);
    changed.volume.backend = Backend::Image;
    CHECK(decode_one(changed).error() == DecodeError::Field);

    changed.volume.backend = Backend::Tmpfs;
    changed.volume.status = VolumeStatus::Trashed; // always until some time
    CHECK(decode_one(changed).error() == DecodeError::Field);
    changed.volume.trashed_until_ns = 1;
    CHECK(decode_one(changed).has_value());
    changed.volume.status = VolumeStatus::Available;
    CHECK(decode_one(changed).error() == DecodeError::Field);
    changed.volume.trashed_until_ns = 0;
    changed.volume.flags = kVolumeProtected | kVolumeNoSwap;
    CHECK(decode_one(changed).has_value());
    changed.volume.io = {kIoBytesMin, kIoLimitMax, kIoOperationsMin, kIoLimitMax};
    CHECK(decode_one(changed).has_value());
    changed.volume.io.read_bytes = kIoBytesMin - 1;
    CHECK(decode_one(changed).error() == DecodeError::Field);
    changed.volume.io = {};
    changed.volume.flags = kVolumeNoSwap << 1U;
    CHECK(decode_one(changed).error() == DecodeError::Field);

    Connection connection;
    connection.number = 5;
    CHECK(decode_one(connection).error() == DecodeError::Descriptors);
    CHECK(decode_one(connection, 1).has_value());
    connection.allowed = 64; // of a connection that is served nothing is told
    CHECK(decode_one(connection, 1).error() == DecodeError::Field);
    connection.refusal = ConnectionRefusal::TooMany;
    CHECK(decode_one(connection, 1).has_value());
    connection.refusal = ConnectionRefusal::NotOnTheLists;
    CHECK(decode_one(connection, 1).error() == DecodeError::Field);
    connection.allowed = 0;
    CHECK(decode_one(connection, 1).has_value());
    connection.refusal = static_cast<ConnectionRefusal>(3);
    CHECK(decode_one(connection, 1).error() == DecodeError::Field);
    connection.refusal = ConnectionRefusal::TooMany; // more than nothing
    CHECK(decode_one(connection, 1).error() == DecodeError::Field);
    connection.refusal = ConnectionRefusal::None;
    connection.admin = 2;
    CHECK(decode_one(connection, 1).error() == DecodeError::Field);

    VolumePage page;
    page.reply.request = RequestType::ListVolumes;
    page.reply.sequence = 3;
    REQUIRE(decode_one(page).has_value());
    changed.volume.flags = kVolumeProtected;
    changed.volume.labels_size = 3;
    page.volumes[0] = changed.volume;
    page.volumes[1] = changed.volume;
    page.reply.count = 2;
    page.labels[5] = 'x'; // the last of both volumes' bytes
    CHECK(decode_one(page).has_value());
    page.labels[6] = 'x';
    CHECK(decode_one(page).error() == DecodeError::Field);
    page.labels[6] = 0;
    page.reply.count = kPageEntries + 1;
    CHECK(decode_one(page).error() == DecodeError::Field);

    // a refusal is bare, whatever was asked
    Reply refusal;
    refusal.request = RequestType::ListVolumes;
    refusal.sequence = 3;
    refusal.code = ErrorCode::Unavailable;
    CHECK(decode_one(refusal).has_value());
    refusal.code = ErrorCode::Ok;
    CHECK(decode_one(refusal).error() == DecodeError::Size);

    JobChanged job;
    job.job.id = make_random_id<JobId>();
    job.job.state = JobState::Running;
    REQUIRE(decode_one(job).has_value());
    job.job.state = JobState::Ended;
    CHECK(decode_one(job).error() == DecodeError::Field); // without an exit record
}

TEST_CASE("replies about jobs and bases decode to themselves and not with a field spoilt") {
    const auto decode_one = [](const auto& message, std::size_t descriptors = 0) {
        return decode_message(std::as_bytes(std::span(&message, 1)), descriptors);
    };
    JobWorld world;
    world.reply.request = RequestType::StartJob;
    world.reply.sequence = 3;
    world.proc = ProcKind::Masked;
    REQUIRE(decode_one(world).has_value());
    CHECK(std::holds_alternative<JobWorld>(*decode_one(world)));
    CHECK(decode_one(world, 1).error() == DecodeError::Descriptors);
    world.proc = static_cast<ProcKind>(2);
    CHECK(decode_one(world).error() == DecodeError::Field);
    world.proc = ProcKind::Pids;
    world.zero = 1;
    CHECK(decode_one(world).error() == DecodeError::Field);
    CHECK(decode_one(world.reply).error() == DecodeError::Size); // a start that succeeded says what the job has
    world.reply.code = ErrorCode::LimitExceeded;
    world.reply.which = static_cast<std::uint32_t>(LimitKind::ChannelsPerConnection); // the last
    CHECK(decode_one(world.reply).has_value());
    ++world.reply.which;
    CHECK(decode_one(world.reply).error() == DecodeError::Field);

    BaseList list;
    list.reply.request = RequestType::ListBases;
    list.reply.sequence = 3;
    REQUIRE(decode_one(list).has_value());
    list.reply.count = kBasesMax;
    CHECK(decode_one(list).error() == DecodeError::Field); // without names
    for (auto& base : list.bases) {
        base.name = NameText("minimal");
        base.is_usable = 1;
    }
    CHECK(decode_one(list).has_value());
    ++list.reply.count;
    CHECK(decode_one(list).error() == DecodeError::Field);
    --list.reply.count;
    list.bases[kBasesMax - 1].is_usable = 2;
    CHECK(decode_one(list).error() == DecodeError::Field);
    list.bases[kBasesMax - 1].is_usable = 0;
    list.bases[0].proc = static_cast<ProcKind>(2);
    CHECK(decode_one(list).error() == DecodeError::Field);

    Reply log;
    log.request = RequestType::OpenLog;
    log.sequence = 3;
    CHECK(decode_one(log, kLogDescriptors).has_value());
    CHECK(decode_one(log).error() == DecodeError::Descriptors);
    CHECK(decode_one(log, kLogDescriptors + 1).error() == DecodeError::Descriptors);
    log.code = ErrorCode::NotFound;
    CHECK(decode_one(log).has_value());
    CHECK(decode_one(log, kLogDescriptors).error() == DecodeError::Descriptors);
}

TEST_CASE("what a job is held to decodes only with a controller that holds it") {
    JobChanged job;
    job.job.id = make_random_id<JobId>();
    job.job.state = JobState::Running;
    auto& limits = job.job.limits;
    JobWorld world;
    world.reply.request = RequestType::StartJob;
    world.reply.sequence = 3;
    const auto decodes = [&]() {
        world.limits = limits;
        const bool as_news = decode_message(std::as_bytes(std::span(&job, 1)), 0).has_value();
        const bool as_reply = decode_message(std::as_bytes(std::span(&world, 1)), 0).has_value();
        CHECK(as_news == as_reply);
        return as_news;
    };
    limits.memory_bytes = 1;
    limits.processes = 1;
    limits.cpu_milli = 1;
    limits.io.read_operations = 2;
    limits.controllers = kControllersAll;
    CHECK(decodes());
    for (const auto missing : {kControllerCpu, kControllerIo, kControllerMemory, kControllerPids}) {
        limits.controllers = kControllersAll & ~missing;
        CHECK_FALSE(decodes());
    }
    limits.controllers = kControllersAll + 1;
    CHECK_FALSE(decodes());
    limits = {};
    limits.device_count = kDevicesMax;
    CHECK(decodes());
    ++limits.device_count;
    CHECK_FALSE(decodes());
    limits = {};
    limits.controllers = kControllerIo;
    limits.io.write_bytes = kIoBytesMin - 1;
    CHECK_FALSE(decodes());
}

TEST_CASE("what a volume holds, and what the host can hold, decode to themselves and not with a field spoilt") {
    const auto decode_one = [](const auto& message, std::size_t descriptors = 0) {
        return decode_message(std::as_bytes(std::span(&message, 1)), descriptors);
    };
    VolumeMeasure measure;
    measure.reply.request = RequestType::MeasureVolume;
    measure.reply.sequence = 3;
    measure.usage = {~std::uint64_t{0}, 1, 2, 3, 4, 5, 6, 7};
    REQUIRE(decode_one(measure).has_value());
    CHECK(std::holds_alternative<VolumeMeasure>(*decode_one(measure)));
    CHECK(decode_one(measure, 1).error() == DecodeError::Descriptors);
    CHECK(decode_one(measure.reply).error() == DecodeError::Size);
    measure.usage.bytes_grace_ns = -1;
    CHECK(decode_one(measure).error() == DecodeError::Field);
    measure.usage.bytes_grace_ns = 0;
    measure.usage.inodes_grace_ns = -1;
    CHECK(decode_one(measure).error() == DecodeError::Field);

    HostFacts good;
    good.reply.request = RequestType::HostReport;
    good.reply.sequence = 3;
    good.reply.count = kDifferencesMax;
    for (std::size_t i = 0; i < kDifferencesMax; ++i) {
        good.differences.at(i).kind = static_cast<DifferenceKind>(1 + i % (kDifferenceKindCount - 1));
    }
    good.backends[0] = {Backend::ProjectQuota, ErrorCode::Quarantined, Step::Survey, 1};
    good.chosen_backend = static_cast<std::uint32_t>(Backend::Btrfs);
    good.controllers = good.required_controllers = kControllersAll;
    good.flags = kHostSurveyed | kHostNoSwap | kHostOnlineGrow;
    good.device_count = kStoreDevicesMax;
    REQUIRE(decode_one(good).has_value());
    CHECK(std::holds_alternative<HostFacts>(*decode_one(good)));
    CHECK(decode_one(good.reply).error() == DecodeError::Size);
    const auto is_refused = [&](const auto& spoil) {
        HostFacts facts = good;
        spoil(facts);
        const auto result = decode_one(facts);
        return !result && result.error() == DecodeError::Field;
    };
    CHECK(is_refused([](HostFacts& f) { ++f.reply.count; }));
    CHECK(is_refused([](HostFacts& f) { f.backends[3].backend = static_cast<Backend>(9); }));
    CHECK(is_refused([](HostFacts& f) { f.backends[3].code = static_cast<ErrorCode>(kErrorCodeCount); }));
    CHECK(is_refused([](HostFacts& f) { f.backends[3].step = static_cast<Step>(kStepCount); }));
    CHECK(is_refused([](HostFacts& f) { f.backends[3].sys_errno = -1; }));
    CHECK(is_refused([](HostFacts& f) { f.chosen_backend = 5; }));
    CHECK(is_refused([](HostFacts& f) { f.controllers = kControllersAll + 1; }));
    CHECK(is_refused([](HostFacts& f) { f.required_controllers = kControllersAll + 1; }));
    CHECK(is_refused([](HostFacts& f) { f.flags = kHostOnlineGrow << 1U; }));
    CHECK(is_refused([](HostFacts& f) { ++f.device_count; }));
    CHECK(is_refused([](HostFacts& f) { f.audit_errno = -1; }));
    CHECK(is_refused([](HostFacts& f) { f.zero = 1; }));
    CHECK(is_refused([](HostFacts& f) { f.differences[kDifferencesMax - 1].kind = static_cast<DifferenceKind>(0); }));
    CHECK(is_refused([](HostFacts& f) { f.differences[0].kind = static_cast<DifferenceKind>(kDifferenceKindCount); }));
    CHECK(is_refused([](HostFacts& f) { f.differences[0].zero = 1; }));
}

TEST_CASE("an exit record says only what a stage, or the broker for it, can know") {
    JobChanged job;
    job.job.id = make_random_id<JobId>();
    job.job.state = JobState::Ended;
    auto& exit = job.job.exit;
    exit.magic = kExitMagic;
    exit.kind = ExitKind::Signaled;
    exit.signal = 15;
    const auto decodes = [&job]() { return decode_message(std::as_bytes(std::span(&job, 1)), 0).has_value(); };
    exit.flags = kExitTimedOut | kExitOutOfMemory;
    CHECK(decodes());
    CHECK_FALSE(is_valid(exit)); // out of memory is not a stage's to say
    exit.flags = kExitTimedOut;
    CHECK(is_valid(exit));
    exit.flags = kExitOutOfMemory << 1U;
    CHECK_FALSE(decodes());
    exit.flags = 0;
    exit.zero = 1;
    CHECK_FALSE(decodes());
    exit = {};
    exit.magic = kExitMagic;
    exit.kind = ExitKind::Killed;
    exit.flags = kExitOutOfMemory;
    CHECK(decodes());
}
