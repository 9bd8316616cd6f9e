// The report on the host over the RPC interface: what is held, what is missing and how to get it, and what differs.
#include <doctest/doctest.h>

#include <linux/magic.h>

#include <cerrno>
#include <map>

#include <fmt/format.h>

#include "api-unpriv/host/report.h"
#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

using protocol::Backend;
using protocol::DifferenceKind;

protocol::HostFacts good_host() {
    protocol::HostFacts facts;
    facts.backends = {protocol::BackendReport{Backend::ProjectQuota}, {Backend::Btrfs}, {Backend::Image}, {Backend::Tmpfs}};
    facts.chosen_backend = static_cast<std::uint32_t>(Backend::ProjectQuota);
    facts.store_magic = XFS_SUPER_MAGIC;
    facts.controllers = protocol::kControllersAll;
    facts.required_controllers = protocol::kControllerMemory;
    facts.flags = protocol::kHostNoSwap | protocol::kHostOnlineGrow;
    facts.slot_first = 0x70000000;
    facts.slot_count = 100;
    facts.device_count = 2;
    facts.devices[0] = {8, 0};
    facts.devices[1] = {259, 3};
    return facts;
}
protocol::HostFacts bare_host() {
    auto facts = good_host();
    facts.backends = {protocol::BackendReport{Backend::ProjectQuota, ErrorCode::Unsupported, Step::SetQuota, ESRCH},
                      {Backend::Btrfs, ErrorCode::Unsupported, Step::LimitSubvolume, ENOTCONN},
                      {Backend::Image, ErrorCode::Unsupported, Step::HoldLimit, 0},
                      {Backend::Tmpfs, ErrorCode::Internal, Step::MountTmpfs, EPERM}};
    facts.chosen_backend = static_cast<std::uint32_t>(Backend::Auto);
    facts.store_magic = TMPFS_MAGIC;
    facts.controllers = 0;
    facts.flags = 0;
    facts.device_count = 0;
    facts.audit_errno = ENOSPC;
    return facts;
}

std::map<std::string, HostCheck> by_subject(const protocol::HostFacts& facts) {
    std::map<std::string, HostCheck> out;
    for (const auto& check : checks_of(facts)) {
        CHECK(out.emplace(check.subject, check).second);
        CHECK_FALSE(check.detail.empty());
        CHECK(check.ok == (check.lost.empty() && check.remedy.empty()));
        CHECK(check.lost.empty() == check.remedy.empty());
    }
    return out;
}
bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("a host that holds everything has no check that fails") {
    const auto checks = by_subject(good_host());
    std::vector<std::string> subjects;
    for (const auto& [subject, check] : checks) {
        CAPTURE(subject);
        CHECK(check.ok);
        subjects.push_back(subject);
    }
    CHECK(subjects == std::vector<std::string>{"audit", "backend auto", "backend btrfs", "backend image", "backend project-quota",
                                               "backend tmpfs", "block devices", "controller cpu", "controller io", "controller memory",
                                               "controller pids", "idmap btrfs", "idmap ext4 in images", "idmap xfs", "image growth",
                                               "memory volumes", "store"});
    CHECK(checks.at("store").detail == "xfs");
    CHECK(checks.at("backend auto").detail == "takes project-quota");
    CHECK(checks.at("block devices").detail == "below the store: 8:0 259:3");
    CHECK(checks.at("controller memory").detail == "holds limits of jobs; broker.toml requires it");
    CHECK(checks.at("controller cpu").detail == "holds limits of jobs");
}

TEST_CASE("a host that holds nothing says of each thing what is lost and how to get it") {
    const auto checks = by_subject(bare_host());
    for (const auto& [subject, check] : checks) {
        CAPTURE(subject);
        CHECK_FALSE(check.ok);
    }
    CHECK(checks.size() == 14); // of no file system is known whether it can be idmapped
    auto unmapped = bare_host();
    unmapped.backends[2] = {Backend::Image, ErrorCode::Unsupported, Step::IdmapVolume, EINVAL};
    CHECK(by_subject(unmapped).at("idmap ext4 in images").lost == "volumes of backend image");
    CHECK(contains(checks.at("audit").lost, "refused"));
    CHECK(contains(checks.at("audit").detail, "No space left"));
    CHECK(contains(checks.at("backend project-quota").remedy, "prjquota"));
    CHECK(checks.at("backend project-quota").detail == "could not limit the directory by a project quota: No such process");
    CHECK(contains(checks.at("backend btrfs").remedy, "btrfs quota enable"));
    CHECK(contains(checks.at("backend image").remedy, "let more be written"));
    CHECK(contains(checks.at("backend tmpfs").remedy, "log of the service"));
    CHECK(contains(checks.at("controller memory").lost, "memfd"));
    CHECK(contains(checks.at("controller memory").detail, "broker.toml requires it"));
    for (const auto* name : {"cpu", "io", "memory", "pids"}) {
        const auto& check = checks.at(fmt::format("controller {}", name));
        CHECK(contains(check.remedy, "jobletd --enable-controllers"));
        CHECK(contains(check.remedy, "systemd.unified_cgroup_hierarchy"));
        CHECK(contains(check.lost, "refused"));
    }
    CHECK(contains(checks.at("block devices").lost, "I/O"));
    CHECK(contains(checks.at("memory volumes").remedy, "Linux 6.4"));
    CHECK(contains(checks.at("image growth").remedy, "CAP_SYS_RESOURCE"));
}

