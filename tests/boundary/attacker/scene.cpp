#include "tests/boundary/attacker/scene.h"

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include <fmt/format.h>

namespace joblet::testing {

namespace fs = std::filesystem;

std::uint64_t test_seed() {
    static const std::uint64_t seed = [] {
        const char* const given = std::getenv("JOBLET_TEST_SEED");
        const std::uint64_t out = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
        fmt::print("JOBLET_TEST_SEED={}\n", out);
        return out;
    }();
    return seed;
}

std::size_t steps_of(std::size_t brief, std::size_t lengthy) {
    const char* const word = std::getenv("JOBLET_TEST_LONG");
    return word != nullptr && std::string_view(word) == "1" ? lengthy : brief;
}

protocol::CreateVolume volume_request(const std::string& name, VolumeType type, std::uint64_t bytes) {
    protocol::CreateVolume request;
    request.name = NameText(name);
    request.size_bytes = bytes;
    request.type = type;
    return request;
}

protocol::StartJob job_request(const std::vector<VolumeId>& volumes, std::uint32_t flags) {
    protocol::StartJob request;
    request.base = NameText("minimal");
    request.flags = flags;
    request.channel = (flags & protocol::kStartDryRun) != 0 ? 0 : kNoChannel;
    for (const auto& id : volumes) {
        request.volumes[request.volume_count++].id = id;
    }
    return request;
}

protocol::DeleteVolume removal_of(const VolumeId& id, std::uint32_t flags) {
    protocol::DeleteVolume request;
    request.id = id;
    request.flags = flags;
    return request;
}

protocol::SignalJob kill_of(const JobId& id) {
    protocol::SignalJob request;
    request.id = id;
    request.signal = SIGKILL;
    return request;
}

namespace {

// Of each file in a volume's directory: owner, mode, time of change, bytes. The record apart, which is compared with the model: a
// broker writes the time of last use into it when it likes.
std::string look_at_volume(const std::string& directory) {
    std::string out;
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(directory)) {
        paths.push_back(entry.path());
    }
    std::ranges::sort(paths);
    for (const auto& path : paths) {
        struct stat s{};
        ::lstat(path.c_str(), &s);
        out += path.filename() == "record"
                   ? std::string()
                   : fmt::format("{} {:o} {}:{} {} {}.{} {:x}\n", path.filename().string(), s.st_mode, s.st_uid, s.st_gid, s.st_size,
                                 s.st_ctim.tv_sec, s.st_ctim.tv_nsec, std::hash<std::string>{}(read_file(path)));
    }
    return out;
}

} // namespace

Scene::Scene(Attack& on) : attack(on) {
    const Connection victim = attack.connect(kVictim);
    of_victim = make_volume(victim, VolumeType::Filesystem);
    const auto started =
        attack.reply_to(victim, provided(victim, job_request({of_victim}), {"sh", "-c", "echo only for me > /volumes/*/secret"}));
    REQUIRE(started.code == ErrorCode::Ok);
    REQUIRE(becomes_true([&] {
        attack.read_on();
        return attack.model().jobs().at(started.job).ended;
    }));
    protocol::ProtectVolume settled; // after what the job's end has still to write
    settled.id = of_victim;
    settled.is_protected = 1;
    REQUIRE(attack.reply_to(victim, settled).code == ErrorCode::Ok);
    protocol::ReleaseJob release;
    release.id = started.job;
    REQUIRE(attack.reply_to(victim, release).code == ErrorCode::Ok);
    attack.hang_up(victim);
    gone = victim;
    restore();
    attack.check("the beginning");
    victim_before_ = look_at_volume(attack.here().state() + "/volumes/" + to_string(of_victim));
}

bool Scene::has(const VolumeId& id) const {
    const auto found = attack.model().volumes().find(id);
    return found != attack.model().volumes().end() && !found->second.trashed;
}

VolumeId Scene::make_volume(Connection connection, VolumeType type) const {
    static int count = 0;
    const auto made = attack.reply_to(connection, volume_request(fmt::format("v{}", ++count), type));
    if (made.code != ErrorCode::Ok) {
        throw std::runtime_error(fmt::format("no volume: {} ({})", error_code_name(made.code), step_phrase(made.step)));
    }
    return made.volume;
}

