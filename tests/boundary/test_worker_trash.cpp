// What is deleted: into the trash, back from it, gone for good; and labels, which come back with it.
#include <doctest/doctest.h>

#include <fcntl.h>

#include <cstring>
#include <map>

#include "broker-root/worker/record.h"
#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;
using protocol::VolumeStatus;

namespace {

VolumeRecord record_at(const fs::path& directory) {
    const std::string text = read_text(directory / "record");
    VolumeRecord record;
    REQUIRE(text.size() == sizeof record);
    std::memcpy(&record, text.data(), sizeof record);
    return record;
}

void write_record_at(const fs::path& directory, VolumeRecord record) {
    REQUIRE(start_checksums());
    seal(record);
    write_text(directory / "record", {reinterpret_cast<const char*>(&record), sizeof record});
}

std::string text_of(const LoadedVolume& volume) {
    return {reinterpret_cast<const char*>(volume.labels.data()), volume.labels_size};
}

ErrorCode set_labels(World& world, const VolumeId& id, std::string_view text) {
    const auto labels = make_labels(text);
    return world.worker.order(SetLabels{.id = id, .labels_size = labels.size, .labels = labels.bytes}).answer.code;
}

// A volume, with labels, in the trash.
VolumeRecord trashed_volume(World& world, Backend backend) {
    auto record = make_volume_record("data", 5 * kMiB, backend);
    create_volume(world.worker, record, make_labels("a=b"));
    record.trashed_until_ns = 1234;
    REQUIRE(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
    return record;
}

} // namespace

TEST_CASE("a volume in the trash is listed as it was, comes back under another name, or goes") {
    World world;
    const auto& here = world.installation;
    auto record = trashed_volume(world, Backend::Image);
    CHECK_FALSE(fs::exists(here.volume(record.id)));
    CHECK(record_at(here.trashed(record.id)).trashed_until_ns == 1234);
    CHECK(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::NotFound);
    CHECK(world.worker.order(UpdateRecord{.record = record, .durable = 1}).answer.code == ErrorCode::NotFound);
    CHECK(set_labels(world, record.id, "c") == ErrorCode::NotFound);
    CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code == ErrorCode::NotFound);
    for (int restart = 0; restart < 2; ++restart) {
        const auto loaded = world.worker.load_volumes();
        REQUIRE(loaded.size() == 1);
        CHECK(loaded[0].status == VolumeStatus::Trashed);
        CHECK(loaded[0].record.name == record.name);
        CHECK(loaded[0].record.trashed_until_ns == 1234);
        CHECK(text_of(loaded[0]) == "a=b");
    }
    SUBCASE("back") {
        record.name = NameText("other");
        record.generation += 1;
        CHECK(world.worker.order(RestoreVolume{.record = record}).answer.code == ErrorCode::Ok);
        CHECK_FALSE(fs::exists(here.trashed(record.id)));
        const auto loaded = world.worker.load_volumes();
        REQUIRE(loaded.size() == 1);
        CHECK(loaded[0].status == VolumeStatus::Available);
        CHECK(loaded[0].record.name == record.name);
        CHECK(loaded[0].record.generation == record.generation);
        CHECK(text_of(loaded[0]) == "a=b");
        CHECK(world.prepare(make_prepare({record}, Access::ReadWrite)).answer.code == ErrorCode::Ok);
        CHECK(world.worker.order(RestoreVolume{.record = record}).answer.code == ErrorCode::NotFound);
    }
    SUBCASE("gone") {
        CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
        CHECK(fs::is_empty(here.state() / "trash"));
        CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok); // a second time, after a restart
        CHECK(world.worker.load_volumes().empty());
    }
}

TEST_CASE("the record is written on the way to the trash only if it says another time") {
    World world;
    const auto record = make_volume_record("data", kMiB, Backend::Tmpfs);
    create_volume(world.worker, record);
    auto changed = record;
    changed.last_used_ns = 5;
    SUBCASE("the same") {
        CHECK(world.worker.order(TrashVolume{.record = changed}).answer.code == ErrorCode::Ok);
        CHECK(record_at(world.installation.trashed(record.id)).last_used_ns == 0);
    }
    SUBCASE("another") {
        changed.trashed_until_ns = 1;
        CHECK(world.worker.order(TrashVolume{.record = changed}).answer.code == ErrorCode::Ok);
        CHECK(record_at(world.installation.trashed(record.id)).last_used_ns == 5);
    }
    SUBCASE("there is none") {
        fs::remove(world.installation.volume(record.id) / "record");
        CHECK(world.worker.order(TrashVolume{.record = changed}).answer.code == ErrorCode::Ok);
        CHECK(record_at(world.installation.trashed(record.id)).last_used_ns == 5);
    }
}

