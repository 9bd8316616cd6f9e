// The boundary's other direction: what the broker says decodes, and nothing else does.
#include <doctest/doctest.h>

#include <cstring>
#include <span>

#include "shared/protocol.h"

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
    changed.volume.flags = kVolumeProtected << 1U;
    CHECK(decode_one(changed).error() == DecodeError::Field);

    Connection connection;
    connection.number = 5;
    CHECK(decode_one(connection).error() == DecodeError::Descriptors);
    CHECK(decode_one(connection, 1).has_value());
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
    world.reply.which = static_cast<std::uint32_t>(LimitKind::LogSize);
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
