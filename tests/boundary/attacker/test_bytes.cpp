// Datagrams that are no requests, and some that are by chance.
#include <doctest/doctest.h>

#include <cstring>

#include <fmt/format.h>

#include "tests/boundary/attacker/scene.h"

namespace joblet::testing {

TEST_SUITE_BEGIN("bytes");

namespace {

using Bytes = std::vector<std::byte>;

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::uint64_t below(std::uint64_t limit) {
        return engine_() % limit;
    }
    std::byte byte() {
        return static_cast<std::byte>(engine_() & 0xffU);
    }

  private:
    std::mt19937_64 engine_;
};

// A request of that row as it would be if all was well: header right, the rest zero.
Bytes blank(const protocol::RequestRow& row, Connection connection, std::uint64_t sequence) {
    Bytes out(row.size);
    protocol::RequestHeader header{protocol::kVersion, row.type, sequence, row.asker == protocol::Asker::User ? connection : 0};
    std::memcpy(out.data(), &header, sizeof header);
    return out;
}

Bytes some_bytes(Dice& dice, Connection connection) {
    const auto& row = protocol::kRequests.at(dice.below(protocol::kRequests.size()));
    Bytes out = blank(row, connection, 1);
    switch (dice.below(5)) {
    case 0: // of any length
        out.resize(1 + dice.below(protocol::kRequestSizeMax + 100));
        for (auto& byte : out) {
            byte = dice.byte();
        }
        break;
    case 1: // the right header and length, and then anything
        for (std::size_t i = sizeof(protocol::RequestHeader); i < out.size(); ++i) {
            out[i] = dice.byte();
        }
        break;
    case 2: // another length
        out.resize(dice.below(2) == 0 ? dice.below(out.size()) + 1 : out.size() + 1 + dice.below(64));
        break;
    case 3: // a few bits of the header
        for (int i = 0; i < 3; ++i) {
            out[dice.below(sizeof(protocol::RequestHeader))] ^= static_cast<std::byte>(1U << dice.below(8));
        }
        break;
    default: // a few bytes of all of it
        for (int i = 0; i < 4; ++i) {
            out[dice.below(out.size())] = dice.byte();
        }
        break;
    }
    return out;
}

} // namespace

TEST_CASE("what is no request ends the API, whatever it is, and nothing else comes of it") {
    Attack attack;
    Scene scene(attack);
    Dice dice(test_seed());
    std::size_t answered = 0;
    for (std::size_t step = 0; step < steps_of(60, 3000); ++step) {
        Bytes bytes = some_bytes(dice, dice.below(2) == 0 ? scene.alice : scene.forged);
        auto request = protocol::decode(bytes);
        const auto number = request ? protocol::header_of(*request).sequence : 0;
        if (request && (number == 1 || number == attack.end().coming_sequence())) {
            // By chance it is one: it is answered like any other
            const auto sequence = attack.send_request(*request);
            (void)attack.wait(sequence);
            ++answered;
        } else {
            REQUIRE(attack.end().send(bytes));
            attack.must_be_ended(fmt::format("step {}: {} bytes of chance", step, bytes.size()));
            scene.restore();
        }
        if (step % 10 == 0) {
            attack.check(fmt::format("step {} of bytes", step));
        }
    }
    CHECK(answered > 0);
    scene.check_victim();
    scene.tidy();
}

TEST_CASE("a number that was had already, that is not the next, or that is none ends the API") {
    Attack attack;
    for (const std::uint64_t sequence : {0U, 2U, 3U, 5U}) {
        CHECK(attack.reply_to(kNobody, protocol::ListBases{}).code == ErrorCode::Ok);
        const auto bytes = blank(protocol::row_of(protocol::RequestType::ListBases), 0, sequence);
        const auto next = attack.end().next_sequence();
        REQUIRE(next != sequence);
        REQUIRE(attack.end().send(bytes));
        attack.must_be_ended(fmt::format("number {} instead of {}", sequence, next), sequence == 0 ? "field" : "sequence");
        attack.check("a wrong number");
    }
}

TEST_SUITE_END();

} // namespace joblet::testing