TEST_CASE("a volume that is attached goes to the trash only if forced") {
    World world;
    const auto image = make_volume_record("data", 5 * kMiB, Backend::Image);
    create_volume(world.worker, image);
    auto reply = world.prepare(make_prepare({image}, Access::ReadWrite));
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    const auto refused = world.worker.order(TrashVolume{.record = image});
    CHECK(refused.answer.code == ErrorCode::InUse);
    CHECK(refused.answer.step == Step::MoveToTrash);
    CHECK(world.worker.order(TrashVolume{.record = image, .forced = 1}).answer.code == ErrorCode::Ok);
    CHECK(write_as_slot(volume_of(reply), "file", "still there"));
    CHECK(world.worker.order(EmptyTrash{.id = image.id}).answer.code == ErrorCode::Ok);
}

TEST_CASE("a volume whose record is not one of ours goes nowhere") {
    World world;
    auto record = make_volume_record("data", kMiB, Backend::Tmpfs);
    create_volume(world.worker, record);
    auto newer = record;
    newer.version = kVolumeRecordVersion + 1;
    const auto is_left_alone = [&](const fs::path& directory) { CHECK(record_at(directory).version == newer.version); };
    SUBCASE("to the trash") {
        write_record_at(world.installation.volume(record.id), newer);
        record.trashed_until_ns = 7;
        const auto refused = world.worker.order(TrashVolume{.record = record, .forced = 1});
        CHECK(refused.answer.code == ErrorCode::Quarantined);
        CHECK(refused.answer.sys_errno == EUCLEAN);
        is_left_alone(world.installation.volume(record.id));
    }
    SUBCASE("from it") {
        REQUIRE(world.worker.order(TrashVolume{.record = record}).answer.code == ErrorCode::Ok);
        write_record_at(world.installation.trashed(record.id), newer);
        CHECK(world.worker.load_volumes().empty());
        for (const auto& refused :
             {world.worker.order(EmptyTrash{.id = record.id}).answer, world.worker.order(RestoreVolume{.record = record}).answer}) {
            CHECK(refused.code == ErrorCode::Quarantined);
            CHECK(refused.sys_errno == EUCLEAN);
        }
        is_left_alone(world.installation.trashed(record.id));
    }
}

TEST_CASE("what a crash left of an emptied volume is reported, cannot come back, and goes") {
    World world;
    const auto record = trashed_volume(world, Backend::Image);
    const fs::path directory = world.installation.trashed(record.id);
    bool has_record = true;
    SUBCASE("the image was removed") {
        fs::remove(directory / "image");
    }
    SUBCASE("the labels, too") {
        fs::remove(directory / "image");
        fs::remove(directory / "labels");
    }
    SUBCASE("only the directory is left") {
        fs::remove(directory / "image");
        fs::remove(directory / "labels");
        fs::remove(directory / "record");
        has_record = false;
    }
    SUBCASE("the record is missing and all else is there") {
        fs::rename(directory / "record", directory / "record.new");
        has_record = false;
    }
    const auto loaded = world.worker.load_volumes();
    REQUIRE(loaded.size() == 1);
    CHECK(loaded[0].record.id == record.id);
    CHECK(loaded[0].status == VolumeStatus::Trashed);
    CHECK(loaded[0].record.trashed_until_ns == (has_record ? 1234 : 0));
    CHECK((loaded[0].record.size_bytes != 0) == has_record);
    const auto restored = world.worker.order(RestoreVolume{.record = record});
    CHECK(restored.answer.code == ErrorCode::Quarantined);
    CHECK(restored.answer.step == Step::RestoreFromTrash);
    CHECK(world.worker.order(EmptyTrash{.id = record.id}).answer.code == ErrorCode::Ok);
    CHECK(fs::is_empty(world.installation.state() / "trash"));
}

