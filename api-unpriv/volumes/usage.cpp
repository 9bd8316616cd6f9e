// What volumes hold now. The kernel counts it, and the broker asks the kernel: one request for each volume, few at a time.
#include <algorithm>

#include <fmt/format.h>

#include "api-unpriv/volumes/manager.h"

namespace joblet::api {

namespace {

constexpr std::size_t kUnderWay = 8; // of one call, so that others get their turn

} // namespace

struct VolumeManager::Measurement {
    struct One {
        VolumeId id;
        std::string asked; // empty: nobody asked for this one by name
    };
    Caller caller;
    std::vector<One> wanted;
    std::vector<std::optional<protocol::Usage>> usages; // of each wanted
    std::optional<Refusal> failure;                     // the first
    std::size_t next = 0;
};

Outcome<std::vector<VolumeId>> VolumeManager::measured_by_default(const Scope& allowed) const {
    VolumeQuery query;
    query.scope = allowed;
    query.page_size = kMeasuredMax;
    const auto page = index_.list(query);
    if (page->matching > kMeasuredMax) {
        return std::unexpected(invalid(
            "volumes", fmt::format("there are {} volumes, and the usage of at most {} is told at once", page->matching, kMeasuredMax),
            "name some of them"));
    }
    std::vector<VolumeId> ids;
    for (const Volume* volume : page->volumes) {
        if (volume->entry.status != protocol::VolumeStatus::Quarantined) {
            ids.push_back(volume->entry.id);
        }
    }
    return ids;
}

kj::Promise<Outcome<std::vector<MeasuredVolume>>> VolumeManager::usage(const Caller& caller, std::vector<std::string> selectors,
                                                                       Scope scope) {
    using Result = Outcome<std::vector<MeasuredVolume>>;
    const auto allowed = permitted(caller, scope);
    if (!allowed) {
        return Result(std::unexpected(allowed.error()));
    }
    if (selectors.size() > kMeasuredMax) {
        return Result(std::unexpected(invalid("volumes",
                                              fmt::format("more than {} volumes are named, and no more are measured at once", kMeasuredMax),
                                              "name fewer of them")));
    }
    Measurement work;
    work.caller = caller;
    if (selectors.empty()) {
        return on_record(caller, *allowed)
            .then([this, caller, scope = *allowed, work = std::move(work)](const Outcome<void>& recorded) mutable -> kj::Promise<Result> {
                if (!recorded) {
                    return Result(std::unexpected(recorded.error()));
                }
                const auto ids = measured_by_default(scope);
                if (!ids) {
                    return Result(std::unexpected(ids.error()));
                }
                std::ranges::transform(*ids, std::back_inserter(work.wanted), [](const VolumeId& id) { return Measurement::One{id, {}}; });
                return measure(caller, std::move(work));
            });
    }
    for (auto& selector : selectors) {
        const auto found = select(selector, *allowed, Among::All);
        if (!found) {
            return refuse_on_record<std::vector<MeasuredVolume>>(caller, *allowed, found.error());
        }
        work.wanted.push_back({(*found)->entry.id, std::move(selector)});
    }
    return measure(caller, std::move(work));
}

kj::Promise<Outcome<std::vector<MeasuredVolume>>> VolumeManager::measure(const Caller& caller, Measurement wanted) {
    auto work = kj::heap<Measurement>(std::move(wanted));
    work->caller = caller;
    work->usages.resize(work->wanted.size());
    kj::Vector<kj::Promise<void>> lanes;
    for (std::size_t i = 0; i < std::min(kUnderWay, work->wanted.size()); ++i) {
        lanes.add(measure_on(*work));
    }
    return kj::joinPromises(lanes.releaseAsArray())
        .then([&done = *work]() -> Outcome<std::vector<MeasuredVolume>> {
            if (done.failure) {
                return std::unexpected(*done.failure);
            }
            std::vector<MeasuredVolume> out;
            for (std::size_t i = 0; i < done.wanted.size(); ++i) {
                if (done.usages[i]) {
                    out.push_back({done.wanted[i].id, *done.usages[i]});
                }
            }
            return out;
        })
        .attach(kj::mv(work));
}

// One after the other, until none is left that nobody has begun.
kj::Promise<void> VolumeManager::measure_on(Measurement& work) {
    if (work.failure || work.next == work.wanted.size()) {
        return kj::READY_NOW;
    }
    const std::size_t place = work.next++;
    const auto& one = work.wanted[place];
    const Volume* volume = index_.find(one.id);
    if (volume == nullptr) {
        if (!one.asked.empty()) {
            work.failure = no_such_volume(one.asked);
        }
        return measure_on(work);
    }
    protocol::MeasureVolume request;
    request.header.connection = work.caller.connection;
    request.id = one.id;
    request.authority = authority_over(work.caller, volume->entry.owner_uid);
    const std::string name = volume->entry.name.string();
    Subject subject{fmt::format("measure volume \"{}\"", name), name, one.asked.empty() ? name : one.asked};
    return broker_.request(request).then(
        [this, &work, place, subject = std::move(subject)](const protocol::Message& message) -> kj::Promise<void> {
            const auto& reply = reply_of(message);
            const bool was_named = !work.wanted[place].asked.empty();
            if (const auto* measured = std::get_if<protocol::VolumeMeasure>(&message)) {
                work.usages[place] = measured->usage;
            } else if (was_named || (reply.code != ErrorCode::NotFound && reply.code != ErrorCode::Quarantined)) {
                // What was not asked for by name may have gone, or become unusable, since the list was made
                work.failure = work.failure ? work.failure : refusal_from(reply, subject);
            }
            return measure_on(work);
        });
}

} // namespace joblet::api
