// What a client sends that is no conversation: its own connection ends, others do not notice, and the daemon does not grow.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include <capnp/serialize.h>
#include <fmt/format.h>

#include "tests/system/hostile_client.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("hostile");

namespace {

constexpr std::size_t kMib = std::size_t{1} << 20U;
constexpr std::size_t kMessageMax = 4 * kMib; // api.toml, max_message

Bytes numbers(std::initializer_list<std::uint32_t> words) {
    Bytes bytes(words.size() * sizeof(std::uint32_t));
    std::memcpy(bytes.data(), std::data(words), bytes.size());
    return bytes;
}

// One segment of words that are given as they lie in memory.
Bytes segment(std::initializer_list<std::uint64_t> words) {
    Bytes bytes(words.size() * sizeof(std::uint64_t));
    std::memcpy(bytes.data(), std::data(words), bytes.size());
    return numbers({0, static_cast<std::uint32_t>(words.size())}) + bytes;
}

// Pointers as in Cap'n Proto's encoding. Offsets are words from the end of the pointer.
std::uint64_t struct_pointer(std::int32_t offset, std::uint16_t data, std::uint16_t pointers) {
    return (static_cast<std::uint32_t>(offset) << 2U) | (std::uint64_t{data} << 32U) | (std::uint64_t{pointers} << 48U);
}
enum class Element : std::uint8_t { Void = 0, Pointer = 6, Composite = 7 };
std::uint64_t list_pointer(std::int32_t offset, Element element, std::uint32_t count) {
    return (static_cast<std::uint32_t>(offset) << 2U) | 1U | (std::uint64_t{static_cast<std::uint8_t>(element)} << 32U) |
           (std::uint64_t{count} << 35U);
}
std::uint64_t far_pointer(std::uint32_t at, std::uint32_t segment_number) {
    return 2U | (std::uint64_t{at} << 3U) | (std::uint64_t{segment_number} << 32U);
}

// A whole conversation of an ordinary client, to be spoilt.
Bytes conversation() {
    auto bytes = opening();
    for (std::uint32_t question = kFirstFreeQuestion; question < kFirstFreeQuestion + 4; ++question) {
        bytes = std::move(bytes) + list_volumes(question);
    }
    bytes = std::move(bytes) +
            call(kFirstFreeQuestion + 4, kJobsQuestion, capnp::typeId<rpc::JobService>(), kRun, [](capnp::rpc::Payload::Builder payload) {
                payload.initCapTable(1)[0].setSenderHosted(0);
                auto request = payload.getContent().initAs<rpc::JobService::RunParams>().initRequest();
                request.initCommand(1).set(0, "true");
                request.setDetached(true);
                request.setDryRun(true);
            });
    return std::move(bytes) + finish(kFirstFreeQuestion);
}

// A call of listVolumes with that many labels to filter by, the first with a key of that length; in one segment.
constexpr std::uint16_t kLabelData = 1; // words of LabelFilter: which of the two, then key and value
constexpr std::uint16_t kLabelPointers = 2;
constexpr std::uint32_t kLabelWords = kLabelData + kLabelPointers;
struct Filtered {
    std::vector<std::uint64_t> words; // with the frame before them
    std::size_t list = 0;             // index of the list's pointer
    std::size_t tag = 0;              // and of the word that its elements come after

