#include "broker-root/worker/service.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "broker-root/kernel/record_io.h"
#include "broker-root/worker/failure.h"
#include "broker-root/worker/live.h"
#include "broker-root/worker/survey.h"
#include "shared/datagram.h"
#include "shared/log.h"

namespace joblet::worker {
namespace {

struct Count {
    std::size_t least;
    std::size_t most;
};
// How many descriptors come with an order.
constexpr Count descriptors_with(OrderType type) {
    switch (type) {
    case OrderType::PrepareJob:
    case OrderType::DetachVolume:
    case OrderType::SyncFile:
        return {1, 1};
    case OrderType::MeasureVolume:
    case OrderType::ResizeVolume:
        return {0, 1};
    case OrderType::AttachVolume:
        return {2, 2};
    case OrderType::FinishJob:
        return {0, kMaxDescriptors};
    default:
        return {0, 0};
    }
}

template <class O> Answer answer_to(const O& order) {
    return {.type = O::kType, .sequence = order.header.sequence};
}

constexpr auto kOrderNames = std::to_array<std::string_view>(
    {"",           "LoadVolumes", "LoadJobs",      "StageVolume",  "CommitVolume",  "DiscardStaging", "UpdateRecord", "TrashVolume",
     "EmptyTrash", "PrepareJob",  "FinishJob",     "ReleaseJob",   "RestoreVolume", "SetLabels",      "AttachVolume", "DetachVolume",
     "OpenLog",    "LoadBases",   "MeasureVolume", "ResizeVolume", "OpenImage",     "CommitResize",   "Survey",       "SyncFile"});
static_assert(kOrderNames.size() == std::variant_size_v<Order> + 1);

// The volume or job that an order is about, for the log.
std::string subject_of(const auto& order) {
    if constexpr (requires { order.id; }) {
        return to_string(order.id);
    } else if constexpr (requires { order.record; }) {
        return to_string(order.record.id);
    } else {
        return "all";
    }
}

template <class O, class T> Answer answer_to(const O& order, const Outcome<T>& outcome) {
    auto answer = answer_to(order);
    if (!outcome) {
        const Failure& failure = outcome.error();
        answer.code = failure.code;
        answer.step = failure.step;
        answer.sys_errno = failure.sys_errno;
        log::warning(fmt::format("{} {}: could not {}: {}", kOrderNames[static_cast<std::size_t>(O::kType)], subject_of(order),
                                 step_phrase(failure.step), std::strerror(failure.sys_errno)));
    }
    return answer;
}

// Entries of a list, sent in as many answers as they need. `Message` is an Answer followed by an array, `entries`.
template <class Message, auto Entries> class ListSender {
  public:
    // `first` is an answer without entries; what it says stands in each.
    ListSender(int socket, const Message& first) : socket_(socket), empty_(first), message_(first) {}

    template <class Entry> void add(const Entry& entry) {
        auto& entries = message_.*Entries;
        if (message_.answer.count == entries.size()) {
            message_.answer.more = 1;
            sent_ = sent_ && send_message(socket_, message_, {}, Wait::Yes);
            message_ = empty_;
        }
        entries[message_.answer.count++] = entry;
    }
    bool finish(const Answer& last) {
        const auto count = message_.answer.count;
        message_.answer = last;
        message_.answer.count = count;
        return sent_ && send_message(socket_, message_, {}, Wait::Yes);
    }

  private:
    int socket_;
    bool sent_ = true;
    Message empty_;
    Message message_;
};

} // namespace

bool Service::run() {
    std::array<std::byte, kOrderSizeMax> buffer{};
    for (;;) {
        auto received = receive_datagram(broker_, buffer, Wait::Yes);
        if (!received) {
            if (received.error() == ReceiveError::Closed) {
                return true;
            }
            log::error("the broker's socket cannot be read");
            return false;
        }
        const auto order = decode_order(std::span(buffer).first(received->size));
        if (!order) {
            log::error("the broker sent something that is no order");
            return false;
        }
        const bool answered = std::visit(
            [this, &received](const auto& one) {
                const auto [least, most] = descriptors_with(std::decay_t<decltype(one)>::kType);
                if (received->descriptors.size() < least || received->descriptors.size() > most) {
                    log::error("the broker sent an order with descriptors that do not belong to it");
                    return false;
                }
                return carry_out(one, received->descriptors);
            },
            *order);
        if (!answered) {
            return false;
        }
    }
}

bool Service::carry_out(const LoadVolumes& order, Descriptors&) {
    VolumesLoaded first{.answer = answer_to(order), .btrfs_errno = store_.probe_btrfs(), .quota_errno = store_.probe_quota()};
    first.flags |= abilities_.memory_swap == kernel::Swap::Never ? protocol::kHostNoSwap : 0;
    first.flags |= abilities_.growing != 0 ? protocol::kHostOnlineGrow : 0;
    first.store_magic = own_.store_devices.file_system;
    first.device_count = static_cast<std::uint32_t>(own_.store_devices.whole.size());
    std::ranges::copy(own_.store_devices.whole, first.devices.begin());
    ListSender<VolumesLoaded, &VolumesLoaded::volumes> list(broker_, first);
    const auto loaded = store_.load([&list](const LoadedVolume& volume) { list.add(volume); });
    return list.finish(answer_to(order, loaded));
}

bool Service::carry_out(const LoadJobs& order, Descriptors&) {
    ListSender<JobsLoaded, &JobsLoaded::jobs> list(broker_, JobsLoaded{.answer = answer_to(order)});
    const auto loaded = jobs_.load(order.remove_leftovers != 0, [&list](const LoadedJob& job) { list.add(job); });
    return list.finish(answer_to(order, loaded));
}

bool Service::carry_out(const LoadBases& order, Descriptors&) {
    BasesLoaded loaded{.answer = answer_to(order)};
    for (const auto& name : own_.configured_bases) {
        loaded.bases[loaded.answer.count++] = {.name = NameText(name), .is_usable = own_.bases.contains(name) ? 1U : 0U};
    }
    return send_message(broker_, loaded, {}, Wait::Yes);
}

bool Service::carry_out(const OpenLog& order, Descriptors&) {
    const auto files = jobs_.open_log(order.id);
    std::vector<int> handed;
    if (files) {
        std::ranges::transform(*files, std::back_inserter(handed), &Fd::get);
    }
    return send_message(broker_, answer_to(order, files), handed, Wait::Yes);
}

bool Service::carry_out(const StageVolume& order, Descriptors&) {
    const auto staged =
        store_.stage(order.record, order.slot_first, order.image_is_larger != 0 ? ImageLength::AtLeast : ImageLength::Exact);
    const std::array image = {staged ? staged->get() : -1};
    return send_message(broker_, answer_to(order, staged), std::span(image).first(image[0] >= 0 ? 1 : 0), Wait::Yes);
}

bool Service::carry_out(const CommitVolume& order, Descriptors&) {
    const Place place = order.into_trash != 0 ? Place::Trash : Place::Volumes;
    return send_message(broker_, answer_to(order, store_.commit(order.record, {order.labels_size, order.labels}, place)), {}, Wait::Yes);
}

bool Service::carry_out(const DiscardStaging& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.discard(order.id)), {}, Wait::Yes);
}