TEST_CASE("a volume is not restored over another") {
    World world;
    const auto record = trashed_volume(world, Backend::Tmpfs);
    fs::create_directory(world.installation.volume(record.id));
    CHECK(world.worker.order(RestoreVolume{.record = record}).answer.code == ErrorCode::Conflict);
    CHECK(fs::exists(world.installation.trashed(record.id) / "record"));
}

TEST_CASE("what is in a trashed volume besides our files is not touched") {
    World world;
    const auto record = trashed_volume(world, Backend::Tmpfs);
    write_text(world.installation.trashed(record.id) / "unknown", "x");
    const auto emptied = world.worker.order(EmptyTrash{.id = record.id});
    CHECK(emptied.answer.step == Step::EmptyTrash);
    CHECK(emptied.answer.sys_errno == EUCLEAN); // ENOTEMPTY would send somebody in to delete the contents
    CHECK(fs::exists(world.installation.trashed(record.id) / "unknown"));
}

TEST_CASE("labels are replaced without the record, and damaged ones are none") {
    World world;
    const auto record = make_volume_record("data", kMiB, Backend::Tmpfs);
    create_volume(world.worker, record, make_labels("a=b"));
    const fs::path file = world.installation.volume(record.id) / "labels";
    const std::string record_before = read_text(world.installation.volume(record.id) / "record");
    CHECK(set_labels(world, record.id, "much=longer") == ErrorCode::Ok);
    std::string expected;
    SUBCASE("whole") {
        expected = "much=longer";
    }
    SUBCASE("as many as there can be") {
        expected = std::string(protocol::kLabelsMax, 'x');
        CHECK(set_labels(world, record.id, expected) == ErrorCode::Ok);
    }
    SUBCASE("none") {
        CHECK(set_labels(world, record.id, "") == ErrorCode::Ok);
        CHECK_FALSE(fs::exists(file));
    }
    SUBCASE("none twice") {
        CHECK(set_labels(world, record.id, "") == ErrorCode::Ok);
        CHECK(set_labels(world, record.id, "") == ErrorCode::Ok);
    }
    SUBCASE("a bit flipped") {
        std::string text = read_text(file);
        text[3] ^= 1;
        write_text(file, text);
    }
    SUBCASE("cut") {
        fs::resize_file(file, 5);
    }
    SUBCASE("too long") {
        write_text(file, std::string(protocol::kLabelsMax + 17, 'x'));
    }
    SUBCASE("a symbolic link") {
        fs::rename(file, world.installation.root() / "elsewhere");
        fs::create_symlink(world.installation.root() / "elsewhere", file);
    }
    SUBCASE("another volume's") {
        const auto other = make_volume_record("other", kMiB, Backend::Tmpfs);
        create_volume(world.worker, other, make_labels("a=b"));
        fs::copy_file(world.installation.volume(other.id) / "labels", file, fs::copy_options::overwrite_existing);
    }
    bool found = false;
    for (const auto& loaded : world.worker.load_volumes()) {
        if (loaded.record.id == record.id) {
            found = true;
            CHECK(loaded.status == VolumeStatus::Available);
            CHECK(text_of(loaded) == expected);
        }
    }
    CHECK(found);
    CHECK(read_text(world.installation.volume(record.id) / "record") == record_before);
    CHECK(set_labels(world, record.id, "new") == ErrorCode::Ok);
}

TEST_CASE("a system job gets volumes from the trash, whatever they are called, and no others") {
    World world;
    auto record = trashed_volume(world, Backend::Image);
    auto kept = make_volume_record("kept", 2 * kMiB, Backend::Tmpfs);
    create_volume(world.worker, kept);
    const auto system_job = [](const VolumeRecord& volume) {
        auto order = make_prepare({volume}, Access::ReadWrite);
        order.record.kind = static_cast<std::uint32_t>(JobKind::System);
        order.base = NameText(kSystemBase);
        return order;
    };
    record.name = NameText("contents");
    const auto order = system_job(record);
    auto reply = world.prepare(order);
    CHECK(write_as_slot(volume_of(reply), "file", "x"));
    CHECK(world.finish(order.record.id, std::move(reply.descriptors)).answer.code == ErrorCode::Ok);
    CHECK(world.installation.loops() == 0);
    CHECK(world.prepare(system_job(kept)).answer.code == ErrorCode::NotFound);
    record.size_bytes *= 2;
    CHECK(world.prepare(system_job(record)).answer.code == ErrorCode::Quarantined);
}
