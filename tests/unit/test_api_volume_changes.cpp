// Changes of volumes over the RPC interface: exactly what the broker is asked, what comes back, and what is refused before.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include "tests/unit/api_world.h"

using namespace joblet;
using namespace joblet::api;
using namespace joblet::api::test;

namespace {

using LabelList = std::vector<std::pair<std::string, std::string>>;

auto rename_request(Client& client, const std::string& volume, const std::string& name) {
    auto request = client.volumes.renameVolumeRequest();
    request.getSelector().setVolume(volume);
    request.setName(name);
    return request;
}
auto label_request(Client& client, const std::string& volume, const LabelList& set, const std::vector<std::string>& remove) {
    auto request = client.volumes.labelVolumeRequest();
    request.getSelector().setVolume(volume);
    auto labels = request.initSet(static_cast<unsigned>(set.size()));
    for (unsigned i = 0; i < labels.size(); ++i) {
        labels[i].setKey({set[i].first.c_str(), set[i].first.size()});
        labels[i].setValue({set[i].second.c_str(), set[i].second.size()});
    }
    auto keys = request.initRemove(static_cast<unsigned>(remove.size()));
    for (unsigned i = 0; i < keys.size(); ++i) {
        keys.set(i, remove[i]);
    }
    return request;
}
auto protect_request(Client& client, const std::string& volume, bool is_protected) {
    auto request = client.volumes.protectVolumeRequest();
    request.getSelector().setVolume(volume);
    request.setProtected(is_protected);
    return request;
}
auto restore_request(Client& client, const std::string& volume, const std::string& name = {}) {
    auto request = client.volumes.restoreVolumeRequest();
    request.getSelector().setVolume(volume);
    request.setName(name);
    return request;
}
auto delete_request(Client& client, const std::string& volume, bool now = false, bool force = false) {
    auto request = client.volumes.deleteVolumeRequest();
    request.getSelector().setVolume(volume);
    request.setNow(now);
    request.setForce(force);
    return request;
}

std::string labels_of(rpc::Volume::Reader volume) {
    std::string out;
    for (const auto label : volume.getLabels()) {
        out += text(label.getKey()) + "=" + text(label.getValue()) + ";";
    }
    return out;
}

} // namespace

TEST_CASE("a volume is renamed: the broker is asked for exactly that, and the answer is the volume as it is now") {
    World world;
    Client alice(world, kAlice);
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());
    REQUIRE(alice.create("other", kMebibyte).getResult().isValue());

    const auto renamed = alice.wait(rename_request(alice, "data", "archive").send());
    REQUIRE(renamed.getResult().isValue());
    CHECK(text(renamed.getResult().getValue().getName()) == "archive");
    const auto asked = world.broker.asked<protocol::RenameVolume>();
    REQUIRE(asked.size() == 1);
    CHECK(to_string(asked[0].id) == text(renamed.getResult().getValue().getId()));
    CHECK(asked[0].name.view() == "archive");
    CHECK(alice.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(alice.get("archive").getResult().isValue());

    const auto taken = alice.wait(rename_request(alice, "archive", "other").send());
    CHECK(taken.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(text(taken.getResult().getError().getMessage()) == "cannot rename volume \"archive\" to \"other\": the name is taken");
    CHECK(text(taken.getResult().getError().getHint()) == "choose another name");
    const auto invalid = alice.wait(rename_request(alice, "archive", "a/b").send());
    CHECK(field(invalid.getResult().getError(), "field") == "name");
    CHECK(alice.wait(rename_request(alice, "nosuch", "x").send()).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    CHECK(world.broker.asked<protocol::RenameVolume>().size() == 2);
}

TEST_CASE("labels are set and removed on top of what is there") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data", std::string_view("a\0001\0b\0002\0", 8)); });
    Client alice(world, kAlice);
    const auto changed = alice.wait(label_request(alice, "data", {{"c", "3"}, {"a", "new"}}, {"b", "unknown"}).send());
    REQUIRE(changed.getResult().isValue());
    CHECK(labels_of(changed.getResult().getValue()) == "a=new;c=3;");
    const auto asked = world.broker.asked<protocol::LabelVolume>();
    REQUIRE(asked.size() == 1);
    CHECK(std::string(asked[0].labels.begin(), asked[0].labels.begin() + asked[0].labels_size) == std::string_view("a\0new\0c\0003\0", 10));
    CHECK(labels_of(alice.get("data").getResult().getValue()) == "a=new;c=3;");
}

TEST_CASE("changes of one volume's labels that come at once all count, also of a client that goes away") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    constexpr int kCalls = 20;
    kj::Vector<kj::Promise<bool>> calls;
    std::string expected;
    for (int i = 0; i < kCalls; ++i) {
        calls.add(label_request(alice, "data", {{fmt::format("k{:02}", i), "v"}}, {}).send().then([](auto&& answer) {
            return answer.getResult().isValue();
        }));
        expected += fmt::format("k{:02}=v;", i);
    }
    {
        auto given_up = label_request(alice, "data", {{"z", "kept"}}, {}).send();
    }
    for (const bool done : alice.wait(kj::joinPromises(calls.releaseAsArray()))) {
        CHECK(done);
    }
    const auto last = alice.wait(label_request(alice, "data", {}, {"k00"}).send());
    const auto labels = labels_of(last.getResult().getValue());
    CHECK(labels.starts_with(expected.substr(expected.find(';') + 1)));
    CHECK(world.broker.asked<protocol::LabelVolume>().size() >= kCalls + 1);
}