    std::size_t key_of(std::size_t label) const {
        return tag + 1 + label * kLabelWords + kLabelData;
    }
    Bytes bytes() const {
        const auto all = std::as_bytes(std::span(words));
        return {all.begin(), all.end()};
    }
};
Filtered filtered(std::uint32_t labels, std::size_t key_bytes) {
    capnp::MallocMessageBuilder message(static_cast<unsigned>(kMessageMax / sizeof(capnp::word)), capnp::AllocationStrategy::FIXED_SIZE);
    auto made = message.initRoot<capnp::rpc::Message>().initCall();
    made.setQuestionId(kFirstFreeQuestion);
    auto target = made.initTarget().initPromisedAnswer();
    target.setQuestionId(kVolumesQuestion);
    target.initTransform(1)[0].setGetPointerField(0);
    made.setInterfaceId(capnp::typeId<rpc::VolumeService>());
    made.setMethodId(kListVolumes);
    auto list = made.initParams().getContent().initAs<rpc::VolumeService::ListVolumesParams>().initFilter().initLabels(labels);
    list[0].initKey(static_cast<unsigned>(key_bytes));
    const auto bytes = framed(message);
    Filtered out;
    out.words.resize(bytes.size() / sizeof(std::uint64_t));
    std::memcpy(out.words.data(), bytes.data(), bytes.size());
    const auto tag = struct_pointer(static_cast<std::int32_t>(labels), kLabelData, kLabelPointers);
    out.tag = static_cast<std::size_t>(std::ranges::find(out.words, tag) - out.words.begin());
    for (std::size_t i = 0; i < out.tag; ++i) {
        if (out.words[i] == list_pointer(static_cast<std::int32_t>(out.tag - i - 1), Element::Composite, labels * kLabelWords)) {
            out.list = i;
        }
    }
    REQUIRE(out.list != 0);
    return out;
}

} // namespace

TEST_CASE("case_36: bytes at random end their own connection and nothing else") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    auto random = random_source("bytes at random");
    const int rounds = is_long() ? 5000 : 300;
    for (int i = 0; i < rounds; ++i) {
        HostileClient client(here);
        Bytes bytes(random() % (i % 10 == 0 ? 70'000 : 600));
        std::ranges::generate(bytes, [&random] { return static_cast<std::byte>(random()); });
        if (i % 3 == 1) { // in a frame that is right
            bytes.resize((bytes.size() + 7) & ~std::size_t{7});
            bytes = numbers({0, static_cast<std::uint32_t>(bytes.size() / 8)}) + bytes;
        } else if (i % 3 == 2) { // after a beginning that is right
            bytes = opening() + bytes;
        }
        client.send(bytes);
        client.finish();
        REQUIRE(client.is_ended());
    }
    api.check_unharmed("bytes at random", 16);
}

TEST_CASE("case_36: a conversation with bytes changed ends its own connection and nothing else") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    auto random = random_source("bytes changed");
    const Bytes whole = conversation();
    {
        HostileClient honest(here);
        honest.send(whole);
        REQUIRE(becomes_true([&honest] { return honest.take(milliseconds(1)) > 500; })); // it is one
    }
    const int rounds = is_long() ? 20'000 : 600;
    for (int i = 0; i < rounds; ++i) {
        HostileClient client(here);
        Bytes bytes = whole;
        for (auto changes = 1 + random() % 8; changes > 0; --changes) {
            auto& byte = bytes[random() % bytes.size()];
            const auto value = static_cast<std::byte>(random());
            byte = random() % 2 == 0 ? value : byte ^ (std::byte{1} << (random() % 8));
        }
        client.send(bytes);
        client.finish();
        REQUIRE(client.is_ended());
    }
    api.check_unharmed("bytes changed", 16);
}

TEST_CASE("case_36: a frame that claims what no message may have ends the connection before the rest is read") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const Bytes frames[] = {
        numbers({0xffffffff, 0}),                                      // 2^32 segments
        numbers({0xfffffffe, 0xffffffff}),                             //
        numbers({511, 0}),                                             // 512, of which the library reads no more than 511
        numbers({0, 0xffffffff}),                                      // one of 32 GiB
        numbers({0, static_cast<std::uint32_t>(kMessageMax / 8 + 1)}), // one word too many
        numbers({1, kMessageMax / 16, kMessageMax / 16 + 1, 0}),       // the same in two segments
        numbers({2, 0x80000000, 0x80000000, 0x80000000}),              // whose sum does not fit in 32 bits
    };
    for (std::size_t i = 0; i < std::size(frames); ++i) {
        CAPTURE(i);
        HostileClient client(here);
        client.send(frames[i]);
        CHECK(client.is_ended());
        CHECK(others_are_served(here));
    }
    api.check_unharmed("frames", 8);
}

