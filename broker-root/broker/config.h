// broker.toml: root's own words about what may be had on this host. Read once, before the filter goes on, by the broker and
// by each worker; the only text that anything running as root parses.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shared/protocol_messages.h"

namespace joblet {

struct UserLimits {
    std::uint64_t volumes = 1000;                             // per user
    std::uint64_t total_bytes = std::uint64_t{1} << 40U;      // sum of sizes per user
    std::uint64_t largest_volume = std::uint64_t{100} << 30U; // bytes
    std::uint64_t attached_memory = std::uint64_t{4} << 30U;  // sum of sizes of memory volumes that jobs have, per user
    std::uint64_t running_jobs = 100;
    std::uint64_t connections = 64;
};

// What a volume of type filesystem is made of when whoever creates it does not say. Auto: the first that holds its limit when it is
// tried: project quota, btrfs, image.
enum class StoreBackend : std::uint8_t { Auto, Image, ProjectQuota, Btrfs };

// A resource of jobs that a controller of cgroup2 holds.
struct JobResource {
    std::uint64_t value = 0; // of a job that asks for nothing; 0: no limit
    std::uint64_t most = 0;  // that a job may ask for; 0: anything
    bool is_given = false;   // in broker.toml: then it is held, or no job is started. Otherwise it holds where the controller is
};
inline constexpr std::uint64_t kDefaultProcesses = 4096;

// What a job's root is made of.
struct Base {
    std::string directory; // absolute
    protocol::ProcKind proc = protocol::ProcKind::Pids;
    bool is_host = false; // the host's own /usr; `directory` holds only the etc that goes with it
};

struct BrokerConfig {
    // [socket]
    std::uint32_t socket_mode = 0666;
    std::uint32_t socket_gid = 0;
    std::vector<std::uint32_t> allowed_uids; // both empty: any local user
    std::vector<std::uint32_t> allowed_gids; // primary group of the client as the kernel reports it
    // [admins]; uid 0 always is one
    std::vector<std::uint32_t> admin_uids;
    // [workers]
    std::uint32_t workers = 4;        // 1 … kWorkersMax
    std::uint32_t order_seconds = 60; // a worker that takes longer is abandoned
    // [slots]
    std::uint32_t slot_first = 0x70000000; // host uid, multiple of 65536
    std::uint32_t slot_count = 0x0FFE;
    // [jobs]
    std::uint64_t work_bytes = std::uint64_t{1} << 20U;
    std::uint64_t tmp_bytes = std::uint64_t{64} << 20U;
    std::uint64_t shm_bytes = std::uint64_t{64} << 20U;
    std::uint64_t work_bytes_max = std::uint64_t{64} << 20U; // what a user may ask for
    std::uint64_t tmp_bytes_max = std::uint64_t{1} << 30U;
    std::uint64_t log_bytes = std::uint64_t{8} << 20U;
    std::uint64_t log_bytes_max = std::uint64_t{64} << 20U;
    JobResource memory; // bytes; half of the host's memory unless given
    JobResource processes{.value = kDefaultProcesses};
    JobResource cpus;          // thousandths
    bool host_network = false; // whether jobs may have the host's network
    std::uint32_t ended_jobs_kept = 1000;
    // [bases]: name to directory. "minimal" is always there, at Layout::minimal_base() unless given
    // and "host" at Layout::host_base()
    std::map<std::string, Base> bases;
    // [volumes]
    StoreBackend backend = StoreBackend::Auto;
    std::chrono::seconds trash_retention{0};       // 0: a deleted volume is gone at once
    std::uint64_t memory_budget = 0;               // bytes of all memory volumes that jobs have; half of the host's memory
    std::chrono::seconds memory_volume_timeout{0}; // 0: idle memory volumes stay
    std::chrono::seconds cleaner_interval{10};
    // [audit]
    bool audit_sync_each = false;
    std::uint64_t audit_file_bytes = std::uint64_t{64} << 20U; // a longer one is put aside
    // [cgroups]
    std::uint32_t required_controllers = 0; // protocol::kController…
    // [limits], and [users.ID] for those who have others
    UserLimits limits;
    std::map<std::uint32_t, UserLimits> users;

    [[nodiscard]] const UserLimits& limits_of(std::uint32_t uid) const {
        const auto own = users.find(uid);
        return own == users.end() ? limits : own->second;
    }
};

// A missing file gives the defaults. An error is "FILE:LINE: sentence, with what is allowed".
std::expected<BrokerConfig, std::string> load_broker_config(const std::string& root);
// What load_broker_config does with the file's text. `path` is for messages only.
std::expected<BrokerConfig, std::string> parse_broker_config(std::string_view text, const std::string& path, const std::string& root);

// "cpu, memory" of protocol::kController… bits.
std::string controller_names(std::uint32_t controllers);

// The whole configuration as broker.toml text, each key with its explanation.
std::string print_broker_config(const BrokerConfig& config);

} // namespace joblet
