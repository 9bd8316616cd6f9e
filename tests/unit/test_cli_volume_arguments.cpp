// What rnx volume takes on its command line, and how it refuses everything else.
#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "tests/unit/cli_words.h"

using namespace joblet;
using namespace joblet::cli;

TEST_CASE("volume create takes a name, a size in any form and a type") {
    const auto create = taken<VolumeCreate>({"volume", "create", "data", "--size=1GB"});
    CHECK(create.name == "data");
    CHECK(create.size_bytes == std::uint64_t{1} << 30U);
    CHECK(create.kind == VolumeKind::Filesystem);
    CHECK(taken<VolumeCreate>({"volume", "create", "--size", "5mb", "--type", "memory", "data"}).kind == VolumeKind::Memory);
    CHECK(create.backend == VolumeBackend::Auto);
    CHECK(create.inodes == 0);
    CHECK(create.labels.empty());
    CHECK(taken<VolumeCreate>({"volume", "create", "data", "--size=1.5Ki", "--type=filesystem"}).size_bytes == 1536);
}

TEST_CASE("volume create takes a backend, a number of inodes and labels") {
    const auto create = taken<VolumeCreate>({"volume", "create", "--label", "team=blue", "data", "--size=1GB", "--backend=btrfs",
                                             "--inodes", "10000", "--label=a/b.c=x=y", "--label", "empty="});
    CHECK(create.name == "data");
    CHECK(create.backend == VolumeBackend::Btrfs);
    CHECK(create.inodes == 10000);
    CHECK(create.labels == std::vector<Label>{{"team", "blue"}, {"a/b.c", "x=y"}, {"empty", ""}});
    const auto list = taken<VolumeCreate>({"volume", "create", "data", "--size=1GB", "--label", "list=[a,b]"});
    CHECK(list.labels == std::vector<Label>{{"list", "[a,b]"}});
}

TEST_CASE("a type and a backend that cannot hold it are refused before a daemon is asked") {
    struct Row {
        std::string type; // empty: not given
        std::string backend;
        bool fits;
    };
    for (const auto& [type, backend, fits] : {
             Row{"memory", "tmpfs", true},
             Row{"memory", "auto", true},
             Row{"memory", "btrfs", false},
             Row{"memory", "image", false},
             Row{"memory", "project-quota", false},
             Row{"filesystem", "btrfs", true},
             Row{"filesystem", "auto", true},
             Row{"filesystem", "tmpfs", false},
             Row{"", "image", true},
             Row{"", "project-quota", true},
             Row{"", "tmpfs", false},
         }) {
        CAPTURE(type);
        CAPTURE(backend);
        Words words = {"volume", "create", "data", "--size=1MB", "--backend=" + backend};
        if (!type.empty()) {
            words.push_back("--type=" + type);
        }
        CHECK(parse(words).has_value() == fits);
        if (!fits) {
            const auto problem = refused(words);
            CHECK(problem.exit_status == kExitUsage);
            CHECK(mentions(problem.error.message, backend));
            CHECK(mentions(problem.error.hint, "--type="));
        }
    }
}

