// Starts the broker and, when the broker asks for them, its workers, the spawner and the API; starts again what dies; keeps
// descriptors. Reads nothing but SupervisionMessage from the broker, and waits for nobody: all it does is answer poll(2).
#pragma once

#include <sys/types.h>

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "broker-root/jobletd/cgroup_tree.h"
#include "broker-root/jobletd/descriptor_store.h"
#include "broker-root/jobletd/programs.h"
#include "broker-root/jobletd/restart_pace.h"
#include "broker-root/jobletd/service_manager.h"
#include "broker-root/jobletd/supervision.h"
#include "shared/datagram.h"

namespace joblet::jobletd {

class Supervisor {
  public:
    // Everything is borrowed or plain, but `listener`. `signals`: signalfd of SIGCHLD and of the signals that stop, non-blocking.
    struct Setting {
        std::string root; // as given to the others
        ApiUser api;
        const Programs& programs;
        CgroupTree& groups;
        ServiceManager& manager;
        int signals;
        Fd listener;
    };
    explicit Supervisor(Setting setting) : setting_(std::move(setting)) {}

    // Until a signal that stops, or until one of them says that its configuration is wrong. Returns the exit code, when
    // everything that was started has ended (what is stuck in the kernel after 6 s is left to itself).
    int run();

  private:
    struct Place { // of a process: which one it is
        Role role{};
        std::uint32_t index = 0;
        auto operator<=>(const Place&) const = default;
    };
    enum class Ending : std::uint8_t { No, Asked, Killed };
    struct Process {
        Place place;
        pid_t pid = 0;
        CgroupTree::Group group;
        Clock::time_point started;
        Ending ending = Ending::No;
        Clock::time_point kill_at; // with Ending::Asked
    };
    struct Start { // of one that is wanted
        Clock::time_point due;
        Clock::time_point regardless; // until then it waits for its predecessor's end
    };

    bool start(Place place, std::span<const int> descriptors);
    void start_broker();
    void start_peer(Place place);
    void start_what_is_due();

    void reap();
    void ended(Process process, int status);
    void end_generation();
    void kill_overdue();
    void kill(Process& process);

    void read_signals();
    void read_broker();
    bool obey(const SupervisionMessage& message, std::vector<Fd> descriptors);
    bool replace(Place place);
    void write_broker();
    [[nodiscard]] bool has_news() const;
    void broker_misbehaved(const char* what);
    void drop_broker();

    void stop(int exit_code);
    [[nodiscard]] bool is_over(Clock::time_point now) const;
    [[nodiscard]] int timeout_ms(Clock::time_point now) const;

    Setting setting_;
    DescriptorStore store_;
    std::vector<Process> processes_;
    std::map<Place, RestartPace> paces_;
    std::map<Place, Start> starts_;
    Fd broker_;                    // its supervision socket
    std::map<Place, Fd> peers_;    // broker's ends of sockets, not yet sent
    bool sending_stored_ = false;  // GetAll is being answered
    JobId sent_up_to_;             // the last key sent
    std::optional<int> exit_code_; // stopping
    Clock::time_point give_up_at_; // with exit_code_
};

} // namespace joblet::jobletd
