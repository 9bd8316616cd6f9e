// Refusals as users read them: a code, one sentence, what to do about it, and the same facts for programs.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shared/error.h"
#include "shared/protocol_messages.h"

namespace joblet::api {

// Names of fields and their meaning: schema/joblet.capnp, struct Error.
struct Refusal {
    Error error;
    std::vector<std::pair<std::string, std::string>> fields;
};
template <class T> using Outcome = std::expected<T, Refusal>;

// The request itself is wrong. `field` is its name in the schema.
Refusal invalid(std::string_view field, std::string message, std::string hint = {});
// Also for what belongs to somebody else: the two must not be told apart.
Refusal no_such_volume(std::string_view asked);
Refusal no_such_job(std::string_view asked);
// `usable`: the names of the bases that a job can have.
Refusal no_such_base(std::string_view asked, const std::vector<std::string>& usable);
Refusal base_refused(std::string_view asked, const std::vector<std::string>& usable);
Refusal no_log(std::string_view asked);   // it was not detached
Refusal log_gone(std::string_view asked); // it was, but the broker does not have it any more
Refusal not_an_admin();
// A scope where nobody has more than his own. `doing` is a verb: "rename".
Refusal only_own(std::string_view doing);
Refusal in_trash(std::string_view volume_name);
Refusal in_trash_already(std::string_view volume_name); // where it should be put
// `what` begins the sentence: "attaching a volume to a running job".
Refusal unimplemented(std::string_view what);
Refusal unavailable();
// A bound of this daemon's own, by its key in api.toml.
Refusal too_many(std::string_view key, std::uint64_t limit, std::string_view of_what);

// Of a connection that the broker serves nobody on. Nothing if it does.
std::optional<Refusal> refusal_from(const protocol::Connection& connection);

// What a request was about, for the sentence that refuses it.
struct Subject {
    std::string doing;              // "create volume \"data\""
    std::string volume_name;        // of the volume the broker names in its reply, if known
    std::string asked;              // what to call a thing that was not found
    bool about_job = false;         // a thing that was not found is a job
    std::string asked_job;          // of a volume and a job: what to call the job, if that was not found
    std::vector<JobId> jobs;        // what else holds a volume that is in use, beside the job in the reply
    std::uint64_t inodes_asked = 0; // of a volume that is resized: how many it is to have, if not as many as there is room for
};
// Precondition: reply.code is not Ok.
Refusal refusal_from(const protocol::Reply& reply, const Subject& subject);

// What a user sent, fit for a sentence on a terminal: at most 80 characters of printable ASCII.
std::string printable(std::string_view text);

// "ENOSPC"; the number where it has no name.
std::string errno_name(int error);

} // namespace joblet::api