TEST_CASE("a file system without a name is told by its number, and an old kernel is told from one without quotas") {
    auto facts = good_host();
    facts.store_magic = 0x6969;
    facts.backends[0] = {Backend::ProjectQuota, ErrorCode::Unsupported, Step::SetQuota, ENOSYS};
    facts.backends[1] = {}; // was not tried
    const auto checks = by_subject(facts);
    CHECK(checks.at("store").detail == "0x6969");
    CHECK(contains(checks.at("backend project-quota").remedy, "Linux 5.14"));
    CHECK_FALSE(checks.contains("backend btrfs"));
    for (const auto& [magic, name] :
         {std::pair{EXT4_SUPER_MAGIC, "ext4"}, {BTRFS_SUPER_MAGIC, "btrfs"}, {OVERLAYFS_SUPER_MAGIC, "overlay"}}) {
        facts.store_magic = static_cast<std::uint32_t>(magic);
        CHECK(by_subject(facts).at("store").detail == name);
    }
}

TEST_CASE("every kind of difference is one sentence, with the ids that it is about and the names that are known") {
    VolumeIndex volumes;
    protocol::VolumeEntry entry;
    entry.id = make_random_id<VolumeId>();
    entry.name = NameText("data");
    entry.owner_uid = kAlice;
    volumes.put(entry, {});
    std::set<std::string> sentences;
    for (std::uint32_t kind = 1; kind < protocol::kDifferenceKindCount; ++kind) {
        protocol::Difference difference;
        difference.kind = static_cast<DifferenceKind>(kind);
        difference.id = entry.id.bytes;
        difference.there = 11;
        difference.expected = 22;
        const auto sentence = sentence_of(difference, volumes);
        CAPTURE(sentence);
        CHECK(sentences.insert(sentence).second);
        CHECK_FALSE(sentence.ends_with('.'));
        const bool is_of_nobody = difference.kind == DifferenceKind::QuotaWithoutVolume;
        CHECK(contains(sentence, to_string(entry.id)) == !is_of_nobody);
        CHECK(contains(sentence, "11") ==
              (is_of_nobody || difference.kind == DifferenceKind::QuotaDiffers || difference.kind == DifferenceKind::ProjectDiffers ||
               difference.kind == DifferenceKind::SharedSlot || contains(to_string(entry.id), "11")));
    }
    protocol::Difference quota{entry.id.bytes, DifferenceKind::QuotaDiffers, 0, 2 * kMebibyte, kMebibyte};
    CHECK(sentence_of(quota, volumes) == fmt::format("the kernel holds volume {} (\"data\" of uid 1000) to 2.0 MiB (2097152 bytes), and "
                                                     "its record says 1.0 MiB (1048576 bytes)",
                                                     to_string(entry.id)));
    quota.kind = DifferenceKind::JobWithoutGroup;
    CHECK(sentence_of(quota, volumes) == fmt::format("job {} is alive, and its cgroup is gone", to_string(entry.id)));
}

TEST_CASE("everybody is told what the host holds, and admins also what differs") {
    World world;
    auto facts = good_host();
    facts.controllers = protocol::kControllerCpu;
    facts.reply.count = 2;
    facts.reply.flags = protocol::kReplyMore;
    facts.differences[0].kind = DifferenceKind::QuotaWithoutVolume;
    facts.differences[0].there = 3;
    facts.differences[1].kind = DifferenceKind::LeftInStaging;
    facts.differences[1].id = make_random_id<VolumeId>().bytes;
    world.broker.set_host(facts);
    Client alice(world, kAlice);
    Client admin(world, 0, true);
    const auto examined = alice.wait(alice.host.doctorRequest().send());
    REQUIRE(examined.getResult().isValue());
    const auto report = examined.getResult().getValue();
    CHECK(world.broker.asked<protocol::HostReport>().back().authority == protocol::Authority::User);
    CHECK_FALSE(report.getCompared());
    CHECK(report.getDifferences().size() == 0);
    CHECK_FALSE(report.getMoreDifferences());
    CHECK(report.getSlotFirst() == 0x70000000);
    CHECK(report.getSlotCount() == 100);
    REQUIRE(report.getChecks().size() == 18);
    int failing = 0;
    for (const auto check : report.getChecks()) {
        failing += check.getOk() ? 0 : 1;
        CHECK(check.getOk() == (check.getLost().size() == 0));
        CHECK(check.getOk() == (check.getRemedy().size() == 0));
        CHECK(check.getSubject().size() != 0);
    }
    CHECK(failing == 3);

    const auto by_admin = admin.wait(admin.host.doctorRequest().send());
    const auto all = by_admin.getResult().getValue();
    CHECK(world.broker.asked<protocol::HostReport>().back().authority == protocol::Authority::Admin);
    CHECK(all.getCompared());
    CHECK(all.getMoreDifferences());
    REQUIRE(all.getDifferences().size() == 2);
    CHECK(text(all.getDifferences()[0]) == "the kernel has a quota for project 3, and no volume has that project");

    protocol::Reply busy;
    busy.code = ErrorCode::Unavailable;
    world.broker.refuse_next(busy);
    CHECK(alice.wait(alice.host.doctorRequest().send()).getResult().getError().getCode() == rpc::ErrorCode::UNAVAILABLE);
}