bool Service::carry_out(const UpdateRecord& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.update(order.record, order.durable != 0)), {}, Wait::Yes);
}

bool Service::carry_out(const TrashVolume& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.trash(order.record, order.forced != 0)), {}, Wait::Yes);
}

bool Service::carry_out(const EmptyTrash& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.empty(order.id)), {}, Wait::Yes);
}

bool Service::carry_out(const RestoreVolume& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.restore(order.record)), {}, Wait::Yes);
}

bool Service::carry_out(const SetLabels& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.set_labels(order.id, {order.labels_size, order.labels})), {}, Wait::Yes);
}

bool Service::carry_out(const PrepareJob& order, Descriptors& descriptors) {
    const auto prepared = jobs_.prepare(order, descriptors.front().get());
    Mounted mounted{.answer = answer_to(order, prepared)};
    std::vector<int> handed;
    if (prepared) {
        mounted.device_count = static_cast<std::uint32_t>(prepared->devices.size());
        std::ranges::copy(prepared->devices, mounted.devices.begin());
        handed.push_back(prepared->mount_template);
        for (const Fd& fd : prepared->rest) {
            handed.push_back(fd.get());
        }
    }
    return send_message(broker_, mounted, handed, Wait::Yes);
}

bool Service::carry_out(const AttachVolume& order, Descriptors& descriptors) {
    const auto attached = jobs_.attach(order, descriptors[0].get(), descriptors[1].get());
    descriptors.clear(); // whoever holds the namespace keeps its mounts
    Mounted mounted{.answer = answer_to(order, attached)};
    if (attached && *attached) {
        mounted.device_count = 1;
        mounted.devices[0] = **attached;
    }
    return send_message(broker_, mounted, {}, Wait::Yes);
}

