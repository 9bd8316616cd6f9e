#include "broker-root/jobletd/supervisor.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "broker-root/layout.h"
#include "shared/log.h"

namespace joblet::jobletd {

namespace {

using namespace std::chrono_literals;

constexpr auto kGrace = 5s;       // from the end of its broker to a process's own
constexpr auto kAfterKill = 1s;   // then it is stuck in the kernel, and nothing waits for it
constexpr auto kRetryStep = 50ms; // between attempts to remove groups whose last process is just going, or to tell the service manager
constexpr int kMessagesPerTurn = 64;

std::string name_of(Role role, std::uint32_t index) {
    const auto* const service = service_of(role);
    return role == Role::Worker ? fmt::format("{} {}", service->program, index) : std::string(service->program);
}

const char* group_prefix(Role role) {
    constexpr std::string_view kCommon = "joblet-";
    return service_of(role)->program + kCommon.size();
}

std::string how_it_ended(int status) {
    return WIFEXITED(status) ? fmt::format("exited with {}", WEXITSTATUS(status)) : fmt::format("was ended by signal {}", WTERMSIG(status));
}

} // namespace

int Supervisor::run() {
    starts_[{Role::Broker, 0}] = {};
    for (;;) {
        reap();
        kill_overdue();
        (void)setting_.groups.remove_retired();
        setting_.manager.try_again();
        auto now = Clock::now();
        if (exit_code_ && is_over(now)) {
            return *exit_code_;
        }
        start_what_is_due();
        write_broker();

        now = Clock::now();
        std::array<pollfd, 2> events = {pollfd{setting_.signals, POLLIN, 0},
                                        pollfd{broker_.get(), static_cast<short>(has_news() ? POLLIN | POLLOUT : POLLIN), 0}};
        ::poll(events.data(), events.size(), timeout_ms(now)); // a descriptor of -1 is passed over
        if (events[0].revents != 0) {
            read_signals();
        }
        if (events[1].revents != 0) {
            read_broker();
        }
    }
}

// ---------------------------------------------------------------- starting

bool Supervisor::start(Place place, std::span<const int> descriptors) {
    auto group = setting_.groups.make_group(group_prefix(place.role));
    if (!group) {
        log::error(group.error());
        return false;
    }
    const auto pid = setting_.programs.start(*service_of(place.role), setting_.root, setting_.api, group->directory.get(), descriptors);
    if (!pid) {
        log::error(pid.error());
        setting_.groups.retire(std::move(*group));
        return false;
    }
    processes_.push_back({place, *pid, std::move(*group), Clock::now()});
    return true;
}

void Supervisor::start_broker() {
    auto [ours, theirs] = make_seqpacket_pair();
    if (start({Role::Broker, 0}, std::array{theirs.get(), setting_.listener.get(), setting_.groups.jobs()})) {
        broker_ = std::move(ours);
    }
}

void Supervisor::start_peer(Place place) {
    auto [brokers, theirs] = make_seqpacket_pair();
    if (start(place, std::array{theirs.get()})) {
        peers_.insert_or_assign(place, std::move(brokers));
    }
}

void Supervisor::start_what_is_due() {
    if (exit_code_) {
        return;
    }
    const auto now = Clock::now();
    std::vector<Place> due;
    for (const auto& [place, start] : starts_) {
        // A new broker comes after everything of the old one's; everything else only after its own predecessor
        const bool predecessor = place.role == Role::Broker
                                     ? !processes_.empty()
                                     : std::ranges::any_of(processes_, [&](const auto& process) { return process.place == place; });
        if (now >= start.due && (!predecessor || now >= start.regardless)) {
            due.push_back(place);
        }
    }
    for (const auto& place : due) {
        starts_.erase(place);
        const auto before = processes_.size();
        if (place.role == Role::Broker) {
            start_broker();
        } else {
            start_peer(place);
        }
        if (processes_.size() == before) {
            starts_[place] = {now + RestartPace::kPause, now + RestartPace::kPause}; // no memory, no process: the reason is logged
        }
    }
}

// ---------------------------------------------------------------- ending

void Supervisor::reap() {
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            return;
        }
        // What is not known is a stage whose spawner died: we are the subreaper, and its end is in its exit record
        const auto found = std::ranges::find(processes_, pid, &Process::pid);
        if (found != processes_.end()) {
            Process process = std::move(*found);
            processes_.erase(found);
            ended(std::move(process), status);
        }
    }
}

