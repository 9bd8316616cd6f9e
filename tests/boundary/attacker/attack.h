// An installation with the real jobletd, broker, workers and spawner, in which this side is the API: it says what it likes over the real
// socket, and after each step model, kernel, audit log and canary are compared.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/boundary/attacker/api_end.h"
#include "tests/boundary/attacker/audit_view.h"
#include "tests/boundary/attacker/canary.h"
#include "tests/boundary/attacker/kernel_view.h"
#include "tests/boundary/attacker/model.h"
#include "tests/system/installation.h"

namespace joblet::testing {

inline constexpr uid_t kVictim = 20003; // who is not connected
inline constexpr uid_t kAdmin = 20004;

// A user's connection, as the broker handed it over. Number 0: the API on its own account.
using Connection = protocol::ConnectionNumber;
inline constexpr Connection kNobody = 0;

// A directory of programs in which joblet-api is the puppet.
class Programs {
  public:
    Programs();
    ~Programs();
    Programs(const Programs&) = delete;
    Programs& operator=(const Programs&) = delete;

    [[nodiscard]] const std::string& directory() const {
        return directory_;
    }
    // The next puppet; nullptr: none came within the limit.
    [[nodiscard]] std::unique_ptr<ApiEnd> next(milliseconds limit) const;
    // No puppet is taken any more; those to come end by themselves.
    void close() {
        listener_.reset();
    }

  private:
    std::string directory_;
    Fd listener_;
};

class Attack {
  public:
    explicit Attack(const std::string& more_configuration = {});
    // The audit log verifies, else a failed check.
    ~Attack();
    Attack(const Attack&) = delete;
    Attack& operator=(const Attack&) = delete;

    // ---- clients: real processes of that user, that connect to api.sock
    Connection connect(uid_t uid);
    // One more than he may have, or of somebody who is not on the lists: handed over so that he is told why, and for nothing else.
    protocol::Connection connect_refused(uid_t uid);
    void hang_up(Connection connection);
    [[nodiscard]] bool is_open(Connection connection) const {
        return clients_.contains(connection);
    }

    // ---- requests
    // Version, type, sequence and connection are filled in. The number to wait for.
    template <class R> std::uint64_t send(Connection connection, R request) {
        request.header.connection = connection;
        return send_request(request);
    }
    // Until it is answered; what is wrong with the answer is a failed check. Throws if there is none.
    Incoming wait(std::uint64_t sequence);
    template <class R> Incoming ask(Connection connection, R request) {
        return wait(send(connection, std::move(request)));
    }
    template <class R> protocol::Reply reply_to(Connection connection, R request) {
        return plain(ask(connection, std::move(request)));
    }
    static protocol::Reply plain(const Incoming& incoming);
    std::uint64_t send_request(protocol::Request request);

    // ---- offences
    // Whatever it is that was done: this API is ended, everything of it is closed, it is on record (with the word `why`; empty: any
    // but "closed"), and another one is started.
    void must_be_ended(const std::string& what, const std::string& why = {});
    // The API ends by itself, with its requests unanswered.
    void die();
    [[nodiscard]] ApiEnd& end() {
        return *end_;
    }

    // What there is to read is read, without waiting.
    void read_on();
    // Model, kernel, audit log, canary and broker agree, as soon as what is under way is over.
    void check(const std::string& what);

    [[nodiscard]] const Model& model() const {
        return model_;
    }
    [[nodiscard]] const Installation& here() const {
        return *here_;
    }
    [[nodiscard]] const Canary& canary() const {
        return *canary_;
    }
    [[nodiscard]] const KernelView& kernel() const {
        return *kernel_;
    }
    [[nodiscard]] std::size_t steps() const {
        return steps_;
    }

  private:
    struct Client {
        Asker asker;
        Fd own;   // the user's end
        Fd given; // the API's
    };
    struct HandedOver {
        protocol::Connection message;
        Client client;
    };
    HandedOver hand_over(uid_t uid);
    struct Pending {
        protocol::Request request;
        std::optional<Asker> asker;
        bool has_channel = false; // a StartJob that names one, or a CreateChannel for which there is room
    };
    bool follow_channels(const protocol::Request& request);
    // That every connection has, and no job was started with.
    [[nodiscard]] std::size_t channels() const;
    void handle(Incoming incoming);
    void lose_clients();
    void take_next_end();
    void learn();
    std::vector<std::string> differences();

    Programs programs_;
    std::unique_ptr<Canary> canary_;
    std::unique_ptr<ApiEnd> end_;
    std::unique_ptr<Installation> here_;
    std::unique_ptr<KernelView> kernel_;
    std::unique_ptr<AuditView> audit_;
    Model model_;
    std::map<Connection, Client> clients_;
    std::map<Connection, Client> refused_;
    std::map<Connection, std::set<std::uint64_t>> channels_;
    std::deque<std::pair<protocol::Connection, Fd>> arrived_;
    std::map<std::uint64_t, Pending> pending_;
    std::map<std::uint64_t, Incoming> answers_;
    std::size_t steps_ = 0;
};

} // namespace joblet::testing
