// Who asks: as the broker stamped the connection.
#pragma once

#include <cstdint>

#include "api-unpriv/errors.h"
#include "api-unpriv/volumes/index.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

struct Caller {
    std::uint32_t uid = 0;
    bool admin = false;
    protocol::ConnectionNumber connection = 0;
};

// What a caller may look through: his own things, or, if he is an admin and said so, more.
inline Outcome<Scope> permitted(const Caller& caller, Scope asked) {
    if (asked.kind == Scope::Kind::Own) {
        return Scope{Scope::Kind::Own, caller.uid};
    }
    if (!caller.admin) {
        return std::unexpected(not_an_admin());
    }
    return asked;
}

// Whose power the broker is asked to use for something found in a permitted scope. The audit record shows Admin, so an admin
// who touches what is his own does not use it.
inline protocol::Authority authority_over(const Caller& caller, std::uint32_t owner) {
    return owner == caller.uid ? protocol::Authority::User : protocol::Authority::Admin;
}

} // namespace joblet::api