void Supervisor::ended(Process process, int status) {
    setting_.groups.kill(process.group); // what it forked and left behind
    setting_.groups.retire(std::move(process.group));
    const auto place = process.place;
    if (process.ending != Ending::No) {
        return; // as it was meant
    }
    const auto now = Clock::now();
    log::warning(fmt::format("{} (pid {}) {}", name_of(place.role, place.index), process.pid, how_it_ended(status)));
    if (WIFEXITED(status) && WEXITSTATUS(status) == kExitConfiguration) {
        log::error(fmt::format("the configuration of {} must be mended before it can start", name_of(place.role, place.index)));
        stop(kExitConfiguration);
        return;
    }
    const auto due = paces_[place].after_death(process.started, now);
    if (place.role == Role::Broker) {
        end_generation();
        starts_[place] = {due, std::max(due, now + kGrace + kAfterKill)};
    } else {
        starts_[place] = {due, due};
    }
}

// A broker is gone or going. Its workers, spawner and API see the end of their sockets and exit; nothing of theirs is started
// until a new broker asks.
void Supervisor::end_generation() {
    broker_.reset();
    peers_.clear();
    starts_.clear();
    sending_stored_ = false;
    const auto now = Clock::now();
    for (auto& process : processes_) {
        if (process.ending == Ending::No) {
            process.ending = Ending::Asked;
            process.kill_at = now + kGrace;
        }
    }
}

void Supervisor::kill(Process& process) {
    setting_.groups.kill(process.group);
    process.ending = Ending::Killed;
}

void Supervisor::kill_overdue() {
    const auto now = Clock::now();
    for (auto& process : processes_) {
        if (process.ending == Ending::Asked && now >= process.kill_at) {
            log::warning(fmt::format("{} (pid {}) did not end by itself", name_of(process.place.role, process.place.index), process.pid));
            kill(process);
        }
    }
}

void Supervisor::stop(int exit_code) {
    if (exit_code_) {
        return;
    }
    exit_code_ = exit_code;
    give_up_at_ = Clock::now() + kGrace + kAfterKill;
    setting_.listener.reset();
    end_generation();
}

bool Supervisor::is_over(Clock::time_point now) const {
    return processes_.empty() || now >= give_up_at_;
}

int Supervisor::timeout_ms(Clock::time_point now) const {
    auto next = Clock::time_point::max();
    if (exit_code_) {
        next = give_up_at_;
    }
    for (const auto& process : processes_) {
        if (process.ending == Ending::Asked) {
            next = std::min(next, process.kill_at);
        }
    }
    for (const auto& [place, start] : starts_) {
        next = std::min(next, now < start.due ? start.due : start.regardless);
    }
    if (setting_.groups.has_retired() || setting_.manager.has_unsent()) {
        next = std::min(next, now + kRetryStep);
    }
    if (next == Clock::time_point::max()) {
        return -1;
    }
    return next <= now ? 0 : static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(next - now).count());
}