bool Service::carry_out(const DetachVolume& order, Descriptors& descriptors) {
    const auto detached = jobs_.detach(order, descriptors.front().get());
    descriptors.clear(); // whoever holds the namespace keeps its mounts
    return send_message(broker_, answer_to(order, detached), {}, Wait::Yes);
}

bool Service::carry_out(const FinishJob& order, Descriptors& descriptors) {
    return send_message(broker_, answer_to(order, jobs_.finish(order, std::move(descriptors))), {}, Wait::Yes);
}

bool Service::carry_out(const ReleaseJob& order, Descriptors&) {
    return send_message(broker_, answer_to(order, jobs_.release(order.id)), {}, Wait::Yes);
}

Outcome<Fd> Service::open_mounted(Step step, const VolumeRecord& record, Descriptors& descriptors) const {
    if (descriptors.empty()) {
        return Fd();
    }
    auto opened = open_in_job(own_, step, descriptors.front().get(), record.name);
    descriptors.clear(); // whoever holds the namespace keeps its mounts
    return opened;
}

bool Service::carry_out(const MeasureVolume& order, Descriptors& descriptors) {
    VolumeMeasured measured;
    {
        const auto mounted = open_mounted(Step::MeasureVolume, order.record, descriptors);
        const auto usage = mounted ? store_.measure(order.record, order.in_trash != 0 ? Place::Trash : Place::Volumes, mounted->get())
                                   : std::unexpected(mounted.error());
        measured = {.answer = answer_to(order, usage), .usage = usage.value_or(protocol::Usage{})};
    }
    return send_message(broker_, measured, {}, Wait::Yes);
}

bool Service::carry_out(const ResizeVolume& order, Descriptors& descriptors) {
    VolumeMeasured measured;
    {
        const auto mounted = open_mounted(Step::ResizeVolume, order.record, descriptors);
        const auto resized = mounted ? store_.resize(order.record, mounted->get()) : std::unexpected(mounted.error());
        measured.answer = answer_to(order, resized);
        if (measured.answer.code == ErrorCode::LimitExceeded) {
            measured.usage = store_.measure(order.record, Place::Volumes, mounted->get()).value_or(protocol::Usage{});
        }
    }
    return send_message(broker_, measured, {}, Wait::Yes);
}

bool Service::carry_out(const OpenImage& order, Descriptors&) {
    const auto opened = store_.open_image(order.record);
    const std::array image = {opened ? opened->get() : -1};
    return send_message(broker_, answer_to(order, opened), std::span(image).first(opened ? 1 : 0), Wait::Yes);
}

bool Service::carry_out(const CommitResize& order, Descriptors&) {
    return send_message(broker_, answer_to(order, store_.commit_resize(order.record)), {}, Wait::Yes);
}

bool Service::carry_out(const SyncFile& order, Descriptors& descriptors) {
    Outcome<void> outcome;
    if (const auto synced = kernel::sync_to_disk(descriptors.front().get()); !synced) {
        outcome = std::unexpected(failure_of(Step::WriteAudit, synced.error()));
    }
    return send_message(broker_, answer_to(order, outcome), {}, Wait::Yes);
}

bool Service::carry_out(const Survey& order, Descriptors&) {
    ListSender<Surveyed, &Surveyed::findings> list(broker_, Surveyed{.answer = answer_to(order)});
    const auto surveyed = survey(own_, store_, [&list](const Finding& finding) { list.add(finding); });
    return list.finish(answer_to(order, surveyed));
}

} // namespace joblet::worker