TEST_CASE("a malformed create is refused with the accepted forms") {
    check_refused({
        {{"volume", "create"}, "NAME", "usage: rnx volume create"},
        {{"volume", "create", "data"}, "--size is required", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size"}, "--size needs a value", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size="}, "--size needs a value", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size=1MB", "--size=2MB"}, "--size is given more than once", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size=1XB"}, "\"1XB\"", "1.5TiB"},
        {{"volume", "create", "data", "--size=0"}, "\"0\"", "above zero"},
        {{"volume", "create", "data", "--size=-1"}, "\"-1\"", "above zero"},
        {{"volume", "create", "data", "--size=99999999999TB"}, "\"99999999999TB\"", "at most"},
        {{"volume", "create", "../etc", "--size=1MB"}, "\"../etc\"", "1 to 63 characters"},
        {{"volume", "create", "", "--size=1MB"}, "\"\"", "1 to 63 characters"},
        {{"volume", "create", std::string(64, 'a'), "--size=1MB"}, "aaaa", "1 to 63 characters"},
        {{"volume", "create", "data", "--size=1MB", "--type=disk"}, "\"disk\"", "filesystem and memory"},
        {{"volume", "create", "data", "more", "--size=1MB"}, "more", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size=1MB", "--bogus"}, "--bogus", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size=1MB", "--format=xml"}, "\"xml\"", "table, json and yaml"},
        // An option is not given by a variable that is empty
        {{"volume", "create", "data", "--size=1MB", "--type", ""}, "--type needs a value", "usage: rnx volume create"},
        {{"volume", "create", "data", "--size=1MB", "--backend=zfs"}, "\"zfs\"", "auto, image, tmpfs, project-quota and btrfs"},
        {{"volume", "create", "data", "--size=1MB", "--inodes=0"}, "\"0\"", "above zero"},
        {{"volume", "create", "data", "--size=1MB", "--inodes=1K"}, "\"1K\"", "whole number"},
        {{"volume", "create", "data", "--size=1MB", "--inodes=18446744073709551616"}, "\"18446744073709551616\"", "whole number"},
        {{"volume", "create", "data", "--size=1MB", "--label", "team"}, "\"team\" has no value", "KEY=VALUE"},
        {{"volume", "create", "data", "--size=1MB", "--label", "=blue"}, "\"=blue\"", "1 to 63 characters"},
        {{"volume", "create", "data", "--size=1MB", "--label=te am=blue"}, "\"te am\" is no key", "1 to 63 characters"},
        {{"volume", "create", "data", "--size=1MB", "--label=" + std::string(64, 'k') + "=v"}, "is no key", "1 to 63 characters"},
        {{"volume", "create", "data", "--size=1MB", "--label", "team=a", "--label", "x=y", "--label", "team=a"},
         "\"team\" is given twice",
         "once"},
        {{"volume", "create", "data", "--size=1MB", "--label", "a=b", "c=d"}, "c=d", "usage: rnx volume create"},
    });
}

TEST_CASE("list shows all of the caller's volumes by name, unless asked for others") {
    const auto plain = taken<VolumeList>({"volume", "list"});
    CHECK(plain.labels.empty());
    CHECK(plain.kind == VolumeKind::Any);
    CHECK(plain.state == VolumeState::Any);
    CHECK(plain.scope.kind == Scope::Kind::Own);
    CHECK(plain.order == VolumeOrder::Name);
    CHECK_FALSE(plain.descending);
    CHECK_FALSE(plain.quiet);

    const auto list = taken<VolumeList>({"volume", "ls", "--filter", "team", "--filter=tier=a=b", "--filter", "empty=", "--type=memory",
                                         "--status", "in_use", "--sort=last-used", "--reverse", "-q", "--all-users"});
    REQUIRE(list.labels.size() == 3);
    CHECK(list.labels[0].key == "team");
    CHECK_FALSE(list.labels[0].value.has_value());
    CHECK(list.labels[1].key == "tier");
    CHECK(list.labels[1].value == "a=b");
    CHECK(list.labels[2].value == "");
    CHECK(list.kind == VolumeKind::Memory);
    CHECK(list.state == VolumeState::InUse);
    CHECK(list.order == VolumeOrder::LastUsed);
    CHECK(list.descending);
    CHECK(list.quiet);
    CHECK(list.scope.kind == Scope::Kind::Everybody);

    CHECK(taken<VolumeList>({"volume", "list", "--trash"}).state == VolumeState::Trashed);
    CHECK(taken<VolumeList>({"volume", "list", "--trash", "--status=trashed"}).state == VolumeState::Trashed);
    CHECK(taken<VolumeList>({"volume", "list", "--status=quarantined"}).state == VolumeState::Quarantined);
    CHECK(taken<VolumeList>({"volume", "list", "--status=available", "--quiet"}).state == VolumeState::Available);
    CHECK(taken<VolumeList>({"volume", "list", "--sort=created"}).order == VolumeOrder::Created);
    CHECK(taken<VolumeList>({"volume", "list", "--sort=size", "--user=7"}).order == VolumeOrder::Size);
}