TEST_CASE("case_36: pointers that lead in circles, outside, or to the same place many times are not followed beyond a bound") {
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    const auto ends = [&here](const Bytes& bytes) {
        HostileClient client(here);
        client.send(bytes);
        client.finish();
        return client.is_ended();
    };
    SUBCASE("as a message itself") {
        CHECK(ends(segment({0})));                                 // nothing
        CHECK(ends(segment({struct_pointer(-1, 1, 1)})));          // itself
        CHECK(ends(segment({struct_pointer(0, 0xffff, 0xffff)}))); // beyond its end
        CHECK(ends(segment({struct_pointer(-0x20000000, 1, 1)}))); // before its beginning
        CHECK(ends(segment({list_pointer(0, Element::Composite, 0x1fffffff)})));
        CHECK(ends(segment({far_pointer(0, 0)})));          // a landing pad that is the pointer
        CHECK(ends(segment({far_pointer(0, 7)})));          // in no segment
        CHECK(ends(segment({far_pointer(0x1fffffff, 0)}))); //
        CHECK(ends(segment({0x3, 0x3})));                   // a capability that is none
        // A call whose target, parameters and results are one and the same
        CHECK(ends(segment({struct_pointer(0, 1, 1), 2, struct_pointer(-1, 3, 3)})));
    }
    SUBCASE("as parameters: a list of labels to filter by") {
        constexpr std::uint32_t kAllBits = 0x1fffffff; // the most elements that a list can claim
        const Filtered honest = filtered(3, 1);
        const auto with = [&](std::size_t index, std::uint64_t word) {
            Filtered changed = honest;
            changed.words[index] = word;
            return ends(opening() + changed.bytes());
        };
        const auto back = static_cast<std::int32_t>(honest.list);
        CHECK(with(honest.list, list_pointer(0, Element::Void, kAllBits)));
        CHECK(with(honest.list, list_pointer(0, Element::Pointer, kAllBits)));
        CHECK(with(honest.list, list_pointer(0, Element::Composite, kAllBits)));
        CHECK(with(honest.list, list_pointer(-1, Element::Composite, 0)));  // whose tag is this pointer
        CHECK(with(honest.list, list_pointer(-back, Element::Pointer, 2))); // the message's own first words
        CHECK(with(honest.list, far_pointer(static_cast<std::uint32_t>(back - 1), 0)));
        CHECK(with(honest.list, struct_pointer(0, 1, 2)));
        CHECK(with(honest.tag, struct_pointer(kAllBits, 0, 0))); // so many of no size
        CHECK(with(honest.tag, struct_pointer(kAllBits, 0xffff, 0xffff)));
        CHECK(with(honest.tag, struct_pointer(-1, 0, 0xffff)));
        CHECK(with(honest.key_of(0), list_pointer(-1, Element::Void, kAllBits)));
        CHECK(with(honest.key_of(0), struct_pointer(-1, 0, 1)));
    }
    SUBCASE("as parameters: one long text, named by a hundred thousand keys") {
        constexpr std::size_t kTextBytes = 1'000'000;
        constexpr std::uint32_t kLabels = 100'000;
        Filtered changed = filtered(kLabels, kTextBytes);
        const auto first = changed.words[changed.key_of(0)];
        const auto there = static_cast<std::int32_t>(changed.key_of(0)) + (static_cast<std::int32_t>(first) >> 2);
        for (std::uint32_t label = 1; label < kLabels; ++label) {
            const auto here_at = static_cast<std::int32_t>(changed.key_of(label));
            changed.words[changed.key_of(label)] =
                (first & ~std::uint64_t{0xffffffff}) | (static_cast<std::uint32_t>(there - here_at) << 2U) | 1U;
        }
        CHECK(ends(opening() + changed.bytes()));
    }
    api.check_unharmed("pointers", 16);
}

