// Between the schema's shapes and ours, in both directions.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include <schema/joblet.capnp.h>

#include "api-unpriv/caller.h"
#include "api-unpriv/errors.h"
#include "api-unpriv/jobs/job.h"
#include "api-unpriv/jobs/world.h"
#include "api-unpriv/rpc/session.h"
#include "api-unpriv/volumes/index.h"

namespace joblet::api {

inline std::string_view view(capnp::Text::Reader text) {
    return {text.begin(), text.size()};
}
// Bytes as they are; Text is UTF-8 by agreement only.
inline kj::StringPtr text(const std::string& from) {
    return {from.c_str(), from.size()};
}

void fill(rpc::Error::Builder out, const Refusal& refusal);
void fill(rpc::Volume::Builder out, const Volume& volume);
void fill(rpc::Job::Builder out, const Job& job);
void fill(rpc::Exit::Builder out, const ExitRecord& record);
void fill(rpc::World::Builder out, const PlannedWorld& world);

// An error for what a newer client may say and this version does not know.
Outcome<Scope> scope_from(rpc::Scope::Reader scope);
Labels labels_from(capnp::List<rpc::Label>::Reader labels);
std::size_t page_size_from(rpc::Page::Reader page);

template <class Context> kj::Promise<void> refuse(Context& context, const Refusal& refusal) {
    fill(context.getResults().initResult().initError(), refusal);
    return kj::READY_NOW;
}

template <class T> inline constexpr bool kIsPromise = false;
template <class T> inline constexpr bool kIsPromise<kj::Promise<T>> = true;

template <class Result, class T, class Success> void give(Result result, Outcome<T>& outcome, const Success& success) {
    if constexpr (std::is_void_v<T>) {
        success(result);
    } else {
        success(result, *outcome);
    }
}

// Answers at once or later: `body` gives Outcome<T> or a promise of one; `success` puts a T, which it may take apart, into the
// value's builder. The ticket lasts until the answer is there.
template <class Context, class Body, class Success>
kj::Promise<void> answer(SessionContext& session, Ticket::Kind kind, Context context, Body&& body, Success success) {
    auto ticket = Ticket::take(session, kind);
    if (!ticket) {
        return refuse(context, ticket.error());
    }
    auto finish = [context, success](auto&& outcome) mutable {
        if (outcome) {
            give(context.getResults().initResult(), outcome, success);
        } else {
            fill(context.getResults().initResult().initError(), outcome.error());
        }
    };
    if constexpr (kIsPromise<std::invoke_result_t<Body>>) {
        return body().then(kj::mv(finish)).attach(kj::mv(*ticket));
    } else {
        finish(body());
        return kj::READY_NOW;
    }
}

} // namespace joblet::api