TEST_CASE("a malformed list is refused with the accepted forms") {
    check_refused({
        {{"volume", "list", "a"}, "a", "usage: rnx volume list"},
        {{"volume", "list", "--all"}, "--all", "usage: rnx volume list"},
        {{"volume", "list", "--all-users", "--user=1"}, "--user", "usage: rnx volume list"},
        {{"volume", "list", "--user=root"}, "\"root\"", "1000"},
        {{"volume", "list", "--user=4294967296"}, "\"4294967296\"", "1000"},
        {{"volume", "list", "--user", ""}, "--user needs a value", "usage: rnx volume list"},
        {{"volume", "list", "--trash", "--status=available"}, "--status=available", "one of them"},
        {{"volume", "list", "--status=gone"}, "\"gone\"", "available, in_use, trashed and quarantined"},
        {{"volume", "list", "--sort=age"}, "\"age\"", "name, created, size and last-used"},
        {{"volume", "list", "--sort=name", "--sort=size"}, "--sort is given more than once", "usage: rnx volume list"},
        {{"volume", "list", "--type=disk"}, "\"disk\"", "filesystem and memory"},
        {{"volume", "list", "--filter", "=x"}, "\"=x\"", "1 to 63 characters"},
        {{"volume", "list", "--filter", "-x"}, "\"-x\"", "1 to 63 characters"},
        {{"volume", "list", "--filter", "a", "b"}, "b", "usage: rnx volume list"},
    });
}

TEST_CASE("inspect, remove, protect and unprotect take names and whose volumes are meant") {
    const auto inspect = taken<VolumeInspect>({"volume", "inspect", "a", "b", "--user=1000"});
    CHECK(inspect.names == Words{"a", "b"});
    CHECK(inspect.scope.kind == Scope::Kind::User);
    CHECK(inspect.scope.uid == 1000);
    const auto remove = taken<VolumeRemove>({"volume", "remove", "a"});
    CHECK(remove.names == Words{"a"});
    CHECK(remove.scope.kind == Scope::Kind::Own);
    CHECK_FALSE(remove.force);
    CHECK_FALSE(remove.now);
    CHECK(taken<VolumeRemove>({"volume", "rm", "--force", "a", "b"}).force);
    CHECK(taken<VolumeRemove>({"volume", "rm", "a", "--now", "b"}).names == Words{"a", "b"});
    CHECK(taken<VolumeRemove>({"volume", "rm", "a", "--now"}).now);
    // Names that are words of the grammar elsewhere
    CHECK(taken<VolumeRemove>({"volume", "rm", "list", "volume", "run"}).names == Words{"list", "volume", "run"});
    const auto protect = taken<VolumeProtect>({"volume", "protect", "a", "b", "--all-users"});
    CHECK(protect.names == Words{"a", "b"});
    CHECK(protect.scope.kind == Scope::Kind::Everybody);
    CHECK(protect.is_protected);
    CHECK_FALSE(taken<VolumeProtect>({"volume", "unprotect", "a"}).is_protected);

    for (const std::string command : {"inspect", "remove", "protect", "unprotect"}) {
        CAPTURE(command);
        check_refused({
            {{"volume", command}, "NAME", "usage: rnx volume " + command},
            {{"volume", command, "a", "b/c"}, "\"b/c\"", "1 to 63 characters"},
            {{"volume", command, "[a,b]"}, "[a,b]", "1 to 63 characters"},
            {{"volume", command, "a", ""}, "\"\"", "1 to 63 characters"},
            {{"volume", command, "a", "--all"}, "--all", "usage: rnx volume " + command},
            {{"volume", command, "a", "--all-users", "--user=1"}, "--user", "usage: rnx volume " + command},
        });
    }
}

TEST_CASE("label sets KEY=VALUE and removes KEY-") {
    const auto label = taken<VolumeLabel>({"volume", "label", "data", "team=blue", "old-", "empty=", "a-=b-", "b--"});
    CHECK(label.name == "data");
    CHECK(label.set == std::vector<Label>{{"team", "blue"}, {"empty", ""}, {"a-", "b-"}});
    CHECK(label.remove == Words{"old", "b-"});
    check_refused({
        {{"volume", "label"}, "NAME", "usage: rnx volume label"},
        {{"volume", "label", "data"}, "LABEL", "usage: rnx volume label"},
        {{"volume", "label", "data", "team"}, "\"team\"", "KEY- to remove it"},
        {{"volume", "label", "data", "team=a", "team=b"}, "\"team\" is given twice", "once"},
        {{"volume", "label", "data", "team-", "team-"}, "\"team\" is given twice", "once"},
        {{"volume", "label", "data", "team=a", "team-"}, "\"team\" is given twice", "once"},
        {{"volume", "label", "data", "te am-"}, "\"te am\" is no key", "1 to 63 characters"},
        {{"volume", "label", "data", "=a"}, "\"\" is no key", "1 to 63 characters"},
        {{"volume", "label", "da/ta", "a=b"}, "\"da/ta\"", "1 to 63 characters"},
        {{"volume", "label", "data", "a=b", "--all-users"}, "--all-users", "usage: rnx volume label"},
    });
}