TEST_CASE("case_25: messages of every kind in any order end their own connection and nothing else") {
    using Message = capnp::rpc::Message;
    const Installation here;
    here.create("hers", "1MiB", "memory", kAlice);
    const ApiWatch api(here);
    constexpr std::uint32_t kUnknown = 77; // a question that nobody has, an export that nobody gave
    const auto empty_call = [](std::uint32_t question, std::uint32_t of) {
        return call(question, of, capnp::typeId<rpc::VolumeService>(), kListVolumes, [](capnp::rpc::Payload::Builder) {});
    };
    const auto to_export = [](std::uint32_t which) {
        return message_of([which](Message::Builder message) {
            auto made = message.initCall();
            made.setQuestionId(kFirstFreeQuestion);
            made.initTarget().setImportedCap(which);
            made.setInterfaceId(capnp::typeId<rpc::Joblet>());
        });
    };
    const std::vector<Bytes> kinds = {
        message_of([](Message::Builder message) { message.initBootstrap().setQuestionId(kBootstrapQuestion); }),
        opening(),
        list_volumes(kFirstFreeQuestion),
        empty_call(kFirstFreeQuestion, kFirstFreeQuestion),
        empty_call(kFirstFreeQuestion, kUnknown),
        empty_call(kBootstrapQuestion, kBootstrapQuestion),
        to_export(0),
        to_export(kUnknown),
        finish(kBootstrapQuestion),
        finish(kVolumesQuestion),
        finish(kFirstFreeQuestion),
        message_of([](Message::Builder message) { message.initReturn().setAnswerId(kBootstrapQuestion); }),
        message_of([](Message::Builder message) { message.initReturn().setAnswerId(kUnknown); }),
        message_of([](Message::Builder message) { message.initReturn().setTakeFromOtherQuestion(kBootstrapQuestion); }),
        message_of([](Message::Builder message) {
            message.initResolve().setPromiseId(0);
            message.getResolve().initCap().setReceiverHosted(0);
        }),
        message_of([](Message::Builder message) {
            message.initRelease().setId(0);
            message.getRelease().setReferenceCount(1);
        }),
        message_of([](Message::Builder message) {
            message.initRelease().setId(0);
            message.getRelease().setReferenceCount(0xffffffff);
        }),
        message_of([](Message::Builder message) {
            message.initDisembargo().initTarget().setImportedCap(0);
            message.getDisembargo().getContext().setSenderLoopback(0);
        }),
        message_of([](Message::Builder message) {
            message.initDisembargo().initTarget().initPromisedAnswer().setQuestionId(kBootstrapQuestion);
            message.getDisembargo().getContext().setReceiverLoopback(kUnknown);
        }),
        message_of([](Message::Builder message) { message.initUnimplemented().initBootstrap(); }),
        message_of([](Message::Builder message) { message.initUnimplemented().initResolve().initCap().setSenderHosted(0); }),
        message_of([](Message::Builder message) { message.initProvide().setQuestionId(kFirstFreeQuestion); }),
        message_of([](Message::Builder message) { message.initAccept().setQuestionId(kFirstFreeQuestion); }),
        message_of([](Message::Builder message) { message.initJoin().setQuestionId(kFirstFreeQuestion); }),
        message_of([](Message::Builder message) { message.initAbort().setReason("enough"); }),
    };
    const auto ends = [&here](const Bytes& bytes) {
        HostileClient client(here);
        client.send(bytes);
        client.finish();
        return client.is_ended();
    };
    for (const auto& first : kinds) {
        for (const auto& second : kinds) {
            REQUIRE(ends(first + second));
        }
        CHECK(others_are_served(here));
    }
    auto random = random_source("messages in any order");
    for (int walk = 0; walk < (is_long() ? 20'000 : 100); ++walk) {
        Bytes bytes;
        for (int step = 0; step < 30; ++step) {
            bytes = std::move(bytes) + kinds[random() % kinds.size()];
        }
        REQUIRE(ends(bytes));
    }
    api.check_unharmed("messages in any order", 16);
}

TEST_SUITE_END();

} // namespace joblet::testing