TEST_CASE("labels that are wrong are refused before the broker is asked, each with what is wrong") {
    World world([](FakeBroker& broker) {
        broker.add_volume(kAlice, "data", std::string("full\0", 5) + std::string(200, 'x') + std::string(1, '\0'));
    });
    Client alice(world, kAlice);
    struct Row {
        LabelList set;
        std::vector<std::string> remove;
        const char* at;
        const char* says;
    };
    LabelList many;
    for (int i = 0; i < 16; ++i) {
        many.emplace_back(fmt::format("k{:02}", i), std::string(250, 'v')); // by themselves they fit: 16 * 255 bytes
    }
    const Row rows[] = {
        {{{"-a", "x"}}, {}, "set", "a label's key is 1 to 63 characters"},
        {{{"", "x"}}, {}, "set", "a label's key is 1 to 63 characters"},
        {{{std::string(64, 'a'), "x"}}, {}, "set", "a label's key is 1 to 63 characters"},
        {{{"a", std::string(256, 'x')}}, {}, "set", "the value of label \"a\" is not at most 255 bytes"},
        {{{"a", "\xff"}}, {}, "set", "the value of label \"a\""},
        {{{"a", "x\ny"}}, {}, "set", "the value of label \"a\""},
        {{{"a", std::string("x\0y", 3)}}, {}, "set", "the value of label \"a\""},
        {{{"a", "\x1b[2J"}}, {}, "set", "the value of label \"a\""},
        {{{"a", "1"}, {"a", "2"}}, {}, "set", "label \"a\" is given twice"},
        {{}, {"a b"}, "remove", "a label's key is 1 to 63 characters"},
        {{}, {"a", "a"}, "remove", "label \"a\" is given twice"},
        {{{"a", "1"}}, {"b", "a"}, "remove", "label \"a\" is both set and removed"},
        {many, {}, "set", "the labels of one volume have more than 4096 bytes in all"},
    };
    for (const auto& row : rows) {
        CAPTURE(row.says);
        const auto answer = alice.wait(label_request(alice, "data", row.set, row.remove).send());
        REQUIRE(answer.getResult().isError());
        CHECK(answer.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
        CHECK(field(answer.getResult().getError(), "field") == row.at);
        CHECK(text(answer.getResult().getError().getMessage()).starts_with(row.says));
    }
    CHECK(world.broker.asked<protocol::LabelVolume>().empty());
    CHECK(alice.wait(label_request(alice, "data", many, {"full"}).send()).getResult().isValue());
}

TEST_CASE("a protected volume is deleted by nobody until the protection ends") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    Client admin(world, 0, true);
    const auto is_protected = alice.wait(protect_request(alice, "data", true).send());
    REQUIRE(is_protected.getResult().isValue());
    CHECK(is_protected.getResult().getValue().getProtected());
    const auto asked = world.broker.asked<protocol::ProtectVolume>();
    REQUIRE(asked.size() == 1);
    CHECK(asked[0].is_protected == 1);
    CHECK(asked[0].authority == protocol::Authority::User);

    auto by_admin = delete_request(admin, "data", true, true);
    by_admin.getSelector().initScope().setUser(kAlice);
    const auto refused_admin = admin.wait(by_admin.send());
    CHECK(refused_admin.getResult().getError().getCode() == rpc::ErrorCode::PERMISSION_DENIED);
    const auto refused = alice.wait(delete_request(alice, "data").send());
    CHECK(text(refused.getResult().getError().getMessage()) == "volume \"data\" is protected");
    CHECK(text(refused.getResult().getError().getHint()) == "end the protection first");

    auto end = protect_request(admin, "data", false);
    end.getSelector().initScope().setEverybody();
    const auto ended = admin.wait(end.send());
    REQUIRE(ended.getResult().isValue());
    CHECK_FALSE(ended.getResult().getValue().getProtected());
    CHECK(world.broker.asked<protocol::ProtectVolume>().back().authority == protocol::Authority::Admin);
    CHECK(alice.wait(delete_request(alice, "data").send()).getResult().isValue());
}