void Supervisor::read_signals() {
    signalfd_siginfo signal{};
    while (::read(setting_.signals, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
        if (signal.ssi_signo != SIGCHLD) { // run() reaps
            log::info("stopping; jobs run on");
            stop(0);
        }
    }
}

// ---------------------------------------------------------------- the broker

void Supervisor::read_broker() {
    for (int i = 0; i < kMessagesPerTurn && broker_.valid(); ++i) {
        std::array<std::byte, sizeof(SupervisionMessage)> buffer{};
        auto received = receive_datagram(broker_.get(), buffer, Wait::No);
        if (!received) {
            if (received.error() == ReceiveError::Closed) {
                drop_broker();
            } else if (received.error() != ReceiveError::WouldBlock) {
                broker_misbehaved("could not be understood");
            }
            return;
        }
        SupervisionMessage message;
        if (received->size != sizeof message) {
            broker_misbehaved("sent a message of the wrong size");
            return;
        }
        std::memcpy(&message, buffer.data(), sizeof message);
        if (message.zero != 0 || !obey(message, std::move(received->descriptors))) {
            broker_misbehaved("sent a message that has no meaning");
        }
    }
}

bool Supervisor::obey(const SupervisionMessage& message, std::vector<Fd> descriptors) {
    if (message.type != SupervisionType::Put && !descriptors.empty()) {
        return false;
    }
    switch (message.type) {
    case SupervisionType::Put: {
        const auto outcome = store_.put(message.key, std::move(descriptors));
        if (outcome == DescriptorStore::Put::Full) {
            log::error("the descriptor store is full; a job's descriptors will not survive a restart of the broker");
        }
        return outcome != DescriptorStore::Put::Malformed;
    }
    case SupervisionType::Drop:
        store_.drop(message.key);
        return true;
    case SupervisionType::GetAll:
        sending_stored_ = true;
        sent_up_to_ = {};
        return true;
    case SupervisionType::Replace:
        return replace({message.role, message.index});
    case SupervisionType::Ready:
        setting_.manager.ready();
        return true;
    case SupervisionType::Stored:
    case SupervisionType::StoredEnd:
    case SupervisionType::Peer:
        break; // ours to send
    }
    return false;
}

bool Supervisor::replace(Place place) {
    const auto* const service = service_of(place.role);
    if (service == nullptr || place.role == Role::Broker || place.index >= (place.role == Role::Worker ? kWorkersMax : 1)) {
        return false;
    }
    for (auto& process : processes_) {
        if (process.place == place && process.ending != Ending::Killed) {
            kill(process);
        }
    }
    peers_.erase(place);
    const auto now = Clock::now();
    // A worker may be stuck for as long as its disk is. The others are not, and two of them would be in each other's way
    starts_[place] = {now, place.role == Role::Worker ? now : now + kAfterKill};
    return true;
}

bool Supervisor::has_news() const {
    return !peers_.empty() || sending_stored_;
}

// As much as the broker takes now.
void Supervisor::write_broker() {
    while (broker_.valid() && has_news()) {
        SupervisionMessage message;
        std::vector<int> descriptors;
        const auto peer = peers_.begin();
        const auto stored = store_.entries().upper_bound(sent_up_to_);
        if (peer != peers_.end()) {
            message.type = SupervisionType::Peer;
            message.role = peer->first.role;
            message.index = peer->first.index;
            descriptors.push_back(peer->second.get());
        } else if (stored != store_.entries().end()) {
            message.type = SupervisionType::Stored;
            message.key = stored->first;
            for (const auto& fd : stored->second) {
                descriptors.push_back(fd.get());
            }
        } else {
            message.type = SupervisionType::StoredEnd;
        }
        if (!send_message(broker_.get(), message, descriptors, Wait::No)) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                drop_broker();
            }
            return;
        }
        if (peer != peers_.end()) {
            peers_.erase(peer);
        } else if (message.type == SupervisionType::Stored) {
            sent_up_to_ = message.key;
        } else {
            sending_stored_ = false;
        }
    }
}

void Supervisor::broker_misbehaved(const char* what) {
    log::error(fmt::format("joblet-broker {}", what));
    drop_broker();
}

// Without its socket it is of no use, whether it has just died or not. Its end counts as unexpected: another is started.
void Supervisor::drop_broker() {
    broker_.reset();
    const auto found = std::ranges::find(processes_, Role::Broker, [](const auto& process) { return process.place.role; });
    if (found != processes_.end()) {
        setting_.groups.kill(found->group);
    }
}

} // namespace joblet::jobletd
