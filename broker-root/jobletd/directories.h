// The directories of an installation: made once, and refused where somebody else could have a hand in them.
#pragma once

#include <sys/types.h>

#include <expected>
#include <string>

#include "broker-root/layout.h"

namespace joblet::jobletd {

struct ApiUser {
    uid_t uid = 0;
    gid_t gid = 0;
};

// Who joblet-api runs as: `uid` if given, otherwise the user `joblet` of /etc/passwd (read as a file: nothing privileged asks
// name services), otherwise, below a root of its own, kFallbackApiUid. An error is a sentence with a hint.
std::expected<ApiUser, std::string> find_api_user(const Layout& layout, const uid_t* uid);

// Makes what is missing of layout.h's directories, and checks all of it: every directory on the way from / belongs to root and
// is writable by nobody else, no component is a symbolic link, and no directory of ours is more open than it was made.
std::expected<void, std::string> make_directories(const Layout& layout, ApiUser api);

} // namespace joblet::jobletd