TEST_CASE("a deleted volume is in the trash: its name is free, its id finds it, and `now` ends it") {
    World world;
    Client alice(world, kAlice);
    const auto id = text(alice.create("data", kMebibyte).getResult().getValue().getVolume().getId());
    REQUIRE(alice.wait(delete_request(alice, "data").send()).getResult().isValue());
    CHECK(world.broker.asked<protocol::DeleteVolume>().back().flags == 0);
    CHECK(alice.get("data").getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    const auto trashed = alice.get(id.substr(0, 10));
    REQUIRE(trashed.getResult().isValue());
    CHECK(trashed.getResult().getValue().getStatus() == rpc::VolumeStatus::TRASHED);
    CHECK(trashed.getResult().getValue().getTrashedUntilNs() == 5000);

    const auto again = alice.wait(delete_request(alice, id).send());
    CHECK(again.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(text(again.getResult().getError().getMessage()) == "volume \"data\" is in the trash already");
    for (const auto& refused : {text(alice.wait(rename_request(alice, id, "x").send()).getResult().getError().getMessage()),
                                text(alice.wait(label_request(alice, id, {}, {}).send()).getResult().getError().getMessage()),
                                text(alice.wait(protect_request(alice, id, true).send()).getResult().getError().getMessage())}) {
        CHECK(refused == "volume \"data\" is in the trash");
    }

    // a name means the living one first, then what is in the trash
    REQUIRE(alice.create("data", kMebibyte).getResult().isValue());
    REQUIRE(alice.wait(delete_request(alice, "data", true).send()).getResult().isValue());
    CHECK(world.broker.asked<protocol::DeleteVolume>().back().flags == protocol::kDeleteNow);
    CHECK(alice.get(id).getResult().isValue());
    REQUIRE(alice.wait(delete_request(alice, "data", true).send()).getResult().isValue());
    CHECK(to_string(world.broker.asked<protocol::DeleteVolume>().back().id) == id);
    CHECK(alice.get(id).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
}

TEST_CASE("what is in the trash is restored, under its own name or another one") {
    std::vector<protocol::VolumeEntry> trashed;
    World world([&trashed](FakeBroker& broker) {
        broker.add_volume(kAlice, "data");
        for (const auto* name : {"data", "twice", "twice"}) {
            trashed.push_back(broker.add_trashed(kAlice, name));
        }
        broker.add_trashed(kBob, "foreign");
    });
    Client alice(world, kAlice);
    const auto taken = alice.wait(restore_request(alice, "data").send());
    CHECK(taken.getResult().getError().getCode() == rpc::ErrorCode::CONFLICT);
    CHECK(text(taken.getResult().getError().getMessage()) == "cannot restore volume \"data\": the name is taken");
    CHECK(text(taken.getResult().getError().getHint()).find("--as") != std::string::npos);
    const auto restored = alice.wait(restore_request(alice, "data", "data2").send());
    REQUIRE(restored.getResult().isValue());
    CHECK(text(restored.getResult().getValue().getName()) == "data2");
    CHECK(restored.getResult().getValue().getStatus() == rpc::VolumeStatus::AVAILABLE);
    const auto asked = world.broker.asked<protocol::RestoreVolume>();
    REQUIRE(asked.size() == 2);
    CHECK(asked[0].name.empty());
    CHECK(asked[1].name.view() == "data2");
    CHECK(asked[1].id == trashed[0].id);

    const auto ambiguous = alice.wait(restore_request(alice, "twice").send());
    const auto error = ambiguous.getResult().getError();
    CHECK(error.getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(text(error.getHint()) == "give the id");
    int named = 0;
    for (const auto one : error.getFields()) {
        named += text(one.getName()) == "volume" ? 1 : 0;
    }
    CHECK(named == 2);
    for (const auto& one : {trashed[1], trashed[2]}) {
        CHECK(text(error.getMessage()).find(to_string(one.id)) != std::string::npos);
    }
    CHECK(alice.wait(restore_request(alice, to_string(trashed[1].id).substr(0, 12)).send()).getResult().isValue());
    for (const auto* not_there : {"data", "foreign", "nosuch", ""}) { // what is not in the trash, or not hers
        CHECK(alice.wait(restore_request(alice, not_there, "x").send()).getResult().getError().getCode() == rpc::ErrorCode::NOT_FOUND);
    }
    CHECK(field(alice.wait(restore_request(alice, "twice", "a b").send()).getResult().getError(), "field") == "name");
}

TEST_CASE("whoever deletes a volume in use is told of every job that has it, and force detaches it first") {
    World world;
    Client alice(world, kAlice);
    const auto id = *parse_id<VolumeId>(text(alice.create("data", kMebibyte).getResult().getValue().getVolume().getId()));
    std::set<std::string> jobs;
    for (int i = 0; i < 2; ++i) {
        jobs.insert(to_string(world.add_job(kAlice, {id})));
    }
    world.add_job(kAlice, {});
    const auto refused = alice.wait(delete_request(alice, "data").send());
    const auto error = refused.getResult().getError();
    CHECK(error.getCode() == rpc::ErrorCode::IN_USE);
    CHECK(text(error.getMessage()) ==
          fmt::format("cannot remove volume \"data\": volume \"data\" is in use by jobs {}, {}", *jobs.begin(), *jobs.rbegin()));
    std::multiset<std::string> named;
    for (const auto one : error.getFields()) {
        if (text(one.getName()) == "job") {
            named.insert(text(one.getValue()));
        }
    }
    CHECK(named == std::multiset<std::string>(jobs.begin(), jobs.end()));

    // one that is not known here is named as well
    protocol::Reply unknown;
    unknown.code = ErrorCode::InUse;
    unknown.volume = id;
    unknown.job = make_random_id<JobId>();
    world.broker.refuse_next(unknown);
    const auto other = alice.wait(delete_request(alice, "data").send());
    CHECK(field(other.getResult().getError(), "job") == to_string(unknown.job));
    CHECK(text(other.getResult().getError().getMessage()).find(*jobs.begin()) != std::string::npos);

    REQUIRE(alice.wait(delete_request(alice, "data", true, true).send()).getResult().isValue());
    CHECK(world.broker.asked<protocol::DeleteVolume>().back().flags == (protocol::kDeleteForce | protocol::kDeleteNow));
    auto inspect = alice.jobs.getJobRequest();
    inspect.getSelector().setJob(*jobs.begin());
    CHECK(alice.wait(inspect.send()).getResult().getValue().getVolumes().size() == 0);
}

TEST_CASE("waiting for a volume's contents to go is possible only where they go") {
    World world([](FakeBroker& broker) { broker.add_volume(kAlice, "data"); });
    Client alice(world, kAlice);
    auto request = delete_request(alice, "data");
    request.setWait(true);
    const auto refused = alice.wait(request.send());
    CHECK(refused.getResult().getError().getCode() == rpc::ErrorCode::INVALID_ARGUMENT);
    CHECK(field(refused.getResult().getError(), "field") == "wait");
    CHECK(world.broker.asked<protocol::DeleteVolume>().empty());
    request = delete_request(alice, "data", true);
    request.setWait(true);
    CHECK(alice.wait(request.send()).getResult().isValue());
    CHECK(world.broker.asked<protocol::DeleteVolume>().back().flags == (protocol::kDeleteNow | protocol::kDeleteWait));
}