JobInput& Scene::open_input(Connection connection, const std::vector<std::string>& arguments) {
    JobInput& input = inputs.emplace_back();
    auto incoming = attack.ask(connection, protocol::CreateChannel{});
    const auto reply = Attack::plain(incoming);
    if (reply.code != ErrorCode::Ok) {
        return input;
    }
    const auto spec = encode_job_spec({arguments, {"PATH=/bin:/sbin"}, "/work"});
    if (!spec || write_spec_memory(incoming.descriptors.at(protocol::kSpecMemory).get(), *spec) != 0) {
        throw std::runtime_error("no command for a job");
    }
    input.channel = reply.sequence;
    input.peer = std::move(incoming.descriptors.at(protocol::kUsersEnd));
    return input;
}

void Scene::provide(protocol::Request& request) {
    if (auto* const start = std::get_if<protocol::StartJob>(&request); start != nullptr && start->channel == kNoChannel) {
        start->channel = open_input(start->header.connection).channel;
    }
}

JobId Scene::start_job(Connection connection, const std::vector<VolumeId>& volumes, std::uint32_t flags) {
    const auto started = attack.reply_to(connection, provided(connection, job_request(volumes, flags)));
    if (started.code != ErrorCode::Ok) {
        throw std::runtime_error(fmt::format("no job: {} ({})", error_code_name(started.code), step_phrase(started.step)));
    }
    return started.job;
}

void Scene::restore() {
    for (const auto& [connection, uid] : {std::pair{&alice, kAlice}, {&bob, kBob}, {&admin, kAdmin}}) {
        if (!attack.is_open(*connection)) {
            *connection = attack.connect(uid);
        }
    }
    forged = alice + (std::uint64_t{1} << 20U);
    for (const auto& [id, owner, type] : {std::tuple{&memory, alice, VolumeType::Memory},
                                          {&disk, alice, VolumeType::Filesystem},
                                          {&held, alice, VolumeType::Memory},
                                          {&of_bob, bob, VolumeType::Memory}}) {
        if (!has(*id)) {
            *id = make_volume(owner, type);
        }
    }
    attack.read_on();
    const auto running = attack.model().jobs().find(job);
    if (running != attack.model().jobs().end() && !running->second.ended && running->second.volumes.contains(held)) {
        return;
    }
    if (running != attack.model().jobs().end() && !running->second.ended) {
        (void)attack.reply_to(alice, kill_of(job));
    }
    if (!attack.model().holders(held).empty()) {
        end_other_jobs(); // one of them has got it
    }
    job = start_job(alice, {held});
}

void Scene::end_other_jobs() {
    attack.read_on();
    if (attack.model().alive() <= 1) {
        return;
    }
    const auto as_root = attack.connect(0);
    const auto before = attack.model().jobs();
    for (const auto& [id, one] : before) {
        if (!one.ended && id != job) {
            auto end = kill_of(id);
            end.authority = Authority::Admin;
            (void)attack.reply_to(as_root, end);
        }
    }
    attack.hang_up(as_root);
    CHECK(becomes_true([&] {
        attack.read_on();
        return attack.model().alive() <= 1;
    }));
}

void Scene::tidy() {
    restore();
    end_other_jobs();
    const auto as_root = attack.connect(0);
    const auto before = attack.model().jobs();
    for (const auto& [id, one] : before) {
        if (id != job) {
            protocol::ReleaseJob release;
            release.id = id;
            CHECK(attack.reply_to(kNobody, release).code == ErrorCode::Ok);
        }
    }
    const auto volumes = attack.model().volumes();
    const std::set<VolumeId> kept = {memory, disk, held, of_bob, of_victim};
    for (const auto& [id, one] : volumes) {
        if (kept.contains(id)) {
            continue;
        }
        if (one.is_protected && !one.trashed) {
            protocol::ProtectVolume end;
            end.id = id;
            end.authority = Authority::Admin;
            CHECK(attack.reply_to(as_root, end).code == ErrorCode::Ok);
        }
        auto removal = removal_of(id);
        removal.authority = Authority::Admin;
        CHECK(attack.reply_to(as_root, removal).code == ErrorCode::Ok);
    }
    inputs.erase(inputs.begin(), inputs.end() - std::min<std::ptrdiff_t>(1, std::ssize(inputs)));
    attack.hang_up(as_root);
    attack.check("tidying");
}

void Scene::check_victim() const {
    const auto found = attack.model().volumes().find(of_victim);
    REQUIRE(found != attack.model().volumes().end());
    CHECK(found->second.is_protected);
    CHECK(!found->second.trashed);
    CHECK(look_at_volume(attack.here().state() + "/volumes/" + to_string(of_victim)) == victim_before_);
}

} // namespace joblet::testing
