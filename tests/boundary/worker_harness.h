// Drives the real joblet-worker as the broker does, on an installation of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker-root/worker/labels.h"
#include "broker-root/worker/orders.h"
#include "shared/fd.h"
#include "tests/boundary/worker_installation.h"

namespace joblet::testing {

inline constexpr std::uint32_t kWorkerTestSlot = 0x7E000000; // host uid, far from where an installation begins

enum class Surroundings : std::uint8_t { Plain, LeakedDescriptor, Chroot };

// joblet-worker, started as jobletd starts it; killed and waited for at the end.
class WorkerProcess {
  public:
    // Chroot: in a directory that is no mount point, below which usr, dev, proc and the installation were bound.
    explicit WorkerProcess(const Installation& installation, Surroundings surroundings = Surroundings::Plain);
    ~WorkerProcess();
    WorkerProcess(const WorkerProcess&) = delete;
    WorkerProcess& operator=(const WorkerProcess&) = delete;

    struct Reply {
        worker::Answer answer;
        std::vector<std::byte> bytes;
        std::vector<Fd> descriptors;
    };
    // One order, one answer. Throws if the worker ends instead.
    Reply order(std::span<const std::byte> bytes, std::span<const int> descriptors = {});
    template <class O> Reply order(O order, std::span<const int> descriptors = {}) {
        order.header.type = O::kType;
        order.header.sequence = ++sequence_;
        return this->order(std::as_bytes(std::span(&order, 1)), descriptors);
    }
    void send(std::span<const std::byte> bytes, std::span<const int> descriptors);
    Reply receive(); // the next answer
    void close_socket();
    // Sends it and says how the worker ended, as a shell would.
    int order_and_wait_for_end(std::span<const std::byte> bytes, std::span<const int> descriptors = {});
    int wait_for_end();

    // All answers to it.
    std::vector<worker::LoadedVolume> load_volumes();
    // The last of them: what store and kernel can do.
    worker::VolumesLoaded facts();
    int btrfs_errno() {
        return facts().btrfs_errno;
    }
    std::vector<worker::LoadedJob> load_jobs(bool remove_leftovers = false);
    std::vector<worker::Finding> survey();
    std::vector<worker::LoadedBase> load_bases();

    [[nodiscard]] pid_t pid() const {
        return pid_;
    }
    void kill_now();

  private:
    pid_t pid_ = -1;
    Fd socket_;
    std::uint64_t sequence_ = 0;
};

// Whether this machine's root may have what growing an attached image takes.
bool can_grow_online();

// V: maps the foreign range to the slot.
Fd make_volume_user_namespace(std::uint32_t slot_first);

worker::VolumeRecord make_volume_record(const char* name, std::uint64_t bytes, protocol::Backend backend);
// stage, mke2fs of an image, commit
void create_volume(WorkerProcess& worker, const worker::VolumeRecord& record, const worker::SizedLabels& labels = {});
worker::SizedLabels make_labels(std::string_view text);
worker::MountVolume make_mount(const worker::VolumeRecord& volume, protocol::Access access);
worker::PrepareJob make_prepare(const std::vector<worker::VolumeRecord>& volumes, protocol::Access access);

// Runs in a forked child that entered a copy of the mount namespace; gives its exit status.
int in_namespace(int mount_namespace, const std::function<int()>& what);
// Runs in a forked child as that uid and gid.
int as_user(std::uint32_t uid, const std::function<int()>& what);

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, std::string_view text);
// Standard output of a command, found in PATH; throws if it fails.
// standard_output: where that goes instead, or -1.
std::string run_command(const std::vector<std::string>& words, int standard_input = -1, int standard_output = -1);

} // namespace joblet::testing
