// A client's calls as bytes: what the RPC system adds is put around parameters that nobody has looked at.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <capnp/message.h>
#include <capnp/rpc.capnp.h>
#include <capnp/schema.h>
#include <capnp/serialize.h>
#include <schema/joblet.capnp.h>

#include "tests/fuzz/fuzz.h"

namespace joblet::fuzz {

struct Method {
    std::uint32_t service; // question whose answer has it: 0 the bootstrap, 1 volumes, 2 jobs, 3 the host
    std::uint64_t interface;
    std::uint16_t number;
};

// All that there are.
inline const std::vector<Method>& methods() {
    static const std::vector<Method> all = [] {
        std::vector<Method> out;
        const auto add = [&out](std::uint32_t service, capnp::InterfaceSchema schema) {
            for (const auto method : schema.getMethods()) {
                out.push_back({service, schema.getProto().getId(), static_cast<std::uint16_t>(method.getOrdinal())});
            }
        };
        add(0, capnp::Schema::from<rpc::Joblet>());
        add(1, capnp::Schema::from<rpc::VolumeService>());
        add(2, capnp::Schema::from<rpc::JobService>());
        add(3, capnp::Schema::from<rpc::HostService>());
        return out;
    }();
    return all;
}

inline std::string bytes_of(capnp::MessageBuilder& message) {
    const auto words = capnp::messageToFlatArray(message);
    return {reinterpret_cast<const char*>(words.asBytes().begin()), words.asBytes().size()};
}

// What a client says first: questions 0 to 3.
inline std::string greeting() {
    std::string out;
    {
        capnp::MallocMessageBuilder message;
        message.initRoot<capnp::rpc::Message>().initBootstrap().setQuestionId(0);
        out += bytes_of(message);
    }
    for (std::uint16_t service = 1; service <= 3; ++service) {
        capnp::MallocMessageBuilder message;
        auto call = message.initRoot<capnp::rpc::Message>().initCall();
        call.setQuestionId(service);
        call.initTarget().initPromisedAnswer().setQuestionId(0);
        call.setInterfaceId(capnp::typeId<rpc::Joblet>());
        call.setMethodId(service);
        call.initParams().initContent();
        out += bytes_of(message);
    }
    return out;
}

// A call with `words` as its parameters: a segment of its own, its first word the pointer to them, as in a message.
inline std::string call(const Method& method, std::uint32_t question, std::string_view words) {
    capnp::MallocMessageBuilder message;
    auto call = message.initRoot<capnp::rpc::Message>().initCall();
    call.setQuestionId(question);
    auto target = call.initTarget().initPromisedAnswer();
    target.setQuestionId(method.service);
    if (method.service != 0) {
        target.initTransform(1)[0].setGetPointerField(0);
    }
    call.setInterfaceId(method.interface);
    call.setMethodId(method.number);
    auto params = call.initParams();
    auto capability = params.initCapTable(1)[0];
    capability.setSenderHosted(question);
    capability.setAttachedFd(0);
    // An empty struct, whose pointer is easily found; then it points into the next segment
    params.getContent().initAsAnyStruct(0, 0);
    constexpr std::array<unsigned char, 8> kEmpty = {0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    constexpr std::array<unsigned char, 8> kFar = {2, 0, 0, 0, 1, 0, 0, 0};
    const auto segment = message.getSegmentsForOutput()[0].asBytes();
    std::string first(reinterpret_cast<const char*>(segment.begin()), segment.size());
    const auto at = first.find(std::string_view(reinterpret_cast<const char*>(kEmpty.data()), kEmpty.size()));
    require(at != std::string::npos && at % 8 == 0, "the fuzzer's calls have parameters");
    std::memcpy(first.data() + at, kFar.data(), kFar.size());
    std::string second(words);
    second.resize(std::max<std::size_t>((second.size() + 7) / 8 * 8, 8), '\0');
    const std::array<std::uint32_t, 4> table = {1, static_cast<std::uint32_t>(first.size() / 8),
                                                static_cast<std::uint32_t>(second.size() / 8), 0};
    return std::string(reinterpret_cast<const char*>(table.data()), sizeof table) + first + second;
}

} // namespace joblet::fuzz
