// What a survey finds, and that it finds all of it.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "tests/boundary/worker_world.h"

using namespace joblet;
using namespace joblet::testing;
using namespace joblet::worker;
using protocol::Access;
using protocol::Backend;

namespace {

using Ids = std::vector<std::array<std::uint8_t, 16>>;

Ids ids_of(const std::vector<Finding>& findings, FindingKind kind) {
    Ids out;
    for (const auto& finding : findings) {
        if (finding.kind == kind) {
            out.push_back(finding.id);
        }
    }
    std::ranges::sort(out);
    return out;
}

const Finding& volume_in(const std::vector<Finding>& findings, const VolumeId& id) {
    const auto found = std::ranges::find_if(
        findings, [&](const Finding& finding) { return finding.kind == FindingKind::Volume && finding.id == id.bytes; });
    REQUIRE(found != findings.end());
    return *found;
}

} // namespace

TEST_CASE("a survey of nothing is empty") {
    World world;
    CHECK(world.worker.survey().empty());
}

TEST_CASE("a survey tells volumes, trash, staging and jobs, each by its id") {
    World world;
    const auto whole = make_volume_record("whole", kMiB, Backend::Tmpfs);
    const auto attached = make_volume_record("attached", 2 * kMiB, Backend::Image);
    const auto idle = make_volume_record("idle", 2 * kMiB, Backend::Image);
    const auto cut = make_volume_record("cut", 2 * kMiB, Backend::Image);
    const auto unreadable = make_volume_record("unreadable", kMiB, Backend::Tmpfs);
    const auto gone = make_volume_record("gone", kMiB, Backend::Tmpfs);
    for (const auto& record : {whole, attached, idle, cut, unreadable, gone}) {
        create_volume(world.worker, record);
    }
    const auto order = make_prepare({attached}, Access::ReadWrite);
    auto job = world.prepare(order);
    REQUIRE(job.answer.code == ErrorCode::Ok);
    fs::resize_file(world.installation.volume(cut.id) / "image", kMiB);
    write_text(world.installation.volume(unreadable.id) / "record", "no record");
    CHECK(world.worker.order(TrashVolume{.record = gone}).answer.code == ErrorCode::Ok);
    const auto made = make_volume_record("made", kMiB, Backend::Tmpfs);
    CHECK(world.worker.order(StageVolume{.record = made}).answer.code == ErrorCode::Ok);
    const auto ended = make_random_id<JobId>();
    fs::create_directory(world.installation.ended(ended));
    for (const char* const place : {"volumes", "trash", "staging"}) {
        fs::create_directory(world.installation.state() / place / "lost+found"); // not ours, not told
    }

    const auto findings = world.worker.survey();
    CHECK(findings.size() == 5 + 1 + 1 + 1 + 2);
    CHECK(volume_in(findings, whole.id).flags == 0);
    CHECK(volume_in(findings, attached.id).flags == kFindingAttached);
    CHECK(volume_in(findings, idle.id).flags == 0);
    CHECK(volume_in(findings, cut.id).flags == kFindingDamaged);
    CHECK(volume_in(findings, unreadable.id).flags == kFindingDamaged);
    CHECK(ids_of(findings, FindingKind::Trash) == Ids{gone.id.bytes});
    CHECK(ids_of(findings, FindingKind::Staging) == Ids{made.id.bytes});
    CHECK(ids_of(findings, FindingKind::RunningJob) == Ids{order.record.id.bytes});
    Ids kept = {order.record.id.bytes, ended.bytes};
    std::ranges::sort(kept);
    CHECK(ids_of(findings, FindingKind::EndedJob) == kept);

    CHECK(fs::exists(world.installation.state() / "staging" / to_string(made.id))); // nothing is mended
    CHECK(world.finish(order.record.id, std::move(job.descriptors)).answer.code == ErrorCode::Ok);
    CHECK(volume_in(world.worker.survey(), attached.id).flags == 0);
}

TEST_CASE("a survey that is longer than an answer is told in several") {
    World world;
    Ids all;
    for (std::size_t i = 0; i < 2 * kFindingsPerAnswer + 1; ++i) {
        const auto id = make_random_id<VolumeId>();
        fs::create_directory(world.installation.trashed(id));
        all.push_back(id.bytes);
    }
    std::ranges::sort(all);
    CHECK(ids_of(world.worker.survey(), FindingKind::Trash) == all);
}

TEST_SUITE("quota") {
    TEST_CASE("a survey tells whose limits the kernel holds, and which are nobody's") {
        World world(StoreKind::Given);
        auto record = make_volume_record("data", 4 * kMiB, Backend::ProjectQuota);
        record.project_id = kProjectFirst + 7;
        create_volume(world.worker, record);
        auto other = make_volume_record("other", 8 * kMiB, Backend::ProjectQuota);
        other.project_id = kProjectLast;
        create_volume(world.worker, other);

        auto findings = world.worker.survey();
        const auto& data = volume_in(findings, record.id);
        CHECK(data.flags == 0);
        CHECK(data.project_id == record.project_id);
        CHECK(data.bytes >= record.size_bytes);
        CHECK(data.bytes < record.size_bytes + kMiB);
        CHECK(volume_in(findings, other.id).bytes >= other.size_bytes);

        std::map<std::uint32_t, std::uint64_t> rows;
        for (const auto& finding : findings) {
            if (finding.kind == FindingKind::QuotaRow) {
                rows[finding.project_id] = finding.bytes;
            }
        }
        CHECK(rows == std::map<std::uint32_t, std::uint64_t>{{record.project_id, data.bytes},
                                                             {other.project_id, volume_in(findings, other.id).bytes}});

        // Without its directory the limit is nobody's, and told all the same
        CHECK(world.worker.order(TrashVolume{.record = other}).answer.code == ErrorCode::Ok);
        findings = world.worker.survey();
        CHECK(std::ranges::count(findings, FindingKind::QuotaRow, &Finding::kind) == 2);
        for (const auto& one : {record, other}) {
            if (one.id == record.id) {
                CHECK(world.worker.order(TrashVolume{.record = one}).answer.code == ErrorCode::Ok);
            }
            CHECK(world.worker.order(EmptyTrash{.id = one.id}).answer.code == ErrorCode::Ok);
        }
        CHECK(world.worker.survey().empty());
    }
}