TEST_CASE("rename and restore take a name and another one") {
    const auto rename = taken<VolumeRename>({"volume", "rename", "a", "b"});
    CHECK(rename.name == "a");
    CHECK(rename.new_name == "b");
    const auto restore = taken<VolumeRestore>({"volume", "restore", "a"});
    CHECK(restore.name == "a");
    CHECK(restore.new_name.empty());
    CHECK(taken<VolumeRestore>({"volume", "restore", "a", "--as", "b"}).new_name == "b");
    check_refused({
        {{"volume", "rename", "a"}, "NEW", "usage: rnx volume rename"},
        {{"volume", "rename", "a", "b", "c"}, "c", "usage: rnx volume rename"},
        {{"volume", "rename", "a", "b/c"}, "\"b/c\"", "1 to 63 characters"},
        {{"volume", "rename", "a/b", "c"}, "\"a/b\"", "1 to 63 characters"},
        {{"volume", "restore"}, "NAME", "usage: rnx volume restore"},
        {{"volume", "restore", "a", "b"}, "b", "usage: rnx volume restore"},
        {{"volume", "restore", "a", "--as"}, "--as needs a value", "usage: rnx volume restore"},
        {{"volume", "restore", "a", "--as", ""}, "--as needs a value", "usage: rnx volume restore"},
        {{"volume", "restore", "a", "--as=b/c"}, "\"b/c\"", "1 to 63 characters"},
    });
}

TEST_CASE("attach and detach take a volume and a job") {
    const auto attach = taken<VolumeAttach>({"volume", "attach", "data", "train"});
    CHECK(attach.name == "data");
    CHECK(attach.job == "train");
    CHECK_FALSE(attach.read_only);
    CHECK(taken<VolumeAttach>({"volume", "attach", "data", "06365ce2f601", "--read-only"}).read_only);
    const auto detach = taken<VolumeDetach>({"volume", "detach", "data", "train"});
    CHECK(detach.name == "data");
    CHECK(detach.job == "train");
    for (const std::string command : {"attach", "detach"}) {
        CAPTURE(command);
        check_refused({
            {{"volume", command, "data"}, "JOB", "usage: rnx volume " + command},
            {{"volume", command, "data", "train", "more"}, "more", "usage: rnx volume " + command},
            {{"volume", command, "data", "tr/ain"}, "the job name \"tr/ain\"", "1 to 63 characters"},
            {{"volume", command, "da/ta", "train"}, "the volume name \"da/ta\"", "1 to 63 characters"},
        });
    }
    CHECK(mentions(refused({"volume", "detach", "data", "train", "--read-only"}).error.message, "--read-only"));
}

TEST_CASE("the help of each command ends with examples that are commands") {
    for (const std::string command : {"create", "list", "inspect", "usage", "label", "rename", "resize", "remove", "restore", "protect",
                                      "unprotect", "attach", "detach"}) {
        CAPTURE(command);
        const auto text = taken<ShowText>({"volume", command, "--help"}).text;
        const auto start = text.find("\nExample");
        REQUIRE(start != std::string::npos);
        const std::string begin = "  rnx ";
        auto at = text.find("\n" + begin, start);
        REQUIRE(at != std::string::npos);
        while (at != std::string::npos) {
            const auto end = text.find('\n', at + 1);
            std::istringstream in(text.substr(at + 1 + begin.size(), end - at - 1 - begin.size()));
            Words words;
            for (std::string word; in >> word;) {
                words.push_back(word);
            }
            CHECK(parse(words).has_value());
            CHECK(words.at(1) == command);
            at = text.find("\n" + begin, end);
        }
    }
    CHECK(mentions(taken<ShowText>({"--help"}).text, "Examples:"));
    CHECK(mentions(taken<ShowText>({"run", "--help"}).text, "Examples:"));
    CHECK(mentions(taken<ShowText>({"version", "--help"}).text, "Example:"));
}
