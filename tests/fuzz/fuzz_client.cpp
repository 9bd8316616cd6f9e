// A client of joblet-api, and all that it may send. The input says how the broker answers and whether bytes are raw; raw, they go to
// the socket as they are; otherwise they are calls: a method, a length, and parameters of that length, which nobody has looked at.
#include <string>
#include <vector>

#include "shared/log.h"
#include "tests/fuzz/client_calls.h"
#include "tests/fuzz/client_world.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate.h"

using namespace joblet;
using joblet::fuzz::require;

namespace {

constexpr unsigned kRaw = 1;
constexpr unsigned kAdmin = 2;
constexpr unsigned kGreeted = 4; // raw bytes come after a greeting
constexpr std::size_t kCallsMax = 24;

std::vector<std::string> parts_of(fuzz::Input input, unsigned flags) {
    static const std::string kGreeting = fuzz::greeting();
    std::vector<std::string> parts;
    if ((flags & (kRaw | kGreeted)) != kRaw) {
        parts.push_back(kGreeting);
    }
    if ((flags & kRaw) != 0) {
        parts.emplace_back(input.rest());
        return parts;
    }
    for (std::uint32_t question = 4; !input.empty() && parts.size() < kCallsMax; ++question) {
        const auto& method = fuzz::methods()[input.take<std::uint8_t>() % fuzz::methods().size()];
        const auto words = input.take_bytes(input.take<std::uint16_t>());
        parts.push_back(fuzz::call(method, question, {reinterpret_cast<const char*>(words.data()), words.size()}));
    }
    return parts;
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
    log::set_level(log::Level::Error);
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    // Method and length of the first call are left alone as often as not
    return seed % 2 == 0 ? LLVMFuzzerMutate(data, size, max_size) : fuzz::mutate_in_place(data, size, max_size, seed / 2, 5);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static fuzz::ClientWorld world;
    fuzz::Input input(data, size);
    const unsigned flags = input.take<std::uint8_t>();
    const auto code = input.take<std::uint8_t>();
    fuzz::Broker broker;
    broker.verdict = static_cast<ErrorCode>(1 + code % (kErrorCodeCount - 1));
    broker.is_admin = (flags & kAdmin) != 0;
    const auto parts = parts_of(input, flags);
    require(world.serve(parts, flags >> 5U, broker), "a client who is gone leaves nothing");
    return 0;
}
